use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{
    exchange::asked,
    gate::Gate,
    request::{Fields, Head},
    worker::Worker,
};

const ISSUER: &str = "https://id.example";
const NOW_S: u64 = 1_000_000;

fn configuration(more: Value) -> Value {
    let mut configuration = json!({
        "issuers": [{"issuer": ISSUER, "audiences": ["p"], "algorithms": ["EdDSA"]}],
        "exchange": {
            "url": "http://exchange.internal:8080",
            "signing_key": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        },
        "opaque_tokens_from": ISSUER,
    });
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    configuration
}

fn claims(change: impl FnOnce(&mut Value)) -> Value {
    let mut claims = json!({
        "iss": ISSUER, "aud": ["p"], "sub": "ada", "exp": NOW_S + 3600, "iat": NOW_S,
        "nbf": NOW_S, "jti": "1", "scope": "openid", "token_type": "Bearer",
        "urn:zitadel:iam:org:project:roles": {"user": {"1": "example.com"}},
    });
    change(&mut claims);
    claims
}

fn active(claims: &Value) -> HttpOutcome {
    answer(200, &json!({"active": true, "claims": claims, "cache_for_s": 60}))
}

fn inactive() -> HttpOutcome {
    answer(200, &json!({"active": false, "cache_for_s": 10}))
}

fn answer(status: u16, body: &Value) -> HttpOutcome {
    HttpOutcome::Answer { status, cache_control: None, body: body.to_string().into_bytes() }
}

/// One worker and its route.
struct Node {
    worker: Worker,
    gate: Rc<Gate>,
    now: UnixTime,
}

impl Node {
    fn new(more: Value) -> Self {
        let gate = Rc::new(Gate::new(configuration(more).to_string().as_bytes()));
        assert!(gate.unusable().is_none(), "{:?}", gate.unusable());
        Self { worker: Worker::default(), gate, now: UnixTime::from_secs(NOW_S) }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Moment<'_>) -> T) -> T {
        f(&mut Moment { worker: &mut self.worker, zone: None, now: self.now })
    }

    fn begin(&mut self, token: &str) -> (Passage, Step) {
        let authorization = format!("Bearer {token}");
        let fields = Fields::new(&[(":method", "GET"), ("authorization", &*authorization)]);
        let head = Head::read(fields, Some("r".to_owned())).unwrap();
        let gate = Rc::clone(&self.gate);
        self.with(|moment| Passage::begin(gate, head, moment))
    }

    /// What becomes of a request whose question is answered with `said`.
    fn judged(&mut self, token: &str, said: HttpOutcome) -> Option<Code> {
        let (mut passage, step) = self.begin(token);
        assert!(matches!(step, Step::Call(_)), "{step:?}");
        code(&self.with(|moment| passage.resume(said, moment)))
    }
}

/// The code of a refusal; none if the request passes.
fn code(step: &Step) -> Option<Code> {
    match step {
        Step::Forward(forward) => {
            assert!(forward.would_refuse.is_none());
            None
        }
        Step::Reply(reply) => Some(reply.refusal.code),
        other => panic!("undecided: {other:?}"),
    }
}

#[test]
fn the_exchange_is_asked_once_and_the_answer_is_kept() {
    let mut node = Node::new(json!({}));
    let (mut passage, step) = node.begin("pat");
    let Step::Call(call) = step else { panic!("{step:?}") };
    assert_eq!(
        (call.address.as_str(), call.path.as_str()),
        ("exchange.internal:8080", "/gate/introspect")
    );
    let question: Value = asked(&call);
    assert_eq!(question, json!({"issuer": ISSUER, "token": "pat"}));
    assert!(call.headers.iter().all(|(_, value)| !value.contains("pat")));
    let step = node.with(|moment| passage.resume(active(&claims(|_| ())), moment));
    assert_eq!(code(&step), None);
    for (ms, known) in [(0, true), (59_999, true), (60_000, false)] {
        node.now = UnixTime::from_millis(NOW_S * 1000 + ms);
        let (_, step) = node.begin("pat");
        assert_eq!(matches!(step, Step::Forward(_)), known, "after {ms} ms");
    }
}

