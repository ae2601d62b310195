//! One id for one request: what the client is told, what the logs of gate and exchange say, and
//! what the audit and the ledger keep.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::usage::trace;
use serde_json::{Value, json};
use stack::{
    ai::Accounting,
    answer::Answer,
    host::HostKind,
    log,
    stack::{HOMELAB, Options, Stack},
};

/// How long a line may take to be written.
const WRITTEN: Duration = Duration::from_secs(30);

/// The exchange's lines about requests, once there is one with `id`.
async fn lines_about(stack: &Stack, id: &str) -> Vec<Value> {
    let deadline = Instant::now() + WRITTEN;
    loop {
        let text = std::fs::read_to_string(stack.directory().join("exchange.log")).unwrap();
        let lines = text.lines().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
        });
        let about: Vec<_> = lines.filter(|line| line["request_id"] == id).collect();
        if !about.is_empty() {
            return about;
        }
        assert!(Instant::now() < deadline, "nothing about {id} in\n{text}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The audit's records with `id`.
fn audited(stack: &mut Stack, id: &str) -> Vec<Value> {
    let records = stack.exchange().unwrap().audit().unwrap();
    records.into_iter().filter(|record| record["request_id"] == id).collect()
}

#[tokio::test]
async fn a_login_and_a_refused_one_have_one_id_each_in_every_place() {
    let mut stack = Stack::with(&[HOMELAB]).await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    let good = stack.log_in(&ada, HOMELAB.id).await.unwrap();
    assert_eq!(good.status, 200);
    let id = good.request_id().unwrap().to_owned();
    let lines = lines_about(&stack, &id).await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!((&lines[0]["route"], &lines[0]["code"]), (&json!("sso_session"), &json!("ok")));
    let records = audited(&mut stack, &id);
    assert!(records.iter().any(|record| record["action"] == "login"), "{records:#?}");

    // Refused by the exchange: the problem document has the id, too.
    let mallory = stack.issuer.token("mallory").await.unwrap();
    let refused = stack.log_in(&mallory, HOMELAB.id).await.unwrap();
    let id = refused.problem().unwrap().request_id;
    assert_eq!(refused.request_id(), Some(&*id));
    assert_eq!(lines_about(&stack, &id).await.len(), 1);
    assert_eq!(audited(&mut stack, &id).len(), 1);

    // Refused by the gate: its own line.
    let refused = Answer::to(stack.post("/sso/instances/homelab/session")).await.unwrap();
    let id = refused.problem().unwrap().request_id;
    assert_eq!(refused.request_id(), Some(&*id));
    let deadline = Instant::now() + WRITTEN;
    loop {
        let lines = log::lines(&stack.whole_logs().unwrap()).unwrap();
        let about: Vec<_> = lines.iter().filter(|line| line["request_id"] == *id).collect();
        if about.len() == 1 && about[0]["code"] == "token_missing" {
            return;
        }
        assert!(Instant::now() < deadline, "{lines:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_call_of_a_model_has_one_id_in_every_place() {
    let options = Options { ai: Some(Accounting::Ledger), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    stack.wait_for_models(&ada).await.unwrap();
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]});
    let call = stack.post("/ai/v1/chat/completions").bearer_auth(&ada).json(&body);
    let answer = Answer::to(call).await.unwrap();
    assert_eq!(answer.status, 200);
    // The gate's signed line about it, which the ledger can be made anew from.
    let deadline = Instant::now() + WRITTEN;
    let id = loop {
        if let [id] = settled(&stack).as_slice() {
            break id.clone();
        }
        assert!(Instant::now() < deadline, "{:?} were settled", settled(&stack));
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let lines = lines_about(&stack, &id).await;
    assert_eq!(lines[0]["route"], "usage_reserve", "{lines:#?}");
    // Envoy leaves the header of this name to the provider.
    if stack.gateway.kind() == HostKind::Kong {
        assert_eq!(answer.header("x-kong-request-id"), Some(&*id));
    }
}

/// The calls that the gateway's log tells of.
fn settled(stack: &Stack) -> Vec<String> {
    let log = String::from_utf8_lossy(&std::fs::read(stack.gateway_log()).unwrap()).into_owned();
    let signed = log.split(trace::MARK).skip(1).filter_map(|rest| rest.split('.').nth(1));
    let read = |payload: &str| -> Option<String> {
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        let settlement: Value = serde_json::from_slice(&payload).ok()?;
        settlement["request_id"].as_str().map(str::to_owned)
    };
    signed.filter_map(read).collect()
}
