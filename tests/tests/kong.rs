//! `kong/kong.yml`, the file that is deployed: every route has a policy that the gate can use, and
//! lets in whom it should.

// A failure is what a test is for; routes are looked up by position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, process::Command};

use futures_util::future::join_all;
use kombi_exchange::kong::{policies, template};
use kombi_gate_core::config::Policy;
use kombi_spec::{code::Code, header};
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    artifacts,
    issuer::PROJECT,
    routes::{self, Declaration},
    stack::{HOMELAB, HOMELAB_HOST, Options, STRIPE, Stack, received_header},
};

/// Where Stripe's events come in.
const WEBHOOK: &str = "/webhooks/stripe";

/// The shipped file, with values that are good for nothing but this test.
fn rendered() -> String {
    let value = |name: &str| match name.rsplit_once('_').unwrap().1 {
        "PORT" if name == "DECK_KOMBI_AI_FALLBACK_PORT" => "8021".to_owned(),
        "PORT" => "8020".to_owned(),
        "KEY" => "A".repeat(43),
        "ADDRESSES" => "192.0.2.1,192.0.2.2".to_owned(),
        "AUDIENCE" => "273456789012345678".to_owned(),
        "AT" => "127.0.0.1:8009".to_owned(),
        "HOST" => "homelab.example".to_owned(),
        _ if name == "DECK_KOMBI_WORKERS_URL" => "grpc://127.0.0.1:1".to_owned(),
        _ => "http://127.0.0.1:1".to_owned(),
    };
    let template = fs::read_to_string(routes::template()).unwrap();
    template::render(&template, |name| Some(value(name).into())).unwrap()
}

#[test]
fn every_route_of_the_shipped_file_has_a_policy_that_the_gate_can_use() {
    let rendered = rendered();
    policies::check(&rendered).unwrap();
    let declaration = Declaration::parse(&rendered).unwrap();
    assert_eq!(declaration.second_pass().unwrap(), Some(8020));
    let mut open = Vec::new();
    for (service, route) in declaration.routes() {
        let plugins = || service.plugins.iter().chain(&route.plugins);
        let Some(gate) = plugins().find(|plugin| plugin.name == artifacts::FILTER) else {
            assert!(route.expression.is_some(), "{}: no policy", route.name);
            continue;
        };
        let policy = Policy::parse(gate.config.to_string().as_bytes());
        let policy = policy.unwrap_or_else(|error| panic!("{}: {error}", route.name));
        assert_eq!(gate.config["name"], *route.name, "what logs and metrics call it");
        if matches!(policy, Policy::Public(_)) {
            open.push(route.name.as_str());
        }
    }
    // Whatever is added here is for everybody: say why it may be.
    let expected = [
        "public",             // the Cloud's own pages
        "stripe-webhook",     // signed by Stripe, from its addresses only
        "sso-redeem",         // a one-time code speaks
        "backchannel-logout", // a logout token speaks
        "homelab",            // PocketBase checks its own tokens
        "homelab-doors",      // closed
        "portal",             // pages; what they show needs a token
    ];
    assert_eq!(open, expected);
}

#[tokio::test]
async fn each_admin_gets_to_what_their_role_is_for_and_no_further() {
    let stack = Stack::gate().await.unwrap();
    for (role, path, passes) in [
        ("admin:tools", "/admin/tools", true),
        ("admin:tools", "/admin/billing/invoices", false),
        ("admin:tools", "/admin/usage", false),
        ("admin:billing", "/admin/billing/invoices", true),
        ("admin:billing", "/admin/tools", false),
        ("admin:billing", "/admin/instances", false),
        ("admin:super", "/admin/billing/invoices", true),
        ("admin:super", "/admin/tools", true),
        ("user", "/admin/billing", false),
        ("service:sync", "/admin/tools", false),
    ] {
        let token = stack.issuer.mint(json!({"sub": "ada", "roles": [role]})).await.unwrap();
        let answer = stack.get_as(&token, path).await.unwrap();
        let refused = (answer.code() == Some(Code::RoleMissing)).then_some(403);
        assert_eq!(answer.status, if passes { 200 } else { 403 }, "{role} {path}");
        assert_eq!(refused.is_some(), !passes, "{role} {path}: {}", answer.summary());
    }
    let anonymous = Answer::to(stack.get("/admin/billing")).await.unwrap();
    assert_eq!(anonymous.code(), Some(Code::TokenMissing));
}

