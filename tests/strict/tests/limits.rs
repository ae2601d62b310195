//! Limits on a strict Kong and a strict Envoy: several workers with one zone, and a zone that is
//! missing, full, or loses what lies in it.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use kombi_spec::{code::Code, problem::QUOTA_EXCEEDED};
use kombi_strict_host::{
    filter::Filter,
    host::Host,
    issuer::Issuer,
    node::{Builder, Node},
    outcome::Outcome,
    request::Request,
    route,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";

fn rule(more: Value) -> Value {
    route::with(json!({"name": "r", "key": "sub", "amount": 10, "per": "hour"}), &more)
}

fn per_address(more: Value) -> Value {
    let rule = route::with(rule(json!({"key": "ip"})), &more);
    json!({"access": "public", "name": "public", "limits": [rule]})
}

fn node(host: Host, issuer: &Issuer, limits: Value) -> Builder {
    Node::of(&Filter::gate(), host)
        .route("/user", issuer.route(json!({"name": "user", "limits": limits})))
        .workers(2)
        .peers(issuer.clone())
}

fn token(issuer: &Issuer, node: &Node, subject: &str) -> String {
    let mut claims = issuer.claims(node.now_s());
    claims["sub"] = json!(subject);
    issuer.sign(&claims)
}

/// How many of `count` requests pass, to the workers in turn.
fn admitted(node: &mut Node, token: &str, count: usize) -> usize {
    let mut send = |n: usize| node.send_to(n % 2, Request::get("/user").bearer(token));
    (0..count).filter(|n| send(*n).is_forwarded()).count()
}

fn header<'a>(outcome: &'a Outcome, name: &str) -> Option<&'a str> {
    outcome.response().and_then(|response| response.headers.text(name))
}

#[test]
fn a_thousand_requests_over_two_workers_admit_exactly_what_is_allowed() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let mut node = node(host, &issuer, json!([rule(json!({"amount": 333}))])).start();
        let ada = token(&issuer, &node, "ada");
        assert_eq!(admitted(&mut node, &ada, 1_000), 333, "{host:?}");
    }
}

#[test]
fn users_whose_names_collide_under_crc32_have_budgets_of_their_own() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let mut node = node(host, &issuer, json!([rule(json!({}))])).start();
        for subject in ["rl:user:29685295", "rl:user:32060020"] {
            let token = token(&issuer, &node, subject);
            assert_eq!(admitted(&mut node, &token, 20), 10, "{host:?}: {subject}");
        }
    }
}

#[test]
fn a_client_is_told_how_its_budget_stands_and_when_to_come_back() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let limits = json!([rule(json!({"amount": 2, "per": "minute"}))]);
        let mut node = node(host, &issuer, limits).start();
        let ada = token(&issuer, &node, "ada");
        let passed = node.send(Request::get("/user").bearer(&ada));
        for (name, expected) in [
            ("ratelimit-policy", "\"r\";q=2;w=60"),
            ("ratelimit", "\"r\";r=1;t=30"),
            ("x-ratelimit-limit-minute", "2"),
            ("x-ratelimit-remaining-minute", "1"),
            ("ratelimit-limit", "2"),
            ("ratelimit-remaining", "1"),
            ("ratelimit-reset", "30"),
        ] {
            assert_eq!(header(&passed, name), Some(expected), "{host:?}: {name}");
        }
        node.send(Request::get("/user").bearer(&ada));
        let refused = node.send(Request::get("/user").bearer(&ada));
        assert_eq!(refused.status(), 429);
        let retry_after: u64 = header(&refused, "retry-after").unwrap().parse().unwrap();
        assert!((29..=30).contains(&retry_after), "{retry_after}");
        assert!(header(&refused, "ratelimit").unwrap().starts_with("\"r\";r=0;t="));
        let problem = refused.problem().unwrap();
        assert_eq!((problem.code, problem.kind.as_str()), (Code::LimitExceeded, QUOTA_EXCEEDED));
        assert_eq!(problem.violated_policies, ["r"]);
        node.advance(retry_after * 1_000);
        assert!(node.send(Request::get("/user").bearer(&ada)).is_forwarded());
    }
}

