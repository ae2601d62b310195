//! Opaque tokens on a real host: the gate asks a real exchange, and that a real issuer.

// A failure is what a test is for; routes are looked up by position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use futures_util::future::join_all;
use kombi_spec::{code::Code, header};
use serde_json::{Value, json};
use stack::{
    routes,
    stack::{HOMELAB, Options, Stack, received_header},
};

/// The gate's configuration on a route.
fn config_of<'a>(declaration: &'a mut Value, route: &str) -> &'a mut Value {
    &mut routes::named(declaration, route).unwrap()["plugins"][0]["config"]
}

/// The routes `user` and `admin` accept the issuer's opaque tokens; the SSO route does not.
fn amend(declaration: &mut Value) {
    let exchange = json!({
        "url": declaration["services"][1]["url"],
        "signing_key": config_of(declaration, "sso-session")["assertion"]["signing_key"],
    });
    for route in ["user", "admin"] {
        let config = config_of(declaration, route);
        config["opaque_tokens_from"] = config["issuers"][0]["issuer"].clone();
        config["exchange"] = exchange.clone();
    }
}

async fn stack() -> Stack {
    let options = Options { instances: &[HOMELAB], amend: Some(amend), ..Options::default() };
    Stack::start(options).await.unwrap()
}

async fn opaque(stack: &Stack, mut order: Value) -> String {
    order["opaque"] = true.into();
    let token = stack.issuer.mint(order).await.unwrap();
    assert!(!token.contains('.'), "a personal access token is one piece: {token}");
    token
}

async fn code_of(stack: &Stack, token: &str, path: &str) -> (u16, Option<Code>) {
    let answer = stack.get_as(token, path).await.unwrap();
    (answer.status, answer.code())
}

#[tokio::test]
async fn an_opaque_token_passes_as_the_issuer_says_and_only_where_the_route_says_so() {
    let stack = stack().await;
    let token = opaque(&stack, json!({"sub": "grace"})).await;
    let answer = stack.get_as(&token, "/admin").await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.summary());
    let subject = stack.issuer.subject("grace").await.unwrap();
    assert_eq!(received_header(&answer, header::SUBJECT), Some(subject));
    assert_eq!(received_header(&answer, header::ROLES).as_deref(), Some("admin:tools,user"));
    let refused = stack.log_in(&token, HOMELAB.id).await.unwrap();
    assert_eq!((refused.status, refused.code()), (401, Some(Code::TokenMalformed)));
}

#[tokio::test]
async fn what_an_opaque_token_says_is_judged_as_a_jwt_is() {
    let stack = stack().await;
    let revoked = opaque(&stack, json!({"sub": "ada"})).await;
    stack.issuer.revoke(&revoked).await.unwrap();
    assert_eq!(code_of(&stack, &revoked, "/user").await, (401, Some(Code::TokenInactive)));
    for (order, path, expected) in [
        (json!({"sub": "ada"}), "/user", (200, None)),
        (json!({"sub": "ada"}), "/admin", (403, Some(Code::RoleMissing))),
        (json!({"sub": "ada", "roles": ["admin:super"]}), "/admin", (200, None)),
        (json!({"sub": "ada", "expires_in": -60}), "/user", (401, Some(Code::TokenInactive))),
        (json!({"sub": "ada", "audience": ["1"]}), "/user", (401, Some(Code::TokenInactive))),
        (
            json!({"sub": "ada", "claims": {"act": {"sub": "eve"}}}),
            "/user",
            (403, Some(Code::DelegationRefused)),
        ),
    ] {
        let token = opaque(&stack, order.clone()).await;
        assert_eq!(code_of(&stack, &token, path).await, expected, "{order} at {path}");
    }
    let made_up = "bm9ib2R5IG1pbnRlZCB0aGlz";
    assert_eq!(code_of(&stack, made_up, "/user").await, (401, Some(Code::TokenInactive)));
}

#[tokio::test]
async fn many_requests_at_once_with_one_new_token_ask_the_issuer_once() {
    let stack = stack().await;
    let token = opaque(&stack, json!({"sub": "ada"})).await;
    let before = stack.issuer.introspections().await.unwrap();
    // As many as may wait in one worker, should all of them come there, beside the one that asks.
    let answers = join_all((0..65).map(|_| stack.get_as(&token, "/user"))).await;
    for answer in answers {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.summary());
    }
    assert_eq!(stack.issuer.introspections().await.unwrap() - before, 1);
}

#[tokio::test]
async fn without_exchange_or_issuer_unknown_opaque_tokens_are_a_503_and_the_rest_goes_on() {
    let mut stack = stack().await;
    let jwt = stack.issuer.token("ada").await.unwrap();
    let known = opaque(&stack, json!({"sub": "ada"})).await;
    let (first, second) =
        (opaque(&stack, json!({"sub": "ada"})).await, opaque(&stack, json!({"sub": "ada"})).await);
    assert_eq!(code_of(&stack, &known, "/user").await, (200, None));
    assert_eq!(code_of(&stack, &jwt, "/user").await, (200, None));
    stack.issuer.kill().unwrap();
    let unavailable = (503, Some(Code::IntrospectionUnavailable));
    assert_eq!(code_of(&stack, &first, "/user").await, unavailable);
    stack.exchange().unwrap().kill().unwrap();
    assert_eq!(code_of(&stack, &second, "/user").await, unavailable);
    assert_eq!(code_of(&stack, &jwt, "/user").await, (200, None));
}