#[test]
fn claims_are_judged_by_the_rules_for_a_jwt() {
    type Change = fn(&mut Value);
    let cases: [(Change, Option<Code>); 23] = [
        (|_| (), None),
        // A Zitadel token without an end has this one.
        (|c| c["exp"] = json!(253_402_300_799_u64), None),
        (|c| c["exp"] = json!(NOW_S - 4), None),
        (|c| c["exp"] = json!(NOW_S - 5), Some(Code::TokenExpired)),
        (|c| c["exp"] = json!(null), Some(Code::TokenMalformed)),
        (|c| c["exp"] = json!("1000000"), Some(Code::TokenMalformed)),
        (|c| c["nbf"] = json!(NOW_S + 6), Some(Code::TokenNotYetValid)),
        (|c| c["iat"] = json!(NOW_S + 6), Some(Code::TokenNotYetValid)),
        (|c| c["aud"] = json!(["q"]), Some(Code::AudienceMismatch)),
        (|c| c["aud"] = json!(null), Some(Code::AudienceMismatch)),
        (|c| c["aud"] = json!("p"), None),
        (|c| c["iss"] = json!("https://evil.example"), Some(Code::IssuerUnknown)),
        (|c| c["iss"] = json!(null), Some(Code::TokenMalformed)),
        (|c| c["sub"] = json!(""), Some(Code::TokenMalformed)),
        (|c| c["act"] = json!({"sub": "eve"}), Some(Code::DelegationRefused)),
        (|c| c["act"] = json!(null), None),
        (|c| c["nonce"] = json!("n"), Some(Code::NotAnAccessToken)),
        (|c| c["events"] = json!({}), Some(Code::NotAnAccessToken)),
        (|c| c["token_type"] = json!("DPoP"), Some(Code::NotAnAccessToken)),
        (|c| c["token_type"] = json!(1), Some(Code::TokenMalformed)),
        (|c| c["token_type"] = json!("bearer"), None),
        (|c| c["token_type"] = json!(null), None),
        (|c| *c = json!({}), Some(Code::TokenMalformed)),
    ];
    for (change, expected) in cases {
        let claims = claims(change);
        let mut node = Node::new(json!({}));
        assert_eq!(node.judged("pat", active(&claims)), expected, "{claims}");
        // And as much when they are remembered.
        assert_eq!(code(&node.begin("pat").1), expected, "{claims}");
    }
}

#[test]
fn roles_and_age_are_demanded_of_opaque_tokens_too() {
    let mut node = Node::new(json!({"roles": {"any_of": ["admin"]}}));
    assert_eq!(node.judged("pat", active(&claims(|_| ()))), Some(Code::RoleMissing));
    let mut node = Node::new(json!({"roles": {"any_of": ["user@1"]}, "max_age_s": 60}));
    assert_eq!(node.judged("pat", active(&claims(|_| ()))), None);
    let old = claims(|c| c["iat"] = json!(NOW_S - 100));
    assert_eq!(node.judged("old", active(&old)), Some(Code::TokenTooOld));
}

#[test]
fn a_token_that_is_not_active_is_refused_and_that_is_kept_shortly() {
    let mut node = Node::new(json!({}));
    assert_eq!(node.judged("pat", inactive()), Some(Code::TokenInactive));
    for (s, known) in [(0, true), (9, true), (10, false)] {
        node.now = UnixTime::from_secs(NOW_S + s);
        let (_, step) = node.begin("pat");
        assert_eq!(matches!(step, Step::Reply(_)), known, "after {s} s");
    }
}

#[test]
fn a_failure_never_lets_in_and_is_a_503_that_says_when_to_try_again() {
    for said in [
        HttpOutcome::Failure("timeout".to_owned()),
        answer(503, &json!({})),
        answer(501, &json!({})),
        answer(401, &json!({})),
        answer(200, &json!({})),
        answer(200, &json!({"active": true, "cache_for_s": 60})),
        answer(204, &json!({"active": true, "claims": claims(|_| ()), "cache_for_s": 60})),
    ] {
        let mut node = Node::new(json!({}));
        let (mut passage, _) = node.begin("pat");
        let step = node.with(|moment| passage.resume(said.clone(), moment));
        let Step::Reply(reply) = &step else { panic!("{said:?}: {step:?}") };
        assert_eq!((reply.status, reply.refusal.code), (503, Code::IntrospectionUnavailable));
        assert!(reply.headers.iter().any(|(name, _)| *name == "retry-after"));
        assert!(reply.refusal.cause.is_some());
        // For a second nobody asks again, and then somebody does.
        assert_eq!(code(&node.begin("pat").1), Some(Code::IntrospectionUnavailable));
        node.now = UnixTime::from_secs(NOW_S + 1);
        assert!(matches!(node.begin("pat").1, Step::Call(_)));
    }
}

#[test]
fn requests_with_one_token_wait_for_one_answer() {
    let mut node = Node::new(json!({}));
    let (mut first, _) = node.begin("pat");
    let mut waiting: Vec<_> = (0..10).map(|_| node.begin("pat")).collect();
    assert!(waiting.iter().all(|(_, step)| matches!(step, Step::Wait)));
    for (passage, _) in &mut waiting {
        let step = node.with(|moment| passage.look_again(moment));
        assert!(matches!(step, Step::Wait), "{step:?}");
    }
    let step = node.with(|moment| first.resume(active(&claims(|_| ())), moment));
    assert_eq!(code(&step), None);
    for (passage, _) in &mut waiting {
        assert_eq!(code(&node.with(|moment| passage.look_again(moment))), None);
    }
}