#[test]
fn failed_tokens_close_the_door_for_their_address_before_any_signature_is_verified() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let limit = json!({"name": "failed", "key": "ip", "amount": 5, "cost": "failed_token"});
        let mut node = node(host, &issuer, json!([rule(limit)])).start();
        let ada = token(&issuer, &node, "ada");
        let forged = format!("{}AAAA", ada.get(..ada.len() - 4).unwrap());
        let send = |node: &mut Node, token: &str, address: &str| {
            node.send(Request::get("/user").bearer(token).from(address))
        };
        for _ in 0..5 {
            assert_eq!(send(&mut node, &forged, "192.0.2.7").status(), 401);
        }
        for token in [&forged, &ada] {
            let refused = send(&mut node, token, "192.0.2.7");
            assert_eq!(refused.code(), Some(Code::LimitExceeded), "{host:?}");
        }
        assert!(send(&mut node, &ada, "192.0.2.8").is_forwarded(), "{host:?}");
        // Somebody without a token has not failed, and is told what is missing.
        for _ in 0..10 {
            let refused = node.send(Request::get("/user").from("192.0.2.9"));
            assert_eq!(refused.code(), Some(Code::TokenMissing));
        }
    }
}

#[test]
fn tokens_that_wait_for_keys_fail_one_after_the_other() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        issuer.delay(300);
        let limit = json!({"name": "failed", "key": "ip", "amount": 5, "cost": "failed_token"});
        let mut node = node(host, &issuer, json!([rule(limit)])).start();
        let ada = token(&issuer, &node, "ada");
        let forged = format!("{}AAAA", ada.get(..ada.len() - 4).unwrap());
        let sent: Vec<_> =
            (0..50).map(|n| node.begin(n % 2, Request::get("/user").bearer(&forged))).collect();
        node.advance(5_000);
        let with = |code| {
            let code_of = |id| node.outcome(id).and_then(Outcome::code);
            sent.iter().filter(|id| code_of(**id) == Some(code)).count()
        };
        let (failed, stopped) = (with(Code::SignatureInvalid), with(Code::LimitExceeded));
        assert_eq!((failed, stopped), (5, 45), "{host:?}");
    }
}

#[test]
fn an_ipv6_household_is_one_caller() {
    for host in Host::BOTH {
        let configuration = per_address(json!({"amount": 3}));
        let mut node = Node::of(&Filter::gate(), host).route("/public", configuration).start();
        let mut passes =
            |address: &str| node.send(Request::get("/public").from(address)).is_forwarded();
        assert!(passes("2001:db8:1:2::1") && passes("2001:db8:1:2::2"), "{host:?}");
        assert!(passes("2001:db8:1:2:ffff::3") && !passes("2001:db8:1:2::4"), "{host:?}");
        assert!(passes("2001:db8:1:3::1") && passes("192.0.2.7"), "{host:?}");
    }
}

#[test]
fn without_a_zone_each_rule_says_what_becomes_of_requests() {
    for (on_error, status) in [("deny", 503), ("allow", 200)] {
        let issuer = Issuer::new(ISSUER);
        let limits = json!([rule(json!({"on_error": on_error}))]);
        let mut node = node(Host::Kong, &issuer, limits)
            .settings(|settings| settings.zone_bytes = None)
            .start();
        let ada = token(&issuer, &node, "ada");
        for n in 0..20 {
            let outcome = node.send_to(n % 2, Request::get("/user").bearer(&ada));
            assert_eq!(outcome.status(), status, "{on_error}");
            let code = (status == 503).then_some(Code::LimitUnavailable);
            assert_eq!(outcome.code(), code, "{on_error}");
        }
        node.advance(1_000);
        let told = |line: &str| line.contains("limit_trouble") && line.contains("no_zone");
        let lines = node.take_logs().into_iter().filter(|line| told(&line.text)).count();
        assert!((1..=2).contains(&lines), "each worker tells once: {lines}");
        let counted = node.metric("limit_troubles_total_trouble=\"no_zone\"");
        assert_eq!(counted, Some(20));
    }
}

