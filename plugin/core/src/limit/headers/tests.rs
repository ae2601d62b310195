use std::{collections::BTreeMap, rc::Rc};

use super::*;
use crate::limit::{
    key::Part,
    pace::Pace,
    rule::{Allowance, OnError, Scope, Stage},
};

fn standing(name: &str, cost: Cost, pace: Pace, left: u64, resets_after_ms: u64) -> Standing {
    let rule = Rule {
        name: name.into(),
        key: vec![Part::Subject],
        cost,
        stage: Stage::After,
        allowance: Allowance::Limited(pace),
        plans: BTreeMap::new(),
        on_error: OnError::Deny,
        dry_run: false,
        scope: Scope::Node,
    };
    Standing {
        rule: Rc::new(rule),
        pace,
        left,
        resets_after: Duration::from_millis(resets_after_ms),
    }
}

fn value<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_fields_of_the_draft_name_every_budget() {
    let minute = Pace::new(100, Period::Minute, 100);
    let day = Pace::new(1_000, Period::Day, 50);
    let tokens = Pace::new(1_000_000, Period::Month, 1_000_000);
    let standings = [
        standing("per-minute", Cost::Request, minute, 50, 30_000),
        standing("per-day", Cost::Request, day, 0, 100),
        standing("ai", Cost::Tokens, tokens, 999_999, 60_001),
    ];
    let told = headers(&standings, Families { ietf: true, kong: false });
    assert_eq!(
        value(&told, "ratelimit-policy"),
        Some(
            "\"per-minute\";q=100;w=60, \"per-day\";q=1000;w=86400;kombi-burst=50, \
             \"ai\";q=1000000;qu=\"tokens\";w=2592000"
        )
    );
    assert_eq!(
        value(&told, "ratelimit"),
        Some("\"per-minute\";r=50;t=30, \"per-day\";r=0;t=1, \"ai\";r=999999;t=61")
    );
    assert_eq!(told.len(), 2);
}

#[test]
fn kongs_names_tell_of_the_tightest_budget_of_each_period() {
    let standings = [
        standing("a", Cost::Request, Pace::new(100, Period::Minute, 100), 50, 30_000),
        standing("b", Cost::Request, Pace::new(60, Period::Minute, 60), 7, 53_000),
        standing("c", Cost::Request, Pace::new(5_000, Period::Hour, 5_000), 4_000, 720_000),
        standing("ai", Cost::Tokens, Pace::new(9, Period::Day, 9), 1, 1_000),
    ];
    let told = headers(&standings, Families { ietf: false, kong: true });
    for (name, expected) in [
        ("x-ratelimit-limit-minute", Some("60")),
        ("x-ratelimit-remaining-minute", Some("7")),
        ("x-ratelimit-limit-hour", Some("5000")),
        ("x-ratelimit-remaining-hour", Some("4000")),
        ("x-ratelimit-limit-day", None),
        ("ratelimit-limit", Some("60")),
        ("ratelimit-remaining", Some("7")),
        ("ratelimit-reset", Some("53")),
        ("ratelimit", None),
    ] {
        assert_eq!(value(&told, name), expected, "{name}");
    }
}

#[test]
fn without_budgets_or_families_nothing_is_told() {
    assert!(headers(&[], Families::default()).is_empty());
    let one = [standing("a", Cost::Request, Pace::new(1, Period::Day, 1), 0, 1)];
    assert!(headers(&one, Families { ietf: false, kong: false }).is_empty());
}

#[test]
fn numbers_are_written_as_they_are() {
    for n in [0, 7, 10, 909, 1_000_000, u64::MAX] {
        let mut text = String::new();
        push_number(&mut text, n);
        assert_eq!(text, n.to_string());
    }
}
