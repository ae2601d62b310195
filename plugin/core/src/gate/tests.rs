use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::{request::Fields, time::UnixTime, worker::Worker, zone::tests::TestZone};

const ISSUER: &str = "http://id.example";

/// An issuer whose keys come and go.
struct TestIssuer {
    published: BTreeMap<String, Value>,
    signing: (String, EncodingKey),
}

impl TestIssuer {
    fn new() -> Self {
        let mut issuer = Self {
            published: BTreeMap::new(),
            signing: (String::new(), EncodingKey::from_ed_der(&[])),
        };
        issuer.rotate(0);
        issuer
    }

    /// Signs with another key from now on, and publishes only that.
    fn rotate(&mut self, n: u8) {
        const PKCS8: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
        let key = EncodingKey::from_ed_der(&[&PKCS8[..], &[n; 32]].concat());
        let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        let kid = format!("key-{n}");
        jwk["kid"] = kid.clone().into();
        self.published = BTreeMap::from([(kid.clone(), jwk)]);
        self.signing = (kid, key);
    }

    fn token(&self, subject: &str) -> String {
        self.token_with_key_id(subject, &self.signing.0)
    }

    fn token_with_key_id(&self, subject: &str, kid: &str) -> String {
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let header = encode(json!({"alg": "EdDSA", "kid": kid, "typ": "JWT"}));
        let claims = encode(
            json!({"iss": ISSUER, "aud": ["a"], "sub": subject, "exp": 2_000_000, "iat": 1}),
        );
        let message = format!("{header}.{claims}");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing.1, Algorithm::EdDSA);
        format!("{message}.{}", signature.unwrap())
    }

    fn answer(&self, call: &crate::step::HttpCall) -> HttpOutcome {
        let body = if call.path.contains("openid-configuration") {
            json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")})
        } else {
            json!({"keys": self.published.values().collect::<Vec<_>>()})
        };
        let body = body.to_string().into_bytes();
        HttpOutcome::Answer { status: 200, cache_control: None, body }
    }
}

fn gate(audience: &str) -> Rc<Gate> {
    let config = json!({"issuers": [
        {"issuer": ISSUER, "audiences": [audience], "algorithms": ["EdDSA"]}
    ]});
    Rc::new(Gate::new(config.to_string().as_bytes()))
}

/// The workers of one node, an issuer that takes its time, and requests that wait.
struct Node {
    workers: Vec<Worker>,
    zone: Option<TestZone>,
    issuer: TestIssuer,
    gate: Rc<Gate>,
    now_ms: u64,
    waiting: Vec<(u64, usize, Passage, Option<HttpOutcome>)>,
    key_sets_fetched: usize,
    codes: BTreeMap<&'static str, usize>,
}

/// How long the issuer takes to answer.
const ISSUER_MS: u64 = 40;

/// How long the host pauses a request that waits.
const PAUSE_MS: u64 = 25;

impl Node {
    fn new(workers: usize) -> Self {
        Self {
            workers: std::iter::repeat_with(Worker::default).take(workers).collect(),
            zone: Some(TestZone::default()),
            issuer: TestIssuer::new(),
            gate: gate("a"),
            now_ms: 1_000_000_000,
            waiting: Vec::new(),
            key_sets_fetched: 0,
            codes: BTreeMap::new(),
        }
    }

    fn with<T>(&mut self, worker: usize, f: impl FnOnce(&mut Moment<'_>) -> T) -> T {
        let zone = self.zone.as_ref().map(|zone| zone as &dyn crate::zone::Zone);
        let now = UnixTime::from_millis(self.now_ms);
        f(&mut Moment { worker: &mut self.workers[worker], zone, now })
    }

    fn arrive(&mut self, worker: usize, token: &str) {
        let bearer = format!("Bearer {token}");
        let fields = Fields::new(&[(":method", "GET"), ("authorization", &bearer)]);
        let head = Head::read(fields, Some("r".to_owned())).unwrap();
        let gate = Rc::clone(&self.gate);
        let (passage, step) = self.with(worker, |moment| Passage::begin(gate, head, moment));
        self.go_on(worker, passage, step);
    }

    fn go_on(&mut self, worker: usize, passage: Passage, step: Step) {
        match step {
            Step::Forward(_) => *self.codes.entry("ok").or_default() += 1,
            Step::Reply(reply) => *self.codes.entry(reply.refusal.code.as_str()).or_default() += 1,
            Step::Call(call) => {
                self.key_sets_fetched += usize::from(call.path == "/keys");
                let answer = self.issuer.answer(&call);
                self.waiting.push((self.now_ms + ISSUER_MS, worker, passage, Some(answer)));
            }
            Step::Wait => self.waiting.push((self.now_ms + PAUSE_MS, worker, passage, None)),
            Step::Answer(_) | Step::Body => panic!("no route here leads to models"),
        }
    }

    /// Lets time pass, and everything happen that is due by then.
    fn pass(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            let now = self.now_ms;
            let due: Vec<_> = self.waiting.extract_if(.., |(at, ..)| *at <= now).collect();
            for (_, worker, mut passage, answer) in due {
                let step = self.with(worker, |moment| match answer {
                    Some(answer) => passage.resume(answer, moment),
                    None => passage.look_again(moment),
                });
                self.go_on(worker, passage, step);
            }
        }
    }
}

