//! `kong/health.sh` and `kong/start.sh`, which Kong's container runs, against a real gateway.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    os::unix::fs::MetadataExt,
    process::{Command, ExitStatus, Output},
};

use serde_json::{Value, json};
use stack::{
    artifacts::{self, Artifacts},
    host::HostKind,
    port, routes,
    run_dir::RunDir,
    stack::{Options, Stack},
};

/// What the script says of what listens on `port`, asked for `path`. Where it is open, the process
/// that it is given must be ended.
async fn health(port: u16, path: &str) -> (Output, ExitStatus) {
    let mut gateway = Command::new("sleep").arg("600").spawn().unwrap();
    let mut script = Command::new(artifacts::source().join("kong/health.sh"));
    script.args(["--or-stop", &gateway.id().to_string()]);
    script.env("KOMBI_HEALTH_PORT", port.to_string()).env("KOMBI_HEALTH_PATH", path);
    let output = tokio::task::spawn_blocking(move || script.output()).await.unwrap().unwrap();
    if !String::from_utf8_lossy(&output.stdout).starts_with("OPEN") {
        assert!(gateway.try_wait().unwrap().is_none(), "what is closed goes on");
        gateway.kill().unwrap();
    }
    let ended = gateway.wait().unwrap();
    (output, ended)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Kong without the filter on a route, as when it could not load it; and a policy that cannot be used.
fn broken(declaration: &mut Value) {
    for route in ["user", "canary"] {
        routes::named(declaration, route).unwrap()["plugins"] = json!([]);
    }
    let admin = routes::named(declaration, "admin").unwrap();
    // The same issuer twice: no schema can tell.
    let issuers = admin["plugins"][0]["config"]["issuers"].as_array_mut().unwrap();
    issuers.extend(issuers.clone());
    issuers[0]["algorithms"] = json!(["RS256"]);
}

#[tokio::test]
async fn a_gateway_that_refuses_whom_it_must_is_healthy() {
    let stack = Stack::gate().await.unwrap();
    for path in ["/canary", "/user"] {
        let (output, _) = health(stack.gateway.port(), path).await;
        assert!(output.status.success() && output.stdout.is_empty(), "{path}: {}", said(&output));
    }
}

#[tokio::test]
async fn a_gateway_without_the_filter_is_unhealthy_and_stopped() {
    let options = Options { amend: Some(broken), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    assert_eq!(stack.get("/user").send().await.unwrap().status(), 200, "it is open");
    let (output, ended) = health(stack.gateway.port(), "/user").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).starts_with("OPEN: /user was answered without a token: HTTP/1.1 200"));
    assert!(!ended.success(), "{ended}");
    // Closed, and still not well: no reason to stop it.
    let (output, _) = health(stack.gateway.port(), "/admin").await;
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("not for want of a token: HTTP/1.1 503"), "{}", said(&output));
    if stack.gateway.kind() != HostKind::Envoy {
        // Where only Kong's waiting room can answer.
        let (output, ended) = health(stack.gateway.port(), "/canary").await;
        assert!(said(&output).starts_with("OPEN: "), "{}", said(&output));
        assert!(said(&output).contains("HTTP/1.1 200") && !ended.success(), "{}", said(&output));
    }
    for (port, path) in [(stack.gateway.port(), "/nowhere"), (port::free().unwrap(), "/user")] {
        let (output, _) = health(port, path).await;
        assert_eq!(output.status.code(), Some(1), "{path}");
        assert!(said(&output).starts_with("unhealthy: "), "{path}: {}", said(&output));
    }
}

#[test]
fn the_container_starts_with_routes_for_its_user_alone_or_not_at_all() {
    let artifacts = Artifacts::build(HostKind::choose(None).unwrap()).unwrap();
    let run = RunDir::new().unwrap();
    let template =
        run.write("template.yml", "services: []\na: ${{ env \"DECK_KOMBI_A\" }}\n").unwrap();
    let rendered = run.path().join("kong.yml");
    let path = format!("{}:{}", artifacts.exchange.parent().unwrap().display(), env!("PATH"));
    let start = |value: &str| {
        let mut script = Command::new(artifacts::source().join("kong/start.sh"));
        script.arg(&template).arg(&rendered).args(["cat"]).arg(&rendered);
        script.env("PATH", &path).env("DECK_KOMBI_A", value).output().unwrap()
    };
    let started = start("value");
    assert_eq!(said(&started), "services: []\na: value\n");
    assert_eq!(rendered.metadata().unwrap().mode() & 0o777, 0o600);
    let refused = start("");
    assert_eq!((refused.status.code(), said(&refused)), (Some(2), String::new()));
}