#[test]
fn everybody_who_waits_goes_on_waiting() {
    let mut node = Node::new(json!({}));
    let (mut first, _) = node.begin("pat");
    let mut waiting: Vec<_> = (0..64).map(|_| node.begin("pat").0).collect();
    assert_eq!(code(&node.begin("pat").1), Some(Code::IntrospectionUnavailable));
    for passage in &mut waiting {
        assert!(matches!(node.with(|moment| passage.look_again(moment)), Step::Wait));
    }
    let step = node.with(|moment| first.resume(active(&claims(|_| ())), moment));
    assert_eq!(code(&step), None);
    for passage in &mut waiting {
        assert_eq!(code(&node.with(|moment| passage.look_again(moment))), None);
    }
}

#[test]
fn when_a_client_leaves_one_of_those_who_wait_asks() {
    let mut node = Node::new(json!({}));
    let (mut gone, _) = node.begin("pat");
    let (mut second, _) = node.begin("pat");
    let (mut third, _) = node.begin("pat");
    node.with(|moment| gone.end(moment));
    let step = node.with(|moment| second.look_again(moment));
    assert!(matches!(step, Step::Call(_)), "{step:?}");
    assert!(matches!(node.with(|moment| third.look_again(moment)), Step::Wait));
    let step = node.with(|moment| second.resume(active(&claims(|_| ())), moment));
    assert_eq!(code(&step), None);
    assert_eq!(code(&node.with(|moment| third.look_again(moment))), None);
}

#[test]
fn whoever_waits_too_long_or_cannot_wait_is_told_to_come_back() {
    let mut node = Node::new(json!({}));
    let _asks = node.begin("pat");
    let (mut waits, _) = node.begin("pat");
    let (mut cannot, _) = node.begin("pat");
    assert_eq!(code(&cannot.cannot_wait()), Some(Code::IntrospectionUnavailable));
    node.now = UnixTime::from_secs(NOW_S + 3);
    assert!(matches!(node.with(|moment| waits.look_again(moment)), Step::Wait));
    // The question has lapsed by then, and the one who waited asks itself.
    node.now = UnixTime::from_secs(NOW_S + 4);
    assert!(matches!(node.with(|moment| waits.look_again(moment)), Step::Call(_)));
}

#[test]
fn a_flood_of_made_up_tokens_asks_and_waits_within_bounds() {
    let mut node = Node::new(json!({}));
    assert_eq!(node.judged("good", active(&claims(|_| ()))), None);
    let mut steps = BTreeMap::<&str, usize>::new();
    let mut kept = Vec::new();
    for n in 0..1_000 {
        let (passage, step) = node.begin(&format!("made-up-{n}"));
        let word = match &step {
            Step::Call(_) => "asks",
            Step::Wait => "waits",
            step => {
                assert_eq!(code(step), Some(Code::IntrospectionUnavailable));
                "503"
            }
        };
        *steps.entry(word).or_default() += 1;
        kept.push(passage);
        assert_eq!(code(&node.begin("good").1), None, "who is known is not affected");
    }
    assert_eq!(steps, BTreeMap::from([("503", 872), ("asks", 64), ("waits", 64)]));
}

#[test]
fn without_permission_no_opaque_token_is_asked_about() {
    let mut configuration = configuration(json!({}));
    configuration.as_object_mut().unwrap().remove("opaque_tokens_from");
    let mut node = Node::new(json!({}));
    node.gate = Rc::new(Gate::new(configuration.to_string().as_bytes()));
    assert_eq!(code(&node.begin("pat").1), Some(Code::TokenMalformed));
}

#[test]
fn what_is_no_opaque_token_is_not_asked_about() {
    let mut node = Node::new(json!({}));
    let long = "a".repeat(8 * 1024 + 1);
    for token in ["a=b", "==", &long] {
        assert_eq!(code(&node.begin(token).1), Some(Code::TokenMalformed), "{}", token.len());
    }
}

#[test]
fn in_shadow_mode_what_would_be_refused_passes_without_an_identity() {
    let mut node = Node::new(json!({"shadow": true}));
    let (mut passage, _) = node.begin("pat");
    let step = node.with(|moment| passage.resume(inactive(), moment));
    let Step::Forward(forward) = step else { panic!("{step:?}") };
    assert_eq!(forward.would_refuse.map(|refusal| refusal.code), Some(Code::TokenInactive));
}
