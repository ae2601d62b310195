//! That the description of the exchange (`exchange.openapi.yaml`), the examples and the types of
//! this crate say the same.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{fs, path::PathBuf};

use kombi_spec::{
    code::Code,
    introspection::{IntrospectionAnswer, IntrospectionRequest},
    lease::{LeaseAnswer, LeaseReport, Share},
    problem::Problem,
    session::Session,
    usage::{
        report::{Dimension, Report, Sums},
        reserve::{
            Budget, Exhausted, Fallback, Granted, Period, Reservation, ReserveRequest, Scope, Unit,
        },
        settle::{Outcome, SettleAnswer, SettleRequest},
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

fn spec(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn description() -> Value {
    let text = fs::read_to_string(spec("exchange.openapi.yaml")).unwrap();
    serde_yaml_ng::from_str(&text).unwrap()
}

/// The schema called `name`, with those that it refers to.
fn schema(name: &str) -> jsonschema::Validator {
    let components = description()["components"].clone();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": format!("#/components/schemas/{name}"),
        "components": components,
    });
    jsonschema::validator_for(&schema).unwrap()
}

fn examples(kind: &str) -> Vec<(String, Value)> {
    let files = fs::read_dir(spec("examples").join(kind)).unwrap();
    let read = |file: fs::DirEntry| {
        let text = fs::read_to_string(file.path()).unwrap();
        (file.path().display().to_string(), serde_json::from_str(&text).unwrap())
    };
    files.map(|file| read(file.unwrap())).collect()
}

fn agree<T: DeserializeOwned>(kind: &str, name: &str) {
    let schema = schema(name);
    for (folder, fits) in [("valid", true), ("invalid", false)] {
        let examples = examples(&format!("{kind}/{folder}"));
        assert!(!examples.is_empty());
        for (file, example) in examples {
            // What the types cannot say, the description says; the exchange checks both.
            let read = serde_json::from_value::<T>(example.clone()).is_ok();
            assert!(read || !fits, "{file}");
            assert_eq!(schema.is_valid(&example), fits, "{file}");
        }
    }
}

#[test]
fn examples_of_reports_of_leases_and_of_their_answers_fit_or_do_not() {
    agree::<LeaseReport>("lease_report", "LeaseReport");
    agree::<LeaseAnswer>("lease_answer", "LeaseAnswer");
}

#[test]
fn examples_of_reservations_fit_or_do_not() {
    agree::<ReserveRequest>("usage_reserve", "ReserveRequest");
}

#[test]
fn examples_of_settlements_fit_or_do_not() {
    agree::<SettleRequest>("usage_settle", "SettleRequest");
}

#[test]
fn what_is_answered_is_described_member_by_member() {
    let budget = Budget {
        scope: Scope::Plan,
        unit: Unit::Tokens,
        period: Period::Minute,
        limit: 2,
        remaining: 1,
        resets_in_s: 0,
    };
    let problem = Problem::new(Code::QuotaExhausted, "d", "r");
    let sums = Sums {
        day: Some("2026-11-24".to_owned()),
        subject: Some("s".to_owned()),
        org: Some(String::new()),
        plan: Some("p".to_owned()),
        provider: Some("o".to_owned()),
        model: Some("m".to_owned()),
        ..Sums::default()
    };
    let report = Report {
        from: "2026-11-01".to_owned(),
        to: "2026-12-01".to_owned(),
        by: Dimension::ALL.to_vec(),
        rows: vec![sums.clone()],
    };
    let granted = Granted {
        fallback: Fallback { provider: "g".to_owned(), model: "m".to_owned() },
        authorization: Some("Bearer y".to_owned()),
    };
    let reservation = Reservation {
        reservation: "r.1".to_owned(),
        authorization: Some("Bearer x".to_owned()),
        fallbacks: vec![granted.clone()],
        settle_within_s: 900,
        remaining: vec![budget.clone()],
    };
    let outcomes =
        vec![Outcome::Accepted, Outcome::Replaced, Outcome::Duplicate, Outcome::Malformed];
    let answer = IntrospectionAnswer { active: true, claims: Some(json!({})), cache_for_s: 1 };
    let question = IntrospectionRequest { issuer: "i".to_owned(), token: "t".to_owned() };
    let share = Share {
        rule: "r".to_owned(),
        key: "k".to_owned(),
        lease: 1,
        seq: 2,
        granted: 3,
        keep: 4,
        left: -5,
        retry_after_ms: 6,
        told_at_ms: 7,
    };
    let leases = LeaseAnswer { memory: "m".to_owned(), shares: vec![share.clone()] };
    for (name, value) in [
        ("Share", json!(share)),
        ("LeaseAnswer", json!(leases)),
        ("Problem", json!(problem)),
        ("Exhausted", json!(Exhausted { problem, budget: budget.clone() })),
        ("Budget", json!(budget)),
        ("Reservation", json!(reservation)),
        ("Granted", json!(granted)),
        ("SettleAnswer", json!(SettleAnswer { outcomes })),
        ("Sums", json!(sums)),
        ("Report", json!(report)),
        ("IntrospectionAnswer", json!(answer)),
        ("IntrospectionRequest", json!(question)),
        ("Session", json!(Session { token: "t".to_owned(), record: json!({}) })),
    ] {
        let described = &description()["components"]["schemas"][name];
        assert!(schema(name).is_valid(&value), "{name}: {value}");
        // An exhausted budget's problem is described as a problem.
        if described.get("allOf").is_none() {
            for member in value.as_object().unwrap().keys() {
                assert!(described["properties"].get(member).is_some(), "{name}.{member}");
            }
        }
        for member in described["required"].as_array().unwrap() {
            let mut lacking = value.clone();
            lacking.as_object_mut().unwrap().remove(member.as_str().unwrap());
            assert!(!schema(name).is_valid(&lacking), "{name} without {member}");
        }
    }
}
