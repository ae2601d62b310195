//! What happens when a part of the system is down.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use kombi_spec::code::Code;
use stack::{
    answer::Answer,
    stack::{HOMELAB, Instance, Stack, WayIn},
};

const WORKSHOP: Instance =
    Instance { id: "workshop", owner: "ada", members: &[], way_in: WayIn::Hook };

#[tokio::test]
async fn an_instance_that_hangs_or_is_gone_is_a_503_in_time_and_harms_no_other() {
    let mut stack = Stack::with(&[HOMELAB, WORKSHOP]).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    assert_eq!(stack.log_in(&token, HOMELAB.id).await.unwrap().status, 200);
    stack.instances[0].pause().unwrap();
    assert_unavailable(&stack, &token).await;
    assert_eq!(stack.log_in(&token, WORKSHOP.id).await.unwrap().status, 200);
    stack.instances[0].go_on().unwrap();
    assert_eq!(stack.log_in(&token, HOMELAB.id).await.unwrap().status, 200);
    stack.instances[0].kill().unwrap();
    assert_unavailable(&stack, &token).await;
    assert_eq!(stack.log_in(&token, WORKSHOP.id).await.unwrap().status, 200);
}

async fn assert_unavailable(stack: &Stack, token: &str) {
    let before = Instant::now();
    let answer = stack.log_in(token, HOMELAB.id).await.unwrap();
    assert!(before.elapsed() <= Duration::from_millis(2_500), "{:?}", before.elapsed());
    assert_eq!((answer.status, answer.code()), (503, Some(Code::InstanceUnavailable)));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_crash_of_the_exchange_loses_no_link_and_no_spent_assertion() {
    let mut stack = Stack::with(&[HOMELAB]).await.unwrap();
    let url = format!("{}/sso/instances/{}/session", stack.exchange().unwrap().url(), HOMELAB.id);
    let token = stack.issuer.token("ada").await.unwrap();
    let first = stack.log_in(&token, HOMELAB.id).await.unwrap().json();
    let subject = stack.issuer.subject("ada").await.unwrap();
    let assertion = stack.exchange().unwrap().assertion(&subject, &url).unwrap();
    let post = || {
        let request = stack.client().post(&url);
        Answer::to(request.header(kombi_spec::header::ASSERTION, &assertion))
    };
    assert_eq!(post().await.unwrap().status, 200, "the user is there, so sub is enough");
    stack.exchange().unwrap().crash_and_restart().await.unwrap();
    let post = || {
        let request = stack.client().post(&url);
        Answer::to(request.header(kombi_spec::header::ASSERTION, &assertion))
    };
    assert_eq!(post().await.unwrap().code(), Some(Code::AssertionReplayed));
    let second = stack.log_in(&token, HOMELAB.id).await.unwrap().json();
    assert!(first["record"]["id"].is_string());
    assert_eq!(first["record"]["id"], second["record"]["id"]);
}

#[tokio::test]
async fn an_exchange_that_is_down_is_a_5xx_and_leaves_the_other_routes_alone() {
    // A stack without instances has no exchange.
    let stack = Stack::gate().await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let answer = stack.log_in(&token, HOMELAB.id).await.unwrap();
    // Kong answers 502 for an upstream that refuses the connection, Envoy 503.
    assert!([502, 503].contains(&answer.status), "{}", answer.status);
    assert_eq!(stack.get_as(&token, "/user").await.unwrap().status, 200);
}

#[tokio::test]
async fn the_exchange_tells_how_it_is() {
    let mut stack = Stack::with(&[HOMELAB]).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    assert_eq!(stack.log_in(&token, HOMELAB.id).await.unwrap().status, 200);
    let ops = stack.exchange().unwrap().ops_url();
    for path in ["/livez", "/readyz"] {
        let answer = Answer::to(stack.client().get(format!("{ops}{path}"))).await.unwrap();
        assert_eq!(answer.status, 200, "{path}");
    }
    let metrics = Answer::to(stack.client().get(format!("{ops}/metrics"))).await.unwrap();
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("kombi_exchange_"), "{metrics}");
    assert!(!metrics.contains(&token), "no token in a metric");
}