#[test]
fn a_flood_of_callers_in_a_small_zone_frees_nobody_and_breaks_nothing() {
    let configuration = per_address(json!({"amount": 20}));
    let mut node = Node::kong()
        .route("/public", configuration)
        .settings(|settings| settings.zone_bytes = Some(512 << 10))
        .workers(2)
        .start();
    let passes = |node: &mut Node, address: &str| {
        node.send(Request::get("/public").from(address)).is_forwarded()
    };
    let hot = (0..30).filter(|_| passes(&mut node, "203.0.113.1")).count();
    assert_eq!(hot, 20);
    for n in 0..20_000_u32 {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).to_string();
        assert!(passes(&mut node, &address), "{address}");
        if n % 1_000 == 0 {
            assert!(!passes(&mut node, "203.0.113.1"), "after {n}");
        }
    }
    node.advance(1_000);
    assert_eq!(node.with_zone(|zone| zone.evictions()), Some(0), "the counters fit");
    assert!(node.metric("limit_troubles_total_trouble=\"displaced\"").is_some());
}

#[test]
fn counters_that_the_zone_loses_are_noticed() {
    let issuer = Issuer::new(ISSUER);
    let mut node = node(Host::Kong, &issuer, json!([rule(json!({}))])).start();
    let ada = token(&issuer, &node, "ada");
    assert_eq!(admitted(&mut node, &ada, 20), 10);
    node.with_zone(kombi_strict_host::zone::Zone::wipe);
    assert_eq!(admitted(&mut node, &ada, 20), 10, "nobody can know");
    node.advance(1_000);
    assert!(node.take_logs().iter().any(|line| line.text.contains("\"trouble\":\"lost\"")));
}

#[test]
fn no_window_has_an_edge_at_which_a_budget_could_be_spent_twice() {
    const MINUTE_MS: u64 = 60_000;
    for host in Host::BOTH {
        for before_ms in [1, 500, 30_000, 59_999] {
            let issuer = Issuer::new(ISSUER);
            let limits = json!([rule(json!({"amount": 60, "per": "minute"}))]);
            let mut node = node(host, &issuer, limits).start();
            let edge_ms = node.now_ms().next_multiple_of(MINUTE_MS) + MINUTE_MS;
            node.jump_to(edge_ms - before_ms);
            let ada = token(&issuer, &node, "ada");
            assert_eq!(admitted(&mut node, &ada, 80), 60, "{host:?}: {before_ms}");
            // Fetching the keys took a moment, too.
            node.advance(before_ms.saturating_sub(100) % 1_000);
            assert!(admitted(&mut node, &ada, 80) <= 1, "{host:?}: {before_ms}");
            let since_s = before_ms / 1_000;
            node.advance(since_s * 1_000);
            let back = admitted(&mut node, &ada, 80) as u64;
            assert!((since_s.saturating_sub(1)..=since_s + 1).contains(&back), "{host:?}: {back}");
        }
    }
}

#[test]
fn a_clock_that_jumps_neither_locks_out_nor_frees_more_than_one_budget() {
    let issuer = Issuer::new(ISSUER);
    let mut node = node(Host::Kong, &issuer, json!([rule(json!({"amount": 60}))])).start();
    let start = node.now_ms();
    let passes = |node: &mut Node, count: usize| {
        let ada = token(&issuer, node, "ada");
        admitted(node, &ada, count)
    };
    assert_eq!(passes(&mut node, 80), 60);
    node.jump_to(start + 86_400_000);
    assert_eq!(passes(&mut node, 80), 60);
    node.jump_to(start);
    assert_eq!(passes(&mut node, 80), 0);
    node.jump_to(start + 60_000);
    assert!(passes(&mut node, 80) <= 1);
}

#[test]
fn a_dry_run_and_a_route_in_shadow_refuse_nobody_and_tell() {
    for (limit, more) in
        [(json!({"dry_run": true}), json!({})), (json!({}), json!({"shadow": true}))]
    {
        let issuer = Issuer::new(ISSUER);
        let limited = issuer.route(json!({"name": "user", "limits": [rule(limit)]}));
        let configuration = route::with(limited, &more);
        let mut node =
            Node::kong().route("/user", configuration).peers(issuer.clone()).workers(2).start();
        let ada = token(&issuer, &node, "ada");
        assert_eq!(admitted(&mut node, &ada, 15), 15);
        let counted = node.metric("would_refuse_total_route=\"user\"_code=\"limit_exceeded\"");
        assert_eq!(counted, Some(5));
    }
}
