//! Schemathesis asks the exchange for everything that its description offers, well and badly made:
//! no answer is a failure of the service or breaks the description. The gate's part, a signed
//! assertion with each request, is done on the way.

use std::{process::Command, sync::Arc};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Collected, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
};
use kombi_gate_core::{
    identity::Identity,
    roles::{Grants, RoleSource},
};
use kombi_spec::{header, usage::SUBJECT};
use reqwest::Client;
use serde_json::json;
use tokio::task::spawn_blocking;

use super::Lab;
use crate::{
    answer, artifacts,
    exchange::{Exchange, Installed},
    issuer::Issuer,
    kombistack::{Address, KombiStack},
    listening::Listening,
    run_dir::RunDir,
};

/// Who asks; the owner of the instance that the description has as its example.
const PERSON: &str = "271828182845904523";

/// What is checked of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,unsupported_method";

/// What needs no assertion.
const PUBLIC: [&str; 2] = ["/sso/redeem", "/backchannel-logout"];

pub(super) fn missing() -> Option<&'static str> {
    artifacts::pip_is_missing()
}

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let packages = artifacts::schemathesis()?;
    let run = RunDir::new()?;
    let issuer = Issuer::start(lab.artifacts, &run).await?;
    let installed = Installed::new(lab.artifacts, &run, issuer.url())?;
    let address = Address::free()?;
    let added = installed.add_instance("homelab", &address.url(), PERSON, &[])?;
    let gateway = "http://127.0.0.1:1";
    let _instance = KombiStack::with_hook(lab.artifacts, &run, address, added, gateway).await?;
    let exchange = Arc::new(Exchange::start(installed, &run).await?);
    let (client, asked) = (answer::client()?, Arc::clone(&exchange));
    let gate = Listening::start(move |request| {
        let (client, exchange) = (client.clone(), Arc::clone(&asked));
        async move { pass(request, &client, &exchange).await.unwrap_or_else(|_| broken()) }
    })
    .await?;
    let (seed, seconds) = (lab.random.u32(..), lab.of(300, 40));
    let mut command = Command::new("python3");
    command
        .args(["-m", "schemathesis.cli"])
        .arg("--config-file")
        .arg(artifacts::source().join("tests/schemathesis/schemathesis.toml"))
        .args(["--no-color", "run"])
        .arg(artifacts::source().join("spec/exchange.openapi.yaml"))
        .args(["--url", &gate.url(), "--seed", &seed.to_string(), "--checks", CHECKS])
        // The phase `coverage` fails in Hypothesis itself, on Python 3.11.
        .args(["--phases", "examples,fuzzing,stateful"])
        .args(["--max-time", &seconds.to_string(), "--workers", "2"])
        .args(["--continue-on-failure", "--output-sanitize", "false"])
        .env("PYTHONPATH", &packages)
        .current_dir(run.path());
    // The gate is in this thread.
    let output = spawn_blocking(move || command.output()).await?.context("python3")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "seed {seed}\n{printed}\n{}", failures(&exchange)?);
    exchange.verify_audit()?;
    let summary = printed.lines().find(|line| line.contains(" generated"));
    Ok(format!("seed {seed}: {}", summary.unwrap_or("no failures").trim()))
}

/// What it logged of its failures.
fn failures(exchange: &Exchange) -> Result<String> {
    let log = exchange.log()?;
    let failed = |line: &&str| line.contains("\"status\":5");
    Ok(log.lines().filter(failed).collect::<Vec<_>>().join("\n"))
}

/// Passes a request on, with an assertion that it comes from somebody who may do everything, or from
/// the gate itself.
async fn pass(
    request: Request<Incoming>,
    client: &Client,
    exchange: &Exchange,
) -> Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes)?;
    let url = format!("{}{}", exchange.url(), head.uri);
    let mut headers = head.headers;
    for name in [header::ASSERTION, "host", "content-length", "connection", "transfer-encoding"] {
        headers.remove(name);
    }
    let path = head.uri.path();
    if !PUBLIC.contains(&path) {
        let who = if path.starts_with("/gate/") { the_gate() } else { somebody() };
        let assertion = exchange.assertion_as(&who, head.method.as_str(), &url)?;
        headers.insert(header::ASSERTION, assertion.parse()?);
    }
    let answer = client.request(head.method, url).headers(headers).body(body).send().await?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        if name != "transfer-encoding" && name != "connection" {
            response = response.header(name, value);
        }
    }
    Ok(response.body(Full::new(answer.bytes().await?))?)
}

fn the_gate() -> Identity {
    Identity { subject: SUBJECT.to_owned(), ..Identity::default() }
}

fn somebody() -> Identity {
    let roles = json!({"roles": ["admin:super"]});
    let roles = roles
        .as_object()
        .map(|claims| Grants::read(claims, &RoleSource::Claim("roles".to_owned())));
    Identity {
        subject: PERSON.to_owned(),
        roles: roles.unwrap_or_default(),
        email: Some("ada@example.com".to_owned()),
        email_verified: true,
        ..Identity::default()
    }
}

/// The exchange cut a connection off, or nobody listens.
fn broken() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}
