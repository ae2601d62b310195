//! Limits on a real host with two workers.

// A failure is what a test is for; routes are looked up by position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use futures_util::future::join_all;
use kombi_spec::{code::Code, problem::QUOTA_EXCEEDED};
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    routes,
    stack::{Options, Stack},
};

/// Routes like `/user`, with limits.
fn amend(declaration: &mut Value) {
    let user = routes::named(declaration, "user").unwrap().clone();
    let limited = [
        ("exact", json!([{"name": "exact", "key": "sub", "amount": 300, "per": "day"}])),
        ("told", json!([{"name": "told", "key": "sub", "amount": 3, "per": "hour"}])),
        (
            "guarded",
            json!([{"name": "guarded", "key": "ip", "amount": 5, "per": "hour", "cost": "failed_token"}]),
        ),
        ("by-address", json!([{"name": "by-address", "key": "ip", "amount": 2, "per": "hour"}])),
    ];
    for (name, limits) in limited {
        let mut route = routes::like(&user, name);
        route["plugins"][0]["config"]["limits"] = limits;
        declaration["services"][0]["routes"].as_array_mut().unwrap().push(route);
    }
}

async fn start() -> Stack {
    Stack::start(Options { amend: Some(amend), ..Options::default() }).await.unwrap()
}

#[tokio::test]
async fn a_thousand_concurrent_requests_over_two_workers_admit_exactly_what_is_allowed() {
    let stack = start().await;
    let ada = stack.issuer.token("ada").await.unwrap();
    let grace = stack.issuer.token("grace").await.unwrap();
    // With the keys at hand, nobody waits for them.
    assert_eq!(stack.get_as(&ada, "/user").await.unwrap().status, 200);
    let mut passed = 0;
    for answer in join_all((0..1_000).map(|_| stack.get_as(&ada, "/exact"))).await {
        let answer = answer.unwrap();
        assert!(matches!(answer.status, 200 | 429), "{}", answer.summary());
        passed += usize::from(answer.status == 200);
    }
    assert_eq!(passed, 300);
    assert_eq!(stack.get_as(&grace, "/exact").await.unwrap().status, 200, "on her own");
}

#[tokio::test]
async fn a_client_is_told_how_its_budget_stands_and_when_to_come_back() {
    let stack = start().await;
    let ada = stack.issuer.token("ada").await.unwrap();
    let passed = stack.get_as(&ada, "/told").await.unwrap();
    assert_eq!(passed.status, 200, "{}", passed.summary());
    assert_eq!(passed.header("ratelimit-policy"), Some("\"told\";q=3;w=3600"));
    assert_eq!(passed.header("ratelimit"), Some("\"told\";r=2;t=1200"));
    assert_eq!(passed.header("x-ratelimit-limit-hour"), Some("3"));
    assert_eq!(passed.header("x-ratelimit-remaining-hour"), Some("2"));
    for _ in 0..2 {
        assert_eq!(stack.get_as(&ada, "/told").await.unwrap().status, 200);
    }
    let refused = stack.get_as(&ada, "/told").await.unwrap();
    assert_eq!(refused.status, 429, "{}", refused.summary());
    assert_eq!(refused.header("content-type"), Some("application/problem+json"));
    let retry_after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1_000..=1_200).contains(&retry_after), "{retry_after}");
    let problem = refused.problem().unwrap();
    assert_eq!((problem.code, problem.kind.as_str()), (Code::LimitExceeded, QUOTA_EXCEEDED));
    assert_eq!(problem.violated_policies, ["told"]);
    let request = stack.get("/told").bearer_auth(&ada).header("content-type", "application/grpc");
    let answer = Answer::to(request).await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("8"), "RESOURCE_EXHAUSTED");
}

#[tokio::test]
async fn failed_tokens_close_the_door_for_their_address() {
    let stack = start().await;
    let ada = stack.issuer.token("ada").await.unwrap();
    assert_eq!(stack.get_as(&ada, "/guarded").await.unwrap().status, 200);
    let forged = format!("{}AAAA", ada.get(..ada.len() - 4).unwrap());
    for _ in 0..5 {
        let refused = stack.get_as(&forged, "/guarded").await.unwrap();
        assert_eq!(refused.code(), Some(Code::SignatureInvalid), "{}", refused.summary());
    }
    for token in [&forged, &ada] {
        let refused = stack.get_as(token, "/guarded").await.unwrap();
        assert_eq!(refused.code(), Some(Code::LimitExceeded), "{}", refused.summary());
    }
    assert_eq!(stack.get_as(&ada, "/user").await.unwrap().status, 200, "another route");
}

/// The status of a request as Ada that a proxy passes on, for whom it says.
async fn passed_on(stack: &Stack, token: &str, chain: &str) -> u16 {
    let request = stack.get("/by-address").bearer_auth(token).header("x-forwarded-for", chain);
    Answer::to(request).await.unwrap().status
}

#[tokio::test]
async fn behind_a_trusted_proxy_callers_are_told_apart_by_the_address_that_it_tells() {
    let options = Options { amend: Some(amend), proxied: true, ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    for (chain, expected) in [
        ("203.0.113.7", 200),
        // What a client makes up stands before what the proxy adds.
        ("198.51.100.1, 203.0.113.7", 200),
        ("198.51.100.2, 203.0.113.7", 429),
        ("203.0.113.8", 200),
        // Of IPv6, a network is one caller.
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 200),
        ("2001:db8:0:1::3", 429),
        ("2001:db8:0:2::3", 200),
    ] {
        assert_eq!(passed_on(&stack, &ada, chain).await, expected, "{chain}");
    }
}

#[tokio::test]
async fn without_a_proxy_nobody_chooses_their_address() {
    let stack = start().await;
    let ada = stack.issuer.token("ada").await.unwrap();
    for (n, expected) in [200, 200, 429, 429].into_iter().enumerate() {
        assert_eq!(passed_on(&stack, &ada, &format!("203.0.113.{n}")).await, expected);
    }
}
