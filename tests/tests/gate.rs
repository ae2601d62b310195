//! The gate on a real host, with a real issuer: what passes, what does not, and what the
//! upstream sees.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use kombi_spec::{code::Code, header};
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    host::HostKind,
    issuer::PROJECT,
    stack::{Stack, received_header},
};

async fn code_of(stack: &Stack, order: Value) -> Option<Code> {
    let token = stack.issuer.mint(order).await.unwrap();
    stack.get_as(&token, "/user").await.unwrap().code()
}

#[tokio::test]
async fn a_public_route_asks_for_nothing_and_adds_the_request_id() {
    let stack = Stack::gate().await.unwrap();
    let answer = Answer::to(stack.get("/public").header("x-request-id", "mine")).await.unwrap();
    assert_eq!(answer.status, 200);
    let id = received_header(&answer, header::REQUEST_ID).unwrap();
    assert!(id.len() >= 32 && id != "mine", "the id is the gateway's own: {id}");
    assert_eq!(received_header(&answer, header::SUBJECT), None);
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_with_a_challenge_and_the_request_id() {
    let stack = Stack::gate().await.unwrap();
    let answer = Answer::to(stack.get("/user")).await.unwrap();
    assert_eq!(answer.status, 401);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.header("www-authenticate"), Some("Bearer realm=\"kombisphere\""));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let problem = answer.problem().unwrap();
    assert_eq!(problem.code, Code::TokenMissing);
    assert_eq!(problem.status, 401);
    assert!(problem.request_id.len() >= 32, "{problem:?}");
}

#[tokio::test]
async fn each_kind_of_bad_token_has_a_code_of_its_own() {
    let stack = Stack::gate().await.unwrap();
    let cases = [
        (json!({"sub": "ada"}), None),
        (json!({"sub": "ada", "expires_in": -10}), Some(Code::TokenExpired)),
        (json!({"sub": "ada", "expires_in": -1}), None),
        (json!({"sub": "ada", "not_before_in": 60}), Some(Code::TokenNotYetValid)),
        (json!({"sub": "ada", "audience": ["1"]}), Some(Code::AudienceMismatch)),
        (json!({"sub": "ada", "audience": ["1", PROJECT]}), None),
        (json!({"sub": "ada", "issuer": "https://evil.example"}), Some(Code::IssuerUnknown)),
        (json!({"sub": "ada", "kid": "made-up"}), Some(Code::KeyUnknown)),
        (json!({"sub": "ada", "claims": {"exp": null}}), Some(Code::TokenMalformed)),
    ];
    for (order, expected) in cases {
        assert_eq!(code_of(&stack, order.clone()).await, expected, "{order}");
    }
    let token = stack.issuer.token("ada").await.unwrap();
    for (changed, expected) in [
        (format!("{}AAAA", token.get(..token.len() - 4).unwrap()), Code::SignatureInvalid),
        (token.replace('.', ""), Code::TokenMalformed),
        ("not a token".to_owned(), Code::CredentialsMalformed),
    ] {
        let answer = stack.get_as(&changed, "/user").await.unwrap();
        assert_eq!(answer.code(), Some(expected), "{changed}");
    }
}

#[tokio::test]
async fn every_algorithm_of_the_issuer_is_verified() {
    let stack = Stack::gate().await.unwrap();
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let order = json!({"sub": "ada", "algorithm": algorithm});
        assert_eq!(code_of(&stack, order).await, None, "{algorithm}");
    }
}

#[tokio::test]
async fn the_upstream_learns_who_calls_and_keeps_the_rest() {
    let stack = Stack::gate().await.unwrap();
    let token = stack.issuer.token("grace").await.unwrap();
    let request = stack.post("/admin/tools?x=1").bearer_auth(&token).header("x-own", "kept");
    let answer = Answer::to(request.body("body")).await.unwrap();
    assert_eq!(answer.status, 200);
    let subject = stack.issuer.subject("grace").await.unwrap();
    assert_eq!(received_header(&answer, header::SUBJECT), Some(subject));
    assert_eq!(received_header(&answer, header::ROLES).as_deref(), Some("admin:tools,user"));
    assert_eq!(received_header(&answer, header::ISSUER).as_deref(), Some(stack.issuer.url()));
    assert_eq!(received_header(&answer, "x-own").as_deref(), Some("kept"));
    let echoed = answer.json();
    assert_eq!(echoed["path"], "/admin/tools?x=1");
    assert_eq!(echoed["body"], "body");
}