#[test]
fn no_valid_request_is_refused_while_keys_rotate_under_load() {
    let mut node = Node::new(4);
    for rotation in 1..=10 {
        for request in 0..100_usize {
            let token = node.issuer.token(&format!("user-{}", request % 7));
            node.arrive(request % 4, &token);
            node.pass(3);
        }
        node.issuer.rotate(rotation);
    }
    node.pass(5_000);
    assert_eq!(node.codes, BTreeMap::from([("ok", 1_000)]));
    assert_eq!(node.key_sets_fetched, 10, "one for each key");
}

#[test]
fn a_storm_of_made_up_key_ids_costs_the_issuer_one_fetch_in_ten_seconds() {
    let mut node = Node::new(2);
    let good = node.issuer.token("ada");
    node.arrive(0, &good);
    node.pass(200);
    let before = node.key_sets_fetched;
    for n in 0..1_000 {
        let bad = node.issuer.token_with_key_id("eve", &format!("made-up-{n}"));
        node.arrive(n % 2, &bad);
        if n % 10 == 0 {
            node.arrive(n % 2, &good);
        }
        node.pass(9);
    }
    node.pass(5_000);
    assert_eq!(node.codes, BTreeMap::from([("key_unknown", 1_000), ("ok", 101)]));
    assert_eq!(node.key_sets_fetched - before, 1);
}

#[test]
fn a_token_is_no_longer_accepted_when_its_key_is_gone() {
    let mut node = Node::new(1);
    let (old, other) = (node.issuer.token("ada"), node.issuer.token("bob"));
    for token in [&old, &old, &other] {
        node.arrive(0, token);
        node.pass(200);
    }
    assert_eq!(node.workers[0].tokens.take_counts().hits, 1);
    node.issuer.rotate(1);
    let new = node.issuer.token("ada");
    node.arrive(0, &new);
    node.pass(200);
    node.arrive(0, &old);
    node.pass(200);
    assert_eq!(node.codes, BTreeMap::from([("ok", 4), ("key_unknown", 1)]));
}

#[test]
fn a_remembered_token_is_still_judged_by_every_route_and_at_every_time() {
    let mut node = Node::new(1);
    let token = node.issuer.token("ada");
    node.arrive(0, &token);
    node.pass(200);
    node.gate = gate("b");
    node.arrive(0, &token);
    node.gate = gate("a");
    node.now_ms = 2_000_005_000;
    node.arrive(0, &token);
    let expected = [("ok", 1), ("audience_mismatch", 1), ("token_expired", 1)];
    assert_eq!(node.codes, BTreeMap::from(expected));
}

#[test]
fn a_changed_signature_is_not_what_was_remembered() {
    let mut node = Node::new(1);
    let token = node.issuer.token("ada");
    node.arrive(0, &token);
    node.pass(200);
    let (message, signature) = token.rsplit_once('.').unwrap();
    let reversed: String = signature.chars().rev().collect();
    // The last character of 64 bytes in base64url carries two bits only; it is kept.
    let changed: String = reversed.chars().skip(1).chain(signature.chars().last()).collect();
    node.arrive(0, &format!("{message}.{changed}"));
    assert_eq!(node.codes, BTreeMap::from([("ok", 1), ("signature_invalid", 1)]));
}

#[test]
fn a_worker_does_not_fill_up_with_requests_that_wait() {
    let mut node = Node::new(1);
    for n in 0..1_000 {
        let token = node.issuer.token(&format!("user-{n}"));
        node.arrive(0, &token);
    }
    assert_eq!(node.codes.get("keys_unavailable"), Some(&(1_000 - 1 - 512)));
    assert_eq!(node.workers[0].waiting(), 512);
    node.pass(5_000);
    assert_eq!(node.codes.get("ok"), Some(&513));
    assert_eq!(node.workers[0].waiting(), 0);
}

#[test]
fn a_request_that_leaves_does_not_take_the_keys_from_those_who_wait() {
    let mut node = Node::new(2);
    let token = node.issuer.token("ada");
    node.arrive(0, &token);
    node.arrive(1, &token);
    let (_, worker, mut gone, _) = node.waiting.remove(0);
    node.with(worker, |moment| gone.end(moment));
    node.pass(200);
    assert_eq!(node.codes, BTreeMap::new(), "the other one waits");
    let claim = node.with(0, |moment| moment.worker.keys.tend(ISSUER, moment.zone, moment.now));
    assert!(claim.is_some(), "the tick takes the fetch over");
}
