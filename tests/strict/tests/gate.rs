//! The gate on a strict Kong and a strict Envoy: what passes, what does not, what the upstream
//! sees, and that no rule of the host is broken on the way.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use jsonwebtoken::Algorithm;
use kombi_spec::{code::Code, header};
use kombi_strict_host::{
    filter::Filter,
    host::Host,
    issuer::{Issuer, PROJECT, ROLES_CLAIM},
    node::{Builder, Node},
    outcome::Outcome,
    peers::Failure,
    request::Request,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";

/// The key of RFC 8037 appendix A.
const SIGNING_KEY: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

fn routes(builder: Builder, issuer: &Issuer) -> Builder {
    builder
        .route("/public", json!({"access": "public"}))
        .route("/user", issuer.route(json!({})))
        .route("/admin", issuer.route(json!({"roles": {"any_of": ["admin:tools", "admin:super"]}})))
        .route(
            "/sso",
            issuer.route(json!({
                "assertion": {"audience": "kombi-exchange", "signing_key": SIGNING_KEY},
            })),
        )
        .peers(issuer.clone())
}

fn start(host: Host) -> (Issuer, Node) {
    let issuer = Issuer::new(ISSUER);
    let node = routes(Node::of(&Filter::gate(), host), &issuer).start();
    (issuer, node)
}

fn ask(node: &mut Node, path: &str, token: &str) -> Outcome {
    node.send(Request::get(path).bearer(token))
}

/// With an ordinary token that was issued this second.
fn enter(node: &mut Node, issuer: &Issuer, path: &str) -> Outcome {
    let token = issuer.token(node.now_s());
    ask(node, path, &token)
}

#[test]
fn a_public_route_asks_for_nothing_and_adds_the_request_id() {
    for host in Host::BOTH {
        let (_, mut node) = start(host);
        let outcome = node.send(Request::get("/public").header("x-request-id", "mine"));
        assert_eq!(outcome.status(), 200);
        let id = outcome.upstream_header(header::REQUEST_ID).unwrap();
        assert!(id.len() >= 32 && id != "mine", "{host:?}: {id}");
        assert_eq!(outcome.upstream_header(header::SUBJECT), None);
    }
}

#[test]
fn without_a_token_a_protected_route_refuses_with_a_challenge() {
    for host in Host::BOTH {
        let (_, mut node) = start(host);
        let outcome = node.send(Request::get("/user"));
        assert_eq!(outcome.code(), Some(Code::TokenMissing));
        let response = outcome.response().unwrap();
        assert_eq!(response.status, 401);
        assert_eq!(response.headers.text("content-type"), Some("application/problem+json"));
        assert!(response.headers.text("www-authenticate").unwrap().starts_with("Bearer "));
        assert!(outcome.problem().unwrap().request_id.len() >= 32);
    }
}

#[test]
fn a_valid_token_passes_and_the_upstream_is_told_who_calls() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let outcome = enter(&mut node, &issuer, "/user");
        assert_eq!(outcome.status(), 200, "{host:?}: {:?}", outcome.problem());
        for (name, expected) in [
            (header::SUBJECT, "275000000000000001"),
            (header::ORGANISATION, "271000000000000001"),
            (header::ROLES, "user"),
            (header::ISSUER, ISSUER),
        ] {
            assert_eq!(outcome.upstream_header(name), Some(expected), "{host:?}: {name}");
        }
    }
}

#[test]
fn keys_are_fetched_once_and_the_next_request_waits_for_nobody() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        issuer.delay(200);
        let request = || Request::get("/user").bearer(&issuer.token(1_750_000_000));
        let first = node.begin(0, request());
        assert!(node.outcome(first).is_none(), "it waits for the keys");
        node.advance(1000);
        assert!(node.outcome(first).unwrap().is_forwarded());
        let second = node.begin(0, request());
        assert!(node.outcome(second).unwrap().is_forwarded(), "the keys are known");
        assert_eq!(issuer.key_set_requests(), 1);
    }
}