#[tokio::test]
async fn the_admin_route_needs_one_of_its_roles() {
    let stack = Stack::gate().await.unwrap();
    let organisation = json!({"1": "example.com"});
    let project_claim = format!("urn:zitadel:iam:org:project:{PROJECT}:roles");
    let plain_claim = "urn:zitadel:iam:org:project:roles";
    let cases = [
        (json!({"sub": "ada"}), Some(Code::RoleMissing)),
        (json!({"sub": "grace"}), None),
        (json!({"sub": "ada", "roles": ["admin:super"]}), None),
        (json!({"sub": "ada", "roles": ["admin:toolsmith"]}), Some(Code::RoleMissing)),
        (
            json!({"sub": "ada", "claims": {plain_claim: null, &project_claim: {"admin:tools": organisation}}}),
            None,
        ),
        (
            json!({"sub": "ada", "claims": {plain_claim: ["admin:tools"], &project_claim: null}}),
            None,
        ),
    ];
    for (order, expected) in cases {
        let token = stack.issuer.mint(order.clone()).await.unwrap();
        let answer = stack.get_as(&token, "/admin").await.unwrap();
        assert_eq!(answer.code(), expected, "{order}");
        assert_eq!(answer.status, if expected.is_some() { 403 } else { 200 }, "{order}");
    }
}

#[tokio::test]
async fn a_reserved_header_is_refused_in_any_spelling_on_every_route() {
    let stack = Stack::gate().await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    for path in ["/public", "/user"] {
        for name in ["x-kombi-sub", "X-KOMBI-ROLES", "X_Kombi_Sub", "x-kombi_org", "x-kombi-new"] {
            let request = stack.get(path).bearer_auth(&token).header(name, "1");
            let answer = Answer::to(request).await.unwrap();
            assert_eq!(answer.code(), Some(Code::HeaderReserved), "{path} {name}");
            assert_eq!(answer.status, 400, "{path} {name}");
        }
    }
}

/// On Kong, nginx drops a header whose name has a dot before the filter or anybody else sees it.
/// Envoy hands it on, and the gate refuses it.
#[tokio::test]
async fn a_reserved_name_with_a_dot_reaches_no_upstream() {
    let stack = Stack::gate().await.unwrap();
    let answer = Answer::to(stack.get("/public").header("x.kombi.sub", "1")).await.unwrap();
    match stack.gateway.kind() {
        HostKind::Envoy => assert_eq!(answer.code(), Some(Code::HeaderReserved)),
        HostKind::Kong | HostKind::Docker => {
            assert_eq!(answer.status, 200);
            assert_eq!(received_header(&answer, "x.kombi.sub"), None);
        }
    }
}

#[tokio::test]
async fn header_bytes_that_are_not_text_pass_and_crash_nothing() {
    let stack = Stack::gate().await.unwrap();
    for _ in 0..20 {
        let value = reqwest::header::HeaderValue::from_bytes(b"\xff\xfe\x80").unwrap();
        let answer = Answer::to(stack.get("/public").header("x-own", value)).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let value = reqwest::header::HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
    let answer = Answer::to(stack.get("/user").header("authorization", value)).await.unwrap();
    assert_eq!(answer.code(), Some(Code::CredentialsMalformed));
}

#[tokio::test]
async fn a_rotated_key_works_at_once_and_the_old_until_its_tokens_expire() {
    let stack = Stack::gate().await.unwrap();
    let old = stack.issuer.token("ada").await.unwrap();
    assert_eq!(stack.get_as(&old, "/user").await.unwrap().status, 200);
    stack.issuer.rotate("RS256", false).await.unwrap();
    let new = stack.issuer.token("ada").await.unwrap();
    assert_eq!(stack.get_as(&new, "/user").await.unwrap().status, 200);
    assert_eq!(stack.get_as(&old, "/user").await.unwrap().status, 200);
}

#[tokio::test]
async fn known_keys_serve_while_the_issuer_is_down() {
    let mut stack = Stack::gate().await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    // Each worker has keys of its own; many connections reach them all.
    for _ in 0..20 {
        assert_eq!(stack.get_as(&token, "/user").await.unwrap().status, 200);
    }
    stack.issuer.kill().unwrap();
    for _ in 0..20 {
        assert_eq!(stack.get_as(&token, "/user").await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let stack = Stack::gate().await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let request = stack.get("/user").bearer_auth(&token).header("authorization", "Basic YTpi");
    let answer = Answer::to(request).await.unwrap();
    // nginx itself refuses a second Authorization header, before any filter.
    assert_eq!(answer.status, 400);
    if stack.gateway.kind() == HostKind::Envoy {
        assert_eq!(answer.code(), Some(Code::CredentialsMalformed));
    }
}