#[tokio::test]
async fn a_persons_plan_is_the_one_role_that_names_one() {
    let stack = Stack::gate().await.unwrap();
    for (roles, plan) in [
        (json!(["user", "plan:pro"]), Some("pro")),
        (json!(["user"]), None),
        (json!(["plan:free", "plan:pro"]), None),
    ] {
        let token = stack.issuer.mint(json!({"sub": "ada", "roles": roles})).await.unwrap();
        let answer = stack.get_as(&token, "/user").await.unwrap();
        assert_eq!(received_header(&answer, header::PLAN).as_deref(), plan, "{roles}");
    }
}

#[tokio::test]
async fn only_services_take_part_in_the_sync() {
    let stack = Stack::gate().await.unwrap();
    let anonymous = Answer::to(stack.post("/internal/sync/users")).await.unwrap();
    assert_eq!(anonymous.code(), Some(Code::TokenMissing));
    for (roles, expected) in [
        (json!(["user"]), Some(Code::RoleMissing)),
        (json!(["admin:super"]), Some(Code::RoleMissing)),
        (json!(["service:sync"]), None),
    ] {
        let token = stack.issuer.mint(json!({"sub": "ada", "roles": roles})).await.unwrap();
        let request = stack.post("/internal/sync/users").bearer_auth(&token).body("{}");
        let answer = Answer::to(request).await.unwrap();
        assert_eq!(answer.code(), expected, "{roles}");
        assert_eq!(answer.status == 200, expected.is_none(), "{roles}: {}", answer.summary());
    }
}

#[tokio::test]
async fn a_service_takes_part_in_the_sync_with_a_personal_access_token() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    for (roles, expected) in
        [(json!(["service:sync"]), None), (json!(["user"]), Some(Code::RoleMissing))]
    {
        let token =
            stack.issuer.mint(json!({"sub": "ada", "roles": roles, "opaque": true})).await.unwrap();
        let answer = stack.get_as(&token, "/internal/sync").await.unwrap();
        assert_eq!(answer.code(), expected, "{roles}: {}", answer.summary());
    }
}

/// Bytes as no JSON has them, in no text encoding.
fn event() -> Vec<u8> {
    let odd = [b"{\"id\": \"evt_1\",\r\n  \"a\" : 1.0 }\0".as_slice(), &[0xff, 0xfe, b'\n', 0x80]];
    odd.concat().into_iter().cycle().take(200_000).collect()
}

#[tokio::test]
async fn stripes_events_need_no_token_and_arrive_byte_for_byte() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let stack = Stack::gate().await.unwrap();
    let request = stack.post(WEBHOOK).header("stripe-signature", "t=1,v1=5257a8");
    let answer =
        Answer::to(request.header("content-type", "application/json").body(event())).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.summary());
    assert_eq!(answer.json()["body_base64"], STANDARD.encode(event()));
    assert_eq!(received_header(&answer, "stripe-signature").as_deref(), Some("t=1,v1=5257a8"));
    assert_eq!(received_header(&answer, header::SUBJECT), None);
    let forged = stack.post(WEBHOOK).header("x-kombi-sub", "1").body("{}");
    assert_eq!(Answer::to(forged).await.unwrap().code(), Some(Code::HeaderReserved));
    let large = Answer::to(stack.post(WEBHOOK).body(vec![b' '; 1024 * 1024 + 1])).await.unwrap();
    assert_eq!(large.status, 413);
    for other in [format!("{WEBHOOK}/"), format!("{WEBHOOK}x"), "/webhooks".to_owned()] {
        assert_eq!(Answer::to(stack.post(&other)).await.unwrap().status, 404, "{other}");
    }
    assert_eq!(Answer::to(stack.get(WEBHOOK)).await.unwrap().status, 404, "events are posted");
}

/// Fewer events for each address, so that they can be counted.
fn three_events(declaration: &mut Value) {
    let route = routes::named(declaration, "stripe-webhook").unwrap();
    let gate = route["plugins"].as_array_mut().unwrap().last_mut().unwrap();
    gate["config"]["limits"] = json!([{"name": "stripe", "key": "ip", "amount": 3, "per": "day"}]);
}