#[test]
fn each_kind_of_bad_token_has_a_code_of_its_own() {
    type Change = fn(&mut Value, u64);
    let cases: [(Change, Option<Code>); 9] = [
        (|_, _| {}, None),
        (|c, now| c["exp"] = json!(now - 10), Some(Code::TokenExpired)),
        (|c, now| c["exp"] = json!(now - 1), None),
        (|c, now| c["nbf"] = json!(now + 60), Some(Code::TokenNotYetValid)),
        (|c, _| c["aud"] = json!(["another"]), Some(Code::AudienceMismatch)),
        (|c, _| c["aud"] = json!(PROJECT), None),
        (|c, _| c["iss"] = json!("https://evil.example"), Some(Code::IssuerUnknown)),
        (|c, _| c["exp"] = Value::Null, Some(Code::TokenMalformed)),
        (|c, _| c["sub"] = json!(7), Some(Code::TokenMalformed)),
    ];
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        for (change, expected) in cases {
            let mut claims = issuer.claims(node.now_s());
            change(&mut claims, node.now_s());
            let outcome = ask(&mut node, "/user", &issuer.sign(&claims));
            assert_eq!(outcome.code(), expected, "{host:?}: {claims}");
            assert_eq!(outcome.is_forwarded(), expected.is_none());
        }
    }
}

#[test]
fn a_token_that_was_changed_or_that_nobody_signed_is_refused() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let now = node.now_s();
        let token = issuer.token(now);
        let (message, signature) = token.rsplit_once('.').unwrap();
        let mut claims = issuer.claims(now);
        claims["sub"] = json!("somebody-else");
        let other = issuer.sign(&claims);
        let (other_message, _) = other.rsplit_once('.').unwrap();
        let header = |alg: &str, kid: &str| json!({"alg": alg, "typ": "JWT", "kid": kid});
        let mallory = Issuer::new(ISSUER);
        mallory.rotate(Algorithm::EdDSA, true);
        for (token, expected) in [
            (format!("{other_message}.{signature}"), Code::SignatureInvalid),
            (format!("{message}."), Code::SignatureInvalid),
            (message.to_owned(), Code::TokenMalformed),
            (issuer.sign_as(&header("none", "key-1"), &claims), Code::AlgorithmRefused),
            (issuer.sign_as(&header("HS256", "key-1"), &claims), Code::AlgorithmRefused),
            (issuer.sign_as(&header("RS256", "key-1"), &claims), Code::AlgorithmRefused),
            (mallory.sign_as(&header("EdDSA", "key-1"), &claims), Code::SignatureInvalid),
            (mallory.sign(&claims), Code::KeyUnknown),
        ] {
            let outcome = ask(&mut node, "/user", &token);
            assert_eq!(outcome.status(), 401, "{host:?}: {:?}", outcome.problem());
            // Which of two checks speaks first is the gate's choice.
            if expected != Code::AlgorithmRefused && expected != Code::SignatureInvalid {
                assert_eq!(outcome.code(), Some(expected), "{host:?}");
            }
        }
        assert!(ask(&mut node, "/user", &token).is_forwarded());
    }
}

#[test]
fn every_algorithm_of_the_issuer_is_verified() {
    let (issuer, mut node) = start(Host::Kong);
    for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA] {
        issuer.rotate(algorithm, false);
        node.advance(20_000);
        let outcome = enter(&mut node, &issuer, "/user");
        assert_eq!(outcome.status(), 200, "{algorithm:?}: {:?}", outcome.problem());
    }
}

#[test]
fn roles_open_a_route_and_their_absence_closes_it() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let mut claims = issuer.claims(node.now_s());
        assert_eq!(ask(&mut node, "/admin", &issuer.sign(&claims)).code(), Some(Code::RoleMissing));
        claims[ROLES_CLAIM] = json!({"admin:tools": {"1": "a.example"}});
        let outcome = ask(&mut node, "/admin", &issuer.sign(&claims));
        assert_eq!(outcome.upstream_header(header::ROLES), Some("admin:tools"));
        claims[ROLES_CLAIM] = json!({"admin:tools": {}});
        assert_eq!(ask(&mut node, "/admin", &issuer.sign(&claims)).status(), 403);
    }
}

#[test]
fn an_assertion_is_added_where_the_route_asks_for_one() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let token = issuer.token(node.now_s());
        let assertion = ask(&mut node, "/sso/instances/a/session", &token);
        let assertion = assertion.upstream_header(header::ASSERTION).unwrap();
        assert_eq!(jsonwebtoken::decode_header(assertion).unwrap().alg, Algorithm::EdDSA);
        assert_eq!(ask(&mut node, "/user", &token).upstream_header(header::ASSERTION), None);
    }
}

