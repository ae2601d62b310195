use std::rc::Rc;

use kombi_spec::problem::{Problem, QUOTA_EXCEEDED};
use serde_json::{Value, json};

use super::*;
use crate::{
    gate::Gate,
    limit::{address::Source, headers::Header},
    refusal::Reply,
    request::{Fields, Head},
    time::UnixTime,
    worker::Worker,
    zone::tests::TestZone,
};

/// A worker with one route.
struct Node {
    gate: Rc<Gate>,
    worker: Worker,
    zone: TestZone,
}

impl Node {
    fn new(configuration: &Value) -> Self {
        let gate = Gate::new(configuration.to_string().as_bytes());
        assert!(gate.unusable().is_none(), "{:?}", gate.unusable());
        Self { gate: Rc::new(gate), worker: Worker::default(), zone: TestZone::default() }
    }

    fn ask(&mut self, source: &str, headers: &[(&str, &str)]) -> (Passage, Step) {
        let mut fields = vec![(":method", "GET")];
        fields.extend(headers);
        let mut head = Head::read(Fields::new(&fields), Some("r1".to_owned())).unwrap();
        head.source = Source::read(source.as_bytes());
        let now = UnixTime::from_secs(1_750_000_000);
        let mut moment = Moment { worker: &mut self.worker, zone: Some(&self.zone), now };
        Passage::begin(Rc::clone(&self.gate), head, &mut moment)
    }
}

fn reply(step: Step) -> Reply {
    match step {
        Step::Reply(reply) => reply,
        other => panic!("not refused: {other:?}"),
    }
}

fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
}

fn limited(limit: &Value) -> Value {
    let mut rule = json!({"name": "r", "key": "ip", "amount": 2, "per": "minute"});
    rule.as_object_mut().unwrap().extend(limit.as_object().unwrap().clone());
    json!([rule])
}

fn authenticated(limit: &Value) -> Value {
    let issuer =
        json!({"issuer": "https://id.example", "audiences": ["a"], "algorithms": ["RS256"]});
    json!({"issuers": [issuer], "limits": limited(limit)})
}

#[test]
fn what_is_allowed_passes_and_what_is_not_is_told_when_to_come_back() {
    let mut node = Node::new(&json!({"access": "public", "limits": limited(&json!({}))}));
    let (passage, step) = node.ask("192.0.2.7", &[]);
    assert!(matches!(step, Step::Forward(_)), "{step:?}");
    let mut told = Vec::new();
    passage.each_limit_header(|name, value| told.push((name, value.to_owned())));
    assert_eq!(value(&told, "ratelimit"), Some("\"r\";r=1;t=30"));
    assert_eq!(value(&told, "x-ratelimit-remaining-minute"), Some("1"));
    assert!(matches!(node.ask("192.0.2.7", &[]).1, Step::Forward(_)));
    let refused = reply(node.ask("192.0.2.7", &[]).1);
    assert_eq!(refused.status, 429);
    assert_eq!(value(&refused.headers, "retry-after"), Some("30"));
    assert_eq!(value(&refused.headers, "ratelimit"), Some("\"r\";r=0;t=30"));
    let problem: Problem = serde_json::from_slice(&refused.body).unwrap();
    assert_eq!((problem.code, problem.kind.as_str()), (Code::LimitExceeded, QUOTA_EXCEEDED));
    assert_eq!(problem.violated_policies, ["r"]);
    assert!(matches!(node.ask("192.0.2.8", &[]).1, Step::Forward(_)), "somebody else");
}

#[test]
fn a_grpc_client_is_told_that_its_resources_are_exhausted() {
    let mut node = Node::new(&json!({"access": "public", "limits": limited(&json!({}))}));
    let spoken = [("content-type", "application/grpc")];
    for _ in 0..2 {
        assert!(matches!(node.ask("192.0.2.7", &spoken).1, Step::Forward(_)));
    }
    let refused = reply(node.ask("192.0.2.7", &spoken).1);
    assert_eq!(value(&refused.headers, "grpc-status"), Some("8"));
    assert_eq!(value(&refused.headers, "retry-after"), Some("30"));
}

#[test]
fn refused_tokens_close_the_door_for_their_address_and_missing_ones_do_not() {
    let mut node = Node::new(&authenticated(&json!({"cost": "failed_token"})));
    let bad = [("authorization", "Bearer a.b.c")];
    for _ in 0..5 {
        let refused = reply(node.ask("192.0.2.9", &[]).1);
        assert_eq!(refused.refusal.code, Code::TokenMissing);
    }
    for _ in 0..2 {
        assert_eq!(reply(node.ask("192.0.2.7", &bad).1).status, 401);
    }
    assert_eq!(reply(node.ask("192.0.2.7", &bad).1).refusal.code, Code::LimitExceeded);
    assert_eq!(reply(node.ask("192.0.2.8", &bad).1).status, 401, "somebody else");
}

#[test]
fn a_dry_run_and_a_route_in_shadow_refuse_nobody_and_tell() {
    let dry = limited(&json!({"dry_run": true}));
    let mut shadow = authenticated(&json!({"stage": "before"}));
    shadow["shadow"] = json!(true);
    for configuration in [json!({"access": "public", "limits": dry}), shadow] {
        let mut node = Node::new(&configuration);
        let mut codes = Vec::new();
        for _ in 0..3 {
            let (_, step) = node.ask("192.0.2.7", &[]);
            let Step::Forward(forward) = step else { panic!("refused: {step:?}") };
            codes.push(forward.would_refuse.map(|refusal| refusal.code));
        }
        assert_eq!(codes.last(), Some(&Some(Code::LimitExceeded)));
        assert!(!codes.iter().take(2).any(|code| *code == Some(Code::LimitExceeded)));
    }
}

#[test]
fn what_a_later_rule_refuses_uses_up_nothing_of_an_earlier_one() {
    let mut node = Node::new(&json!({"access": "public", "limits": [
        {"name": "address", "key": "ip", "amount": 10, "per": "hour", "stage": "before"},
        {"name": "ending", "key": "ip", "amount": 3, "per": "hour"},
    ]}));
    for _ in 0..3 {
        assert!(matches!(node.ask("192.0.2.7", &[]).1, Step::Forward(_)));
    }
    for _ in 0..20 {
        let refused = reply(node.ask("192.0.2.7", &[]).1);
        let problem: Problem = serde_json::from_slice(&refused.body).unwrap();
        assert_eq!(problem.violated_policies, ["ending"]);
    }
}

#[test]
fn a_refused_token_that_cannot_be_counted_is_treated_as_the_rule_says() {
    let bad = [("authorization", "Bearer a.b.c")];
    for (more, expected) in [
        (json!({}), Code::LimitUnavailable),
        (json!({"on_error": "allow"}), Code::TokenMalformed),
        (json!({"dry_run": true}), Code::TokenMalformed),
    ] {
        let mut rule = json!({"cost": "failed_token"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut node = Node::new(&authenticated(&rule));
        // The worker finds the node's seed, then the zone takes nothing more.
        assert_eq!(reply(node.ask("192.0.2.7", &bad).1).refusal.code, Code::TokenMalformed);
        node.zone.full = true;
        assert_eq!(reply(node.ask("192.0.2.8", &bad).1).refusal.code, expected, "{more}");
        assert_eq!(reply(node.ask("192.0.2.8", &[]).1).refusal.code, Code::TokenMissing);
    }
}
