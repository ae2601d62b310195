//! gRPC through the gate, as a real client sees it: grpc-go's.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{path::PathBuf, process::Command};

use serde_json::{Value, json};
use stack::{
    artifacts::{self, Artifacts, FILTER},
    host::{Gateway, HostKind, Ports, Setup},
    issuer::{Issuer, PROJECT},
    port,
    process::Process,
    run_dir::RunDir,
};
use tokio::net::TcpStream;

/// A gRPC server on HTTP/2 without TLS behind a gateway with the gate, and an issuer.
struct Grpc {
    gateway: Gateway,
    issuer: Issuer,
    client: PathBuf,
    _server: Process,
    run: RunDir,
}

impl Drop for Grpc {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.run.logs());
        }
    }
}

/// `Check` is for everybody who is signed in, `Watch`, which streams, for admins.
fn routes(backend: u16, issuer: &str, ports: Ports) -> String {
    let gate = |name: &str, more: Value| {
        let mut config = json!({
            "name": name,
            "issuers": [{
                "issuer": issuer,
                "audiences": [PROJECT],
                "project": PROJECT,
                "algorithms": ["RS256"],
            }],
            "keys": {"wait_at": format!("127.0.0.1:{}", ports.waiting_room)},
        });
        for (field, value) in more.as_object().unwrap() {
            config[field] = value.clone();
        }
        json!([{"name": FILTER, "config": config}])
    };
    let route = |name: &str, method: &str, more: Value| {
        json!({
            "name": name,
            "protocols": ["grpc"],
            "paths": [format!("/grpc.health.v1.Health/{method}")],
            "strip_path": false,
            "plugins": gate(name, more),
        })
    };
    let file = json!({
        "_format_version": "3.0",
        "services": [{
            "name": "health",
            "url": format!("grpc://127.0.0.1:{backend}"),
            "routes": [
                route("check", "Check", json!({})),
                route("watch", "Watch", json!({"roles": {"any_of": ["admin:tools"]}})),
            ],
        }],
    });
    file.to_string()
}

impl Grpc {
    async fn start() -> Self {
        let kind = HostKind::choose(None).unwrap();
        let artifacts = Artifacts::build(kind).unwrap();
        let client = artifacts::grpc().unwrap();
        let run = RunDir::new().unwrap();
        let backend = port::free().unwrap();
        let address = format!("127.0.0.1:{backend}");
        let mut command = Command::new(&client);
        command.args(["--serve", &address]);
        let mut server = Process::spawn("grpc", command, run.path()).unwrap();
        server.wait_until(async || TcpStream::connect(&address).await.is_ok()).await.unwrap();
        let issuer = Issuer::start(&artifacts, &run).await.unwrap();
        let ports = Ports::choose(None).unwrap();
        let routes = routes(backend, issuer.url(), ports);
        let setup = Setup {
            routes: &routes,
            native: &[],
            workers: 2,
            http2: true,
            ports,
            trusted: None,
            proxied: false,
        };
        let gateway = Gateway::start(kind, &artifacts, setup, &run).await.unwrap();
        Self { gateway, issuer, client, _server: server, run }
    }

    /// What grpc-go makes of a call.
    fn call(&self, token: Option<&str>, watch: bool) -> Value {
        let mut command = Command::new(&self.client);
        command.args(["--target", &format!("127.0.0.1:{}", self.gateway.port())]);
        command.args(watch.then_some("--watch"));
        if let Some(token) = token {
            command.env("GRPC_TOKEN", token);
        }
        let output = artifacts::output(&mut command).unwrap();
        serde_json::from_str(&output).unwrap()
    }
}

#[tokio::test]
async fn a_grpc_client_is_told_why_it_is_refused_and_served_when_it_is_not() {
    let grpc = Grpc::start().await;
    let ada = grpc.issuer.token("ada").await.unwrap();
    let grace = grpc.issuer.token("grace").await.unwrap();
    let expired = grpc.issuer.mint(json!({"sub": "ada", "expires_in": -60})).await.unwrap();
    for (token, watch, code, told) in [
        (Some(&ada), false, "OK", ""),
        (Some(&grace), true, "OK", ""),
        (None, false, "Unauthenticated", "token_missing: "),
        (None, true, "Unauthenticated", "token_missing: "),
        (Some(&expired), false, "Unauthenticated", "token_expired: "),
        (Some(&ada), true, "PermissionDenied", "role_missing: "),
    ] {
        let outcome = grpc.call(token.map(String::as_str), watch);
        assert_eq!(outcome["code"], code, "{outcome}");
        let message = outcome["message"].as_str().unwrap();
        assert!(message.starts_with(told), "{outcome}");
        assert_eq!(message.contains("(request "), code != "OK", "{outcome}");
        assert_eq!(outcome["serving"] == "SERVING", code == "OK", "{outcome}");
    }
}