#[tokio::test]
async fn events_come_from_stripes_addresses_only_and_each_has_a_budget() {
    let options = Options { proxied: true, amend: Some(three_events), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    let post =
        |from: &str| Answer::to(stack.post(WEBHOOK).header("x-forwarded-for", from).body("{}"));
    for stranger in ["203.0.113.8", "198.51.100.1", "2001:db8::1"] {
        let answer = post(stranger).await.unwrap();
        assert_eq!((answer.status, answer.code()), (403, None), "{stranger}");
    }
    let answers = join_all((0..8).map(|_| post(STRIPE))).await;
    let passed = answers.iter().filter(|answer| answer.as_ref().unwrap().status == 200).count();
    assert_eq!(passed, 3);
    assert_eq!(post(STRIPE).await.unwrap().code(), Some(Code::LimitExceeded));
    assert_eq!(post("127.0.0.1").await.unwrap().status, 200, "on its own");
}

#[tokio::test]
async fn an_instance_is_served_under_its_host_with_its_logins_and_nothing_else() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let there = |request: reqwest::RequestBuilder| Answer::to(request.header("host", HOMELAB_HOST));
    let health = there(stack.get("/api/health")).await.unwrap();
    assert_eq!(health.json()["message"], "API is healthy.", "{}", health.summary());
    let path = "/sso/instances/homelab/session";
    let session = there(stack.post(path).bearer_auth(&token)).await.unwrap();
    assert_eq!(session.status, 200, "{}", session.summary());
    let session = session.json();
    let refreshed = stack.post("/api/collections/users/auth-refresh");
    let refreshed = refreshed.header("authorization", session["token"].as_str().unwrap());
    assert_eq!(there(refreshed).await.unwrap().status, 200, "PocketBase's token is PocketBase's");
    let anonymous = there(stack.post(path)).await.unwrap();
    assert_eq!(anonymous.code(), Some(Code::TokenMissing));
    let forged = there(stack.get("/api/health").header("X_Kombi_Sub", "1")).await.unwrap();
    assert_eq!(forged.code(), Some(Code::HeaderReserved));
    for door in
        ["/api/kombisphere/session", "/api/kombisphere/account", "/api//kombisphere/session"]
    {
        let closed = there(stack.post(door).body("{}")).await.unwrap();
        let hook = closed.json()["data"]["code"] == "request_invalid";
        assert!(closed.status == 404 && !hook, "{door}: {}", closed.summary());
    }
    // The routes of other hosts are not there: PocketBase answers, in its own words.
    for other in ["/user", "/admin/usage", "/sso/instances/other/session", "/internal/sync"] {
        let answer = there(stack.post(other).bearer_auth(&token)).await.unwrap();
        assert!(answer.status >= 400 && answer.code().is_none(), "{other}: {}", answer.summary());
        assert!(answer.json()["path"].is_null(), "{other}: the Cloud answered");
    }
    let elsewhere = Answer::to(stack.get("/api/health")).await.unwrap();
    assert_eq!(elsewhere.status, 404, "under the gateway's own name there is no instance");
}

#[tokio::test]
async fn the_exchange_gets_no_large_bodies() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let logout = |bytes: usize| {
        let form = format!("logout_token={}", "A".repeat(bytes));
        let request = stack.post("/backchannel-logout").body(form);
        Answer::to(request.header("content-type", "application/x-www-form-urlencoded"))
    };
    // What the exchange says itself, and what does not get there.
    assert_eq!(logout(1_000).await.unwrap().status, 400);
    let large = logout(65 * 1024).await.unwrap();
    assert_eq!((large.status, large.code()), (413, None));
}

#[tokio::test]
async fn workers_connect_over_grpc_with_the_token_of_a_service() {
    let options = Options { workers: true, ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    let client = artifacts::grpc().unwrap();
    for (roles, code) in [
        (None, "Unauthenticated"),
        (Some(json!(["user"])), "PermissionDenied"),
        (Some(json!(["service:sync"])), "PermissionDenied"),
        (Some(json!(["service:worker"])), "OK"),
    ] {
        let mut command = Command::new(&client);
        command.args(["--target", &format!("127.0.0.1:{}", stack.gateway.port()), "--watch"]);
        if let Some(roles) = &roles {
            let order = json!({"sub": "ada", "roles": roles, "audience": [PROJECT]});
            command.env("GRPC_TOKEN", stack.issuer.mint(order).await.unwrap());
        }
        let output = tokio::task::spawn_blocking(move || artifacts::output(&mut command));
        let outcome: Value = serde_json::from_str(&output.await.unwrap().unwrap()).unwrap();
        assert_eq!(outcome["code"], code, "{roles:?}: {outcome}");
    }
}
