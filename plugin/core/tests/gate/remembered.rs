//! A worker that remembers decides as one that has never seen a token: any tokens, at any times, on
//! any routes, in any order.

use std::{rc::Rc, time::Duration};

use kombi_gate_core::{
    config::KeyTerms,
    fetch::Fetched,
    gate::{Gate, Passage},
    jwks::KeySet,
    step::Step,
    time::UnixTime,
    worker::{Moment, Worker},
};
use kombi_spec::code::Code;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    issuer::{self, Key, NOW_S, ORGANISATION, PROJECT, claims, key, with, with_roles},
    route::{code, request, would_refuse},
};

/// Routes of every kind, two of them alike.
fn gates() -> Vec<Rc<Gate>> {
    [
        json!({}),
        json!({}),
        json!({"roles": {"any_of": ["user"]}}),
        json!({"roles": {"any_of": ["admin"], "by_method": {"GET": {"any_of": ["user"]}}}}),
        json!({"roles": {"by_method": {"POST": {"all_of": ["user", "admin"]}}}}),
        json!({"organisations": [ORGANISATION]}),
        json!({"clock_skew_s": 0, "max_age_s": 90}),
        json!({"clock_skew_s": 300, "max_token_bytes": 1024}),
        json!({"shadow": true, "roles": {"any_of": ["admin"]}}),
        json!({"allow_act": true}),
        json!({"access": "public"}),
        json!({"issuers": [{"issuer": issuer::URL, "audiences": ["b"], "algorithms": ["EdDSA"]}]}),
        json!({"issuers": [{
            "issuer": issuer::URL, "audiences": [PROJECT], "algorithms": ["EdDSA"],
            "roles_claim": "groups", "plan": {"claim": "plan"},
        }]}),
    ]
    .map(|more| {
        let mut configuration = json!({});
        if more.get("access").is_none() {
            configuration["issuers"] = json!([{
                "issuer": issuer::URL, "audiences": [PROJECT], "algorithms": ["EdDSA"],
                "project": PROJECT,
            }]);
        }
        for (name, value) in more.as_object().unwrap() {
            configuration[name] = value.clone();
        }
        Rc::new(Gate::new(configuration.to_string().as_bytes()))
    })
    .to_vec()
}

/// Tokens of every kind, good and bad.
fn tokens() -> Vec<String> {
    let mut tokens: Vec<_> = [
        claims(),
        with_roles(&["user"]),
        with_roles(&["admin"]),
        with_roles(&["user", "admin"]),
        with("exp", json!(NOW_S + 20)),
        with("nbf", json!(NOW_S + 20)),
        with("iat", json!(NOW_S - 80)),
        with("aud", json!(["b"])),
        with("act", json!({"sub": "x"})),
        with("groups", json!(["user"])),
        with("urn:zitadel:iam:user:resourceowner:id", json!(ORGANISATION)),
        with("plan", json!("x".repeat(800))),
        with("nonce", json!("an ID token's")),
    ]
    .iter()
    .map(|claims| key().token(claims))
    .collect();
    let good = tokens[0].clone();
    tokens.push(Key::ed25519("main", 8).token(&claims()));
    tokens.push(Key::ed25519("next", 9).token(&with_roles(&["user"])));
    tokens.push(format!("{good}A"));
    tokens.push("opaque".to_owned());
    tokens
}

/// Gives `worker` the issuer's keys, fetched `now`, after so many rotations.
fn publish(worker: &mut Worker, rotations: u8, now: UnixTime) {
    let keys: Vec<Value> = match rotations % 3 {
        0 => vec![key().public()],
        1 => vec![key().public(), Key::ed25519("next", 9).public()],
        _ => vec![Key::ed25519("next", 9).public()],
    };
    let document = json!({ "keys": keys }).to_string().into_bytes();
    let keys = KeySet::parse(&document).unwrap();
    let claim = Worker::default().keys.tend(issuer::URL, None, now).unwrap();
    let fetched = Fetched { keys, document, fresh_for: None };
    worker.keys.settle(&claim, Ok(fetched), &KeyTerms::default(), None, now);
}

/// What becomes of a request: the code of its refusal, that of one in shadow mode, and the headers
/// that are set.
fn decision(
    worker: &mut Worker,
    gate: &Rc<Gate>,
    method: &str,
    authorization: &str,
    now: UnixTime,
) -> (Option<Code>, Option<Code>, Vec<(String, String)>) {
    let head = request(method, &[("authorization", authorization)]);
    let mut moment = Moment { worker, zone: None, now };
    let (passage, step) = Passage::begin(Rc::clone(gate), head, &mut moment);
    match &step {
        Step::Forward(forward) => {
            let headers = passage.headers(forward);
            let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
            match would_refuse(forward) {
                // As where the issuer would be asked, because it was not asked lately.
                Some(Code::KeyUnknown) => (Some(Code::KeyUnknown), None, Vec::new()),
                shadow => (None, shadow, headers.collect()),
            }
        }
        step => (code(step), None, Vec::new()),
    }
}

#[derive(Debug, Clone)]
struct Event {
    gate: prop::sample::Index,
    token: prop::sample::Index,
    method: &'static str,
    scheme: &'static str,
    after_s: u64,
    rotates: bool,
}

fn event() -> impl Strategy<Value = Event> {
    let method =
        prop_oneof![4 => Just("GET"), 2 => Just("POST"), 1 => Just("HEAD"), 1 => Just("get")];
    let scheme = prop_oneof![8 => Just("Bearer "), 1 => Just("bearer   "), 1 => Just("Basic ")];
    let after = prop_oneof![8 => Just(0), 2 => 0..30_u64, 1 => 0..4_000_u64];
    let rotates = prop::bool::weighted(0.05);
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), method, scheme, after, rotates)
        .prop_map(|(gate, token, method, scheme, after_s, rotates)| Event {
            gate,
            token,
            method,
            scheme,
            after_s,
            rotates,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_worker_that_remembers_decides_as_one_that_does_not(
        events in prop::collection::vec(event(), 1..150),
    ) {
        let (gates, tokens) = (gates(), tokens());
        let mut remembers = Worker::default();
        let (mut now_s, mut rotations, mut fetched) = (NOW_S - 10, 0, UnixTime::from_secs(NOW_S - 10));
        publish(&mut remembers, rotations, fetched);
        for event in events {
            now_s += event.after_s;
            let now = UnixTime::from_secs(now_s);
            // Keys are good for a day.
            if event.rotates || now.since(fetched) > Duration::from_hours(6) {
                rotations += u8::from(event.rotates);
                fetched = now;
                publish(&mut remembers, rotations, fetched);
            }
            let mut knows_nothing = Worker::default();
            publish(&mut knows_nothing, rotations, fetched);
            let gate = event.gate.get(&gates);
            let authorization = format!("{}{}", event.scheme, event.token.get(&tokens));
            let decide =
                |worker: &mut Worker| decision(worker, gate, event.method, &authorization, now);
            prop_assert_eq!(decide(&mut remembers), decide(&mut knows_nothing), "{:?}", event);
        }
    }
}