#[test]
fn a_reserved_header_in_any_spelling_is_refused_on_every_route() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let token = issuer.token(node.now_s());
        for name in [
            "x-kombi-sub",
            "X-Kombi-Sub",
            "X_KOMBI_SUB",
            "x-kombi_roles",
            "x.kombi.sub",
            "X-KOMBI-anything",
        ] {
            for path in ["/public", "/user"] {
                let request = Request::get(path).bearer(&token).header(name, "forged");
                assert_eq!(node.send(request).code(), Some(Code::HeaderReserved), "{name} {path}");
            }
        }
    }
}

/// Kong tells its filters of no trailers, and passes none on.
#[test]
fn a_reserved_name_among_the_trailers_does_not_reach_the_upstream() {
    let (issuer, mut node) = start(Host::Envoy);
    let token = issuer.token(node.now_s());
    for (path, body) in [("/public", ""), ("/user", ""), ("/user", "a body")] {
        let request = Request::new("POST", path).bearer(&token).body(body);
        let request = request
            .trailer("x-kombi-sub", "forged")
            .trailer("x-checksum", "1")
            .trailer("X_Kombi_Roles", "forged");
        let Outcome::Forwarded { upstream, .. } = node.send(request) else {
            panic!("{path} {body:?}: not forwarded");
        };
        let left: Vec<_> = upstream.trailers.iter().map(|(name, _)| name).collect();
        assert_eq!(left, [b"x-checksum"], "{path} {body:?}");
    }
}

#[test]
fn bytes_that_are_not_text_harm_nobody() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let token = issuer.token(node.now_s());
        for bytes in [&b"\xff"[..], b"\xc3\x28", b"\x80abc", b"", b"a\xf0\x28\x8c\x28b"] {
            let good = Request::get("/user").bearer(&token);
            assert!(node.send(good.clone().header("x-any", bytes)).is_forwarded(), "{host:?}");
            assert!(node.send(good.header(bytes, "value")).is_forwarded(), "{host:?}");
            let bad = Request::get("/user").header("authorization", bytes);
            assert!((400..500).contains(&node.send(bad).status()), "{host:?}");
            let bearer = [b"Bearer ", bytes].concat();
            let bad = Request::get("/user").header("authorization", bearer);
            assert!((400..500).contains(&node.send(bad).status()), "{host:?}");
            let odd_path = Request::get([b"/user/", bytes].concat()).bearer(&token);
            assert!(node.send(odd_path).is_forwarded(), "{host:?}");
        }
    }
}

#[test]
fn two_credentials_are_refused() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let token = issuer.token(node.now_s());
        let request = Request::get("/user").bearer(&token).bearer(&token);
        let outcome = node.send(request);
        assert_eq!(outcome.code(), Some(Code::CredentialsMalformed), "{host:?}");
    }
}

#[test]
fn a_body_passes_as_it_is() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let token = issuer.token(node.now_s());
        for size in [1, 100_000, 11 << 20] {
            let body = vec![7; size];
            let request = Request::new("POST", "/user").bearer(&token).body(body.clone());
            let Outcome::Forwarded { upstream, .. } = node.send(request) else { panic!("{size}") };
            assert!(upstream.body == body, "{host:?}: {size}");
        }
    }
}

#[test]
fn a_rotation_refuses_nobody() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let mut older = issuer.token(node.now_s());
        for round in 0..10 {
            assert!(ask(&mut node, "/user", &older).is_forwarded(), "{host:?}: round {round}");
            issuer.rotate(Algorithm::EdDSA, false);
            let newer = issuer.token(node.now_s());
            assert!(ask(&mut node, "/user", &newer).is_forwarded(), "{host:?}: round {round}");
            assert!(ask(&mut node, "/user", &older).is_forwarded(), "{host:?}: round {round}");
            older = newer;
            node.advance(30_000);
        }
    }
}

#[test]
fn made_up_key_ids_do_not_become_requests_to_the_issuer() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let claims = issuer.claims(node.now_s());
        assert!(ask(&mut node, "/user", &issuer.sign(&claims)).is_forwarded());
        let before = issuer.key_set_requests();
        for n in 0..200 {
            let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": format!("made-up-{n}")});
            let outcome = ask(&mut node, "/user", &issuer.sign_as(&header, &claims));
            assert_eq!(outcome.code(), Some(Code::KeyUnknown), "{host:?}");
        }
        let asked = issuer.key_set_requests() - before;
        assert!(asked <= 1, "{host:?}: {asked} requests within a moment");
    }
}

