//! Opaque tokens on a strict Kong and a strict Envoy: the exchange is asked, nobody passes without
//! its word, and no rule of the host is broken on the way.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;

use kombi_spec::{code::Code, header};
use kombi_strict_host::{
    exchange::{Exchange, beside},
    filter::Filter,
    host::Host,
    issuer::{Behaviour, Issuer},
    node::{Node, RequestId},
    outcome::Outcome,
    peers::Failure,
    request::Request,
    route::with,
};
use serde_json::json;

const ISSUER: &str = "https://id.example";

fn start(host: Host, workers: usize) -> (Issuer, Exchange, Node) {
    let (issuer, exchange) = (Issuer::new(ISSUER), Exchange::default());
    let user = with(issuer.route(json!({})), &exchange.route(ISSUER));
    let admin = with(user.clone(), &json!({"roles": {"any_of": ["admin:tools"]}}));
    let node = Node::of(&Filter::gate(), host)
        .workers(workers)
        .route("/user", user)
        .route("/admin", admin)
        .route("/jwt", issuer.route(json!({})))
        .peers(beside(exchange.clone(), issuer.clone()))
        .start();
    (issuer, exchange, node)
}

fn ask(node: &mut Node, path: &str, token: &str) -> Outcome {
    node.send(Request::get(path).bearer(token))
}

fn codes(node: &Node, ids: &[RequestId]) -> BTreeMap<String, usize> {
    let mut codes = BTreeMap::new();
    for id in ids {
        let word = match node.outcome(*id) {
            None => "undecided".to_owned(),
            Some(outcome) => match outcome.code() {
                Some(code) => code.as_str().to_owned(),
                None => format!("{}", outcome.status()),
            },
        };
        *codes.entry(word).or_default() += 1;
    }
    codes
}

#[test]
fn an_opaque_token_passes_as_its_issuer_says_and_the_upstream_is_told_who_calls() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 1);
        exchange.know("pat", issuer.claims(node.now_s()));
        for _ in 0..3 {
            let outcome = ask(&mut node, "/user", "pat");
            assert_eq!(outcome.status(), 200, "{host:?}: {:?}", outcome.problem());
            assert_eq!(outcome.upstream_header(header::SUBJECT), Some("275000000000000001"));
            assert_eq!(outcome.upstream_header(header::ROLES), Some("user"));
        }
        assert_eq!(exchange.questions(), ["pat"], "{host:?}");
        assert_eq!(ask(&mut node, "/admin", "pat").code(), Some(Code::RoleMissing));
        assert_eq!(ask(&mut node, "/jwt", "pat").code(), Some(Code::TokenMalformed));
        assert_eq!(ask(&mut node, "/user", "other").code(), Some(Code::TokenInactive));
        assert_eq!(exchange.questions(), ["pat", "other"], "one answer serves every route");
    }
}

#[test]
fn a_revoked_token_lives_on_for_a_minute_at_most() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 1);
        exchange.know("pat", issuer.claims(node.now_s()));
        assert!(ask(&mut node, "/user", "pat").is_forwarded());
        exchange.forget("pat");
        node.advance(59_000);
        assert!(ask(&mut node, "/user", "pat").is_forwarded());
        node.advance(1_000);
        assert_eq!(ask(&mut node, "/user", "pat").code(), Some(Code::TokenInactive), "{host:?}");
        // And one that was refused is known again ten seconds later.
        exchange.know("pat", issuer.claims(node.now_s()));
        assert_eq!(ask(&mut node, "/user", "pat").code(), Some(Code::TokenInactive), "{host:?}");
        node.advance(10_000);
        assert!(ask(&mut node, "/user", "pat").is_forwarded(), "{host:?}");
    }
}

#[test]
fn an_exchange_that_fails_in_any_way_lets_nobody_in() {
    let good = json!({"active": true, "claims": {}, "cache_for_s": 60}).to_string();
    for behaviour in [
        Behaviour::Status(500),
        Behaviour::Status(501),
        Behaviour::Status(401),
        Behaviour::Status(204),
        Behaviour::Fails(Failure::Connection),
        Behaviour::Fails(Failure::Timeout),
        Behaviour::Fails(Failure::Resolver),
        Behaviour::Stalls,
        Behaviour::Says(good.as_bytes()[..good.len() / 2].to_vec()),
        Behaviour::Says(vec![0xff; 100]),
        Behaviour::Says(Vec::new()),
        Behaviour::Says(vec![b'['; 60_000]),
    ] {
        for host in Host::BOTH {
            let (issuer, exchange, mut node) = start(host, 1);
            exchange.know("pat", issuer.claims(node.now_s()));
            exchange.behave(behaviour.clone());
            let outcome = ask(&mut node, "/user", "pat");
            assert_eq!(outcome.status(), 503, "{host:?}: {behaviour:?}");
            assert_eq!(outcome.code(), Some(Code::IntrospectionUnavailable), "{behaviour:?}");
            assert!(outcome.response().unwrap().headers.text("retry-after").is_some());
            // A JWT needs no exchange.
            let token = issuer.token(node.now_s());
            assert!(ask(&mut node, "/user", &token).is_forwarded(), "{host:?}: {behaviour:?}");
            exchange.behave(Behaviour::Honest);
            node.advance(1_000);
            assert!(ask(&mut node, "/user", "pat").is_forwarded(), "{host:?}: {behaviour:?}");
        }
    }
}