#[test]
fn without_keys_every_token_waits_in_vain_and_gets_503() {
    for host in Host::BOTH {
        use kombi_strict_host::issuer::Behaviour::{Fails, Honest, Says, Stalls, Status};
        for (discovery, keys) in [
            (Fails(Failure::Connection), Honest),
            (Fails(Failure::Tls), Honest),
            (Fails(Failure::Resolver), Honest),
            (Fails(Failure::Timeout), Honest),
            (Status(500), Honest),
            (Stalls, Honest),
            (Says(b"{}".to_vec()), Honest),
            (Says(b"\xff\xfe".to_vec()), Honest),
            (Honest, Fails(Failure::Connection)),
            (Honest, Status(404)),
            (Honest, Stalls),
            (Honest, Says(b"{\"keys\":[]}".to_vec())),
            (Honest, Says(vec![b'['; 300_000])),
        ] {
            let what =
                format!("{host:?}: {discovery:?}, {keys:?}").chars().take(80).collect::<String>();
            let (issuer, mut node) = start(host);
            issuer.behave(discovery, keys);
            let token = issuer.token(node.now_s());
            let outcome = ask(&mut node, "/user", &token);
            assert_eq!(outcome.code(), Some(Code::KeysUnavailable), "{what}");
            assert_eq!(outcome.status(), 503);
            assert!(outcome.response().unwrap().headers.text("retry-after").is_some(), "{what}");
            issuer.behave(Honest, Honest);
            node.advance(15_000);
            assert!(ask(&mut node, "/user", &token).is_forwarded(), "{what}: it recovers");
        }
    }
}

#[test]
fn a_dispatch_that_the_host_refuses_is_a_failed_fetch() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        const INTERNAL_FAILURE: u32 = 10;
        node.refuse_dispatches(Some(INTERNAL_FAILURE));
        let token = issuer.token(node.now_s());
        assert_eq!(ask(&mut node, "/user", &token).code(), Some(Code::KeysUnavailable));
        node.refuse_dispatches(None);
        node.advance(15_000);
        assert!(ask(&mut node, "/user", &token).is_forwarded(), "{host:?}");
    }
}

#[test]
fn known_keys_serve_while_the_issuer_is_down() {
    for host in Host::BOTH {
        use kombi_strict_host::issuer::Behaviour::Fails;
        let (issuer, mut node) = start(host);
        assert!(enter(&mut node, &issuer, "/user").is_forwarded());
        issuer.behave(Fails(Failure::Connection), Fails(Failure::Connection));
        for _ in 0..6 {
            node.advance(600_000);
            assert!(enter(&mut node, &issuer, "/user").is_forwarded(), "{host:?}");
        }
    }
}

#[test]
fn a_token_that_expires_while_it_waits_is_refused() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        issuer.delay(1500);
        let mut claims = issuer.claims(node.now_s());
        claims["exp"] = json!(node.now_s() - 3);
        let outcome = ask(&mut node, "/user", &issuer.sign(&claims));
        assert_eq!(outcome.code(), Some(Code::TokenExpired), "{host:?}");
    }
}

#[test]
fn an_unusable_configuration_denies_every_request() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let mut node = Node::of(&Filter::gate(), host)
            .route_with_bytes("/empty", "")
            .route_with_bytes("/garbage", b"\xff{".to_vec())
            .route("/no-issuers", json!({"access": "authenticated", "issuers": []}))
            .route("/unknown-field", issuer.route(json!({"acess": "public"})))
            .route("/no-roles", issuer.route(json!({"roles": {"any_of": []}})))
            .route("/number", json!(7))
            .peers(issuer.clone())
            .start();
        let token = issuer.token(node.now_s());
        for path in ["/empty", "/garbage", "/no-issuers", "/unknown-field", "/no-roles", "/number"]
        {
            for request in [Request::get(path), Request::get(path).bearer(&token)] {
                let outcome = node.send(request);
                assert_eq!(outcome.status(), 503, "{host:?}: {path}");
                assert_eq!(outcome.code(), Some(Code::ConfigurationInvalid), "{host:?}: {path}");
            }
        }
        let logs = node.take_logs();
        assert!(logs.iter().any(|line| line.level >= 4), "the operator is told why");
    }
}

#[test]
fn a_changed_configuration_holds_from_the_next_request_on() {
    let (issuer, mut node) = start(Host::Kong);
    let token = issuer.token(node.now_s());
    assert!(ask(&mut node, "/user", &token).is_forwarded());
    node.reconfigure("/user", issuer.route(json!({"roles": {"any_of": ["nobody"]}})));
    assert_eq!(ask(&mut node, "/user", &token).code(), Some(Code::RoleMissing));
    // The old root context ticks on; that must do no harm.
    node.advance(400_000);
    node.reload();
    let token = issuer.token(node.now_s());
    assert_eq!(ask(&mut node, "/user", &token).code(), Some(Code::RoleMissing));
}

#[test]
fn two_workers_serve_alike() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let mut node = routes(Node::of(&Filter::gate(), host).workers(2), &issuer).start();
        let token = issuer.token(node.now_s());
        for worker in [0, 1, 0, 1] {
            let request = Request::get("/user").bearer(&token);
            assert!(node.send_to(worker, request).is_forwarded(), "{host:?}: {worker}");
            let request = Request::get("/admin").bearer(&token);
            assert_eq!(node.send_to(worker, request).code(), Some(Code::RoleMissing));
        }
    }
}

#[test]
fn requests_that_wait_together_are_all_served() {
    for host in Host::BOTH {
        let issuer = Issuer::new(ISSUER);
        let mut node = routes(Node::of(&Filter::gate(), host).workers(2), &issuer).start();
        issuer.delay(300);
        let token = issuer.token(node.now_s());
        let waiting: Vec<_> =
            (0..40).map(|n| node.begin(n % 2, Request::get("/user").bearer(&token))).collect();
        node.advance(5_000);
        for id in waiting {
            assert!(node.outcome(id).unwrap().is_forwarded(), "{host:?}");
        }
    }
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_nobody_along() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        issuer.delay(300);
        let token = issuer.token(node.now_s());
        let gone = node.begin(0, Request::get("/user").bearer(&token));
        let stays = node.begin(0, Request::get("/user").bearer(&token));
        node.advance(100);
        node.leave(gone);
        node.advance(30_000);
        assert!(matches!(node.outcome(gone), Some(Outcome::CutOff)));
        assert!(node.outcome(stays).unwrap().is_forwarded(), "{host:?}");
        let later = enter(&mut node, &issuer, "/user");
        assert!(later.is_forwarded(), "{host:?}");
    }
}

#[test]
fn without_a_zone_the_gate_still_works() {
    let issuer = Issuer::new(ISSUER);
    let kong = Node::kong().settings(|settings| settings.zone_bytes = None);
    let mut node = routes(kong, &issuer).start();
    node.advance(10_000);
    assert!(enter(&mut node, &issuer, "/user").is_forwarded());
}

#[test]
fn a_tiny_zone_breaks_nothing() {
    let issuer = Issuer::new(ISSUER);
    let kong = Node::kong().settings(|settings| settings.zone_bytes = Some(32 << 10)).workers(2);
    let mut node = routes(kong, &issuer).start();
    for _ in 0..5 {
        node.advance(10_000);
        assert!(enter(&mut node, &issuer, "/user").is_forwarded());
    }
}

#[test]
fn no_part_of_a_token_is_logged() {
    let (issuer, mut node) = start(Host::Kong);
    let mut claims = issuer.claims(node.now_s());
    claims["exp"] = json!(1);
    let token = issuer.sign(&claims);
    assert_eq!(ask(&mut node, "/user", &token).status(), 401);
    let logs = node.take_logs();
    assert!(logs.iter().any(|line| line.text.contains("token_expired")), "{logs:?}");
    for part in token.split('.') {
        assert!(logs.iter().all(|line| !line.text.contains(part)));
    }
}

#[test]
fn a_clock_that_jumps_does_not_let_an_expired_token_in() {
    for host in Host::BOTH {
        let (issuer, mut node) = start(host);
        let token = issuer.token(node.now_s());
        assert!(ask(&mut node, "/user", &token).is_forwarded());
        let now = node.now_ms();
        node.jump_to(now + 7_200_000);
        assert_eq!(ask(&mut node, "/user", &token).code(), Some(Code::TokenExpired));
        node.jump_to(now - 7_200_000);
        assert_eq!(ask(&mut node, "/user", &token).code(), Some(Code::TokenNotYetValid));
        node.jump_to(now);
        assert!(ask(&mut node, "/user", &token).is_forwarded(), "{host:?}");
    }
}