#[test]
fn a_storm_with_one_token_asks_once_in_each_worker() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 2);
        exchange.know("pat", issuer.claims(node.now_s()));
        exchange.delay(300);
        let sent: Vec<_> =
            (0..100).map(|n| node.begin(n % 2, Request::get("/user").bearer("pat"))).collect();
        node.advance(5_000);
        assert_eq!(codes(&node, &sent), BTreeMap::from([("200".to_owned(), 100)]), "{host:?}");
        assert_eq!(exchange.questions().len(), 2, "{host:?}");
    }
}

#[test]
fn a_flood_of_made_up_tokens_is_bounded_and_harms_nobody_who_is_known() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 1);
        exchange.know("pat", issuer.claims(node.now_s()));
        assert!(ask(&mut node, "/user", "pat").is_forwarded());
        exchange.delay(1_000);
        let sent: Vec<_> = (0..500)
            .map(|n| node.begin(0, Request::get("/user").bearer(&format!("made-up-{n}"))))
            .collect();
        assert_eq!(exchange.questions().len(), 1 + 64, "{host:?}: questions at a time");
        assert_eq!(codes(&node, &sent)["introspection_unavailable"], 500 - 64 - 64, "{host:?}");
        let known = node.begin(0, Request::get("/user").bearer("pat"));
        assert!(node.outcome(known).unwrap().is_forwarded(), "{host:?}");
        node.advance(20_000);
        let ended = codes(&node, &sent);
        assert_eq!(ended.get("undecided"), None, "{host:?}: {ended:?}");
        assert_eq!(ended.get("200"), None, "{host:?}: {ended:?}");
    }
}

#[test]
fn a_client_that_leaves_while_it_asks_takes_nobody_along() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 1);
        exchange.know("pat", issuer.claims(node.now_s()));
        exchange.delay(300);
        let request = || Request::new("POST", "/user").body("body").bearer("pat");
        let gone = node.begin(0, request());
        let stays = node.begin(0, request());
        node.advance(100);
        node.leave(gone);
        node.advance(5_000);
        assert!(matches!(node.outcome(gone), Some(Outcome::CutOff)));
        assert!(node.outcome(stays).unwrap().is_forwarded(), "{host:?}");
        assert!(ask(&mut node, "/user", "pat").is_forwarded(), "{host:?}");
        assert_eq!(exchange.questions().len(), 2, "{host:?}: the one who waited asked anew");
    }
}

#[test]
fn where_dispatches_are_refused_nobody_passes_and_nobody_hangs() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 1);
        exchange.know("pat", issuer.claims(node.now_s()));
        node.refuse_dispatches(Some(10));
        let outcome = ask(&mut node, "/user", "pat");
        assert_eq!(outcome.code(), Some(Code::IntrospectionUnavailable), "{host:?}");
        node.refuse_dispatches(None);
        node.advance(1_000);
        assert!(ask(&mut node, "/user", "pat").is_forwarded(), "{host:?}");
    }
}

#[test]
fn no_opaque_token_is_logged_or_measured() {
    for host in Host::BOTH {
        let (issuer, exchange, mut node) = start(host, 1);
        exchange.know("SECRET-good", issuer.claims(node.now_s()));
        assert!(ask(&mut node, "/user", "SECRET-good").is_forwarded());
        assert_eq!(ask(&mut node, "/user", "SECRET-made-up").status(), 401);
        exchange.behave(Behaviour::Says(b"SECRET".to_vec()));
        assert_eq!(ask(&mut node, "/user", "SECRET-down").status(), 503);
        node.advance(1_000);
        let logs = node.take_logs();
        for code in ["token_inactive", "introspection_unavailable"] {
            assert!(logs.iter().any(|line| line.text.contains(code)), "{logs:?}");
        }
        assert!(logs.iter().all(|line| !line.text.contains("SECRET")), "{logs:?}");
        let metrics = node.metrics();
        assert!(metrics.iter().all(|(name, _)| !name.contains("SECRET")));
        for result in ["active", "inactive", "failed"] {
            let counted = metrics.iter().any(|(name, value)| {
                name.contains("introspections_total") && name.contains(result) && *value == 1
            });
            assert!(counted, "{host:?}: {result}: {metrics:?}");
        }
    }
}
