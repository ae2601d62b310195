//! Limits that nodes share, on a strict Kong and a strict Envoy: several workers spend from one
//! share, settle on their ticks, and no request waits for the exchange, whatever it does.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod desk;

use std::collections::BTreeMap;

use desk::{Desk, Forgery};
use kombi_spec::code::Code;
use kombi_strict_host::{
    exchange::beside,
    filter::Filter,
    host::Host,
    issuer::{Behaviour, Issuer},
    node::{Builder, Node},
    outcome::Outcome,
    peers::Failure,
    request::Request,
    route::with,
};
use serde_json::{Value, json};

const ISSUER: &str = "https://id.example";

const WORKERS: usize = 4;

const GRACE_S: u64 = 5;

/// What a node admits at most before it has heard whether there is more.
const GUESS: usize = 5;

fn rule(more: &Value) -> Value {
    let rule = json!({
        "name": "r", "key": "sub", "amount": 1_000, "per": "day", "scope": "shared",
        "grace_s": GRACE_S,
    });
    with(rule, more)
}

/// A node with one route for each of `rules`: `/0`, `/1`…
fn builder(host: Host, rules: &[Value]) -> (Builder, Issuer, Desk) {
    let (issuer, desk) = (Issuer::new(ISSUER), Desk::default());
    let peers = beside(desk.clone(), issuer.clone());
    let mut builder = Node::of(&Filter::gate(), host).workers(WORKERS).peers(peers);
    for (index, rule) in rules.iter().enumerate() {
        let limits = json!({"name": format!("route-{index}"), "limits": [rule]});
        let route = with(issuer.route(limits), &desk::route());
        builder = builder.route(&format!("/{index}"), route);
    }
    (builder, issuer, desk)
}

/// A gateway under way.
struct Gateway {
    node: Node,
    issuer: Issuer,
    desk: Desk,
    /// By subject, with the second in which they were made.
    tokens: BTreeMap<String, (String, u64)>,
}

impl Gateway {
    fn start(host: Host, rules: &[Value]) -> Self {
        let (builder, issuer, desk) = builder(host, rules);
        let mut gateway = Self { node: builder.start(), issuer, desk, tokens: BTreeMap::default() };
        gateway.warm_up();
        gateway
    }

    /// Every worker meets its host and fetches the keys, which is what a request waits for.
    fn warm_up(&mut self) {
        let token = self.token("warm-up");
        for worker in 0..WORKERS {
            self.node.send_to(worker, Request::get("/0").bearer(&token));
        }
    }

    /// A token of `subject`, which lasts for an hour.
    fn token(&mut self, subject: &str) -> String {
        let now_s = self.node.now_s();
        if let Some((token, made_s)) = self.tokens.get(subject)
            && (*made_s..made_s + 1_800).contains(&now_s)
        {
            return token.clone();
        }
        let token = self.issuer.sign(&with(self.issuer.claims(now_s), &json!({"sub": subject})));
        self.tokens.insert(subject.to_owned(), (token.clone(), now_s));
        token
    }

    /// A request that is decided before any time has passed.
    fn ask(&mut self, path: &str, subject: &str, worker: usize) -> Outcome {
        let token = self.token(subject);
        let id = self.node.begin(worker, Request::get(path).bearer(&token));
        self.node.outcome(id).unwrap_or_else(|| panic!("a request waits")).clone()
    }

    /// How many of `count` requests pass, to the workers in turn.
    fn admitted(&mut self, path: &str, subject: &str, count: usize) -> usize {
        (0..count).filter(|n| self.ask(path, subject, n % WORKERS).is_forwarded()).count()
    }

    /// How many pass in so many rounds of 40 requests, 250 ms apart.
    fn admitted_over_time(&mut self, path: &str, subject: &str, rounds: usize) -> usize {
        let mut round = || {
            let passed = self.admitted(path, subject, 40);
            self.node.advance(250);
            passed
        };
        (0..rounds).map(|_| round()).sum()
    }

    fn counted(&self, metric: &str) -> u64 {
        // The hosts name metrics with and without the filter's name before it.
        let metrics = self.node.metrics().into_iter();
        metrics.filter(|(name, _)| name.ends_with(metric)).map(|(_, value)| value).sum()
    }
}

#[test]
fn workers_spend_from_one_share_and_one_of_them_reports() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host, &[rule(&json!({}))]);
        let began_ms = gateway.node.now_ms();
        let passed = gateway.admitted_over_time("/0", "ada", 60);
        assert_eq!(passed, 1_000, "{host:?}: of 2,400");
        let ticks = (gateway.node.now_ms() - began_ms) / 250 + 2;
        let reports = gateway.desk.reports();
        let about_ada = reports.iter().filter(|report| report.holdings.iter().any(|h| h.used > 4));
        assert!(about_ada.count() as u64 <= ticks, "{host:?}: {} in {ticks}", reports.len());
        assert!(reports.iter().all(|report| report.node == reports[0].node), "{host:?}: one node");
        assert!(!serde_json::to_string(&reports).unwrap().contains("ada"), "nobody is named");
    }
}

#[test]
fn users_whose_names_collide_under_crc32_have_quotas_of_their_own() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host, &[rule(&json!({"amount": 100}))]);
        let (mut one, mut other) = (0, 0);
        for _ in 0..20 {
            one += gateway.admitted_over_time("/0", "rl:user:29685295", 1);
            other += gateway.admitted_over_time("/0", "rl:user:32060020", 1);
        }
        for passed in [one, other] {
            assert!((100..=100 + GUESS).contains(&passed), "{host:?}: {passed}");
        }
    }
}

#[test]
fn rules_of_one_name_and_different_amounts_have_quotas_of_their_own() {
    for host in Host::BOTH {
        let rules = [rule(&json!({"amount": 100})), rule(&json!({"amount": 300}))];
        let mut gateway = Gateway::start(host, &rules);
        let (mut small, mut large) = (0, 0);
        for _ in 0..20 {
            small += gateway.admitted_over_time("/0", "ada", 1);
            large += gateway.admitted_over_time("/1", "ada", 1);
        }
        assert!((100..=100 + GUESS).contains(&small), "{host:?}: {small}");
        assert!((300..=300 + GUESS).contains(&large), "{host:?}: {large}");
    }
}

#[test]
fn whatever_the_exchange_does_no_request_waits_and_the_rule_says_what_becomes_of_it() {
    let good = json!({"memory": "m1", "shares": []}).to_string();
    for behaviour in [
        Behaviour::Status(503),
        Behaviour::Status(204),
        Behaviour::Fails(Failure::Connection),
        Behaviour::Fails(Failure::Timeout),
        Behaviour::Fails(Failure::Resolver),
        Behaviour::Stalls,
        Behaviour::Says(good.as_bytes()[..good.len() / 2].to_vec()),
        Behaviour::Says(vec![0xff; 100]),
        Behaviour::Says(vec![b'['; 60_000]),
        Behaviour::Says(format!("{good}{}", " ".repeat(200_000)).into_bytes()),
    ] {
        for host in Host::BOTH {
            let strict = rule(&json!({}));
            let tolerant = rule(&json!({"name": "tolerant", "on_error": "allow"}));
            let mut gateway = Gateway::start(host, &[strict, tolerant]);
            let shown = format!("{host:?}: {behaviour:?}").chars().take(80).collect::<String>();
            let mut passed = gateway.admitted_over_time("/0", "ada", 4);
            assert!(passed > 100, "{shown}: {passed}");
            gateway.admitted_over_time("/1", "ada", 4);
            gateway.desk.behave(behaviour.clone());
            gateway.node.take_logs();
            gateway.node.advance(1_000);
            let on_share = gateway.admitted("/0", "ada", 40);
            assert_eq!(on_share, 40, "{shown}: on its share");
            passed += on_share;
            gateway.node.advance((GRACE_S + 4) * 1_000);
            for worker in 0..WORKERS {
                let refused = gateway.ask("/0", "ada", worker);
                assert_eq!(refused.code(), Some(Code::LimitUnavailable), "{shown}");
                assert_eq!(refused.status(), 503, "{shown}");
            }
            assert_eq!(gateway.admitted("/1", "ada", 100), 100, "{shown}: allowed on error");
            gateway.node.advance(1_000);
            let logs = gateway.node.take_logs();
            for told in ["\"shared_limits_silent\"", "\"trouble\":\"no_word\""] {
                let lines = logs.iter().filter(|line| line.text.contains(told)).count();
                assert!((1..=WORKERS).contains(&lines), "{shown}: {told}: {lines} lines");
            }
            assert!(gateway.counted("lease_reports_total_result=\"failed\"") > 3, "{shown}");
            assert_eq!(gateway.counted("limit_troubles_total_trouble=\"no_word\""), 104, "{shown}");
            gateway.desk.behave(Behaviour::Honest);
            // A report may be under way that nobody answers.
            gateway.node.advance(4_000);
            let again = gateway.admitted_over_time("/0", "ada", 60);
            assert!(again > 0, "{shown}: it is back");
            assert!(passed + again <= 1_020, "{shown}: {passed} and {again}");
        }
    }
}

#[test]
fn an_answer_that_is_not_to_the_last_report_grants_nothing() {
    let forgeries: [(&str, Forgery); 5] = [
        ("another lease", |answer| answer.shares.iter_mut().for_each(|share| share.lease += 1)),
        ("a report to come", |answer| answer.shares.iter_mut().for_each(|share| share.seq += 1)),
        ("another key", |answer| answer.shares.iter_mut().for_each(|share| share.key += "0")),
        ("another rule", |answer| answer.shares.iter_mut().for_each(|share| share.rule += "0")),
        ("none", |answer| answer.shares.clear()),
    ];
    for (name, forgery) in forgeries {
        for host in Host::BOTH {
            let mut gateway = Gateway::start(host, &[rule(&json!({}))]);
            gateway.desk.forge(Some(forgery));
            let guessed = gateway.admitted_over_time("/0", "ada", 60);
            assert!(guessed <= GUESS, "{host:?}: {name}: {guessed}");
            gateway.desk.forge(None);
            assert!(gateway.admitted_over_time("/0", "ada", 8) > 100, "{host:?}: {name}");
        }
    }
}

#[test]
fn answers_that_are_late_are_heeded_if_they_are_news_and_never_twice() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host, &[rule(&json!({}))]);
        let mut passed = 0;
        // Each comes at another time: before and after the next report, and beyond the timeout.
        for delay_ms in [5, 900, 50, 2_500, 5, 1_900, 20_000, 5, 300] {
            gateway.desk.delay(delay_ms);
            passed += gateway.admitted_over_time("/0", "ada", 6);
        }
        gateway.desk.delay(5);
        passed += gateway.admitted_over_time("/0", "ada", 60);
        assert!((1_000..=1_020).contains(&passed), "{host:?}: {passed}");
    }
}

#[test]
fn a_clock_that_jumps_frees_no_second_share_and_locks_nobody_out() {
    const DAY_MS: u64 = 86_400_000;
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host, &[rule(&json!({}))]);
        let mut passed = gateway.admitted_over_time("/0", "ada", 4);
        for (name, forwards) in [("forwards", true), ("back", false), ("back again", false)] {
            let (now, days) = (gateway.node.now_ms(), DAY_MS);
            let to = if forwards { now + days } else { now - days };
            gateway.node.jump_to(to);
            let by = i64::try_from(days).unwrap();
            gateway.desk.stays_behind(if forwards { by } else { -by });
            // Keys of yesterday are fetched anew; that is what requests wait for.
            gateway.warm_up();
            let since = gateway.admitted_over_time("/0", "ada", 6);
            assert!(since > 0, "{host:?}: {name}: locked out after {passed}");
            passed += since;
        }
        passed += gateway.admitted_over_time("/0", "ada", 60);
        assert!((1_000..=1_020).contains(&passed), "{host:?}: {passed}");
    }
}

#[test]
fn without_a_zone_each_rule_says_what_becomes_of_requests() {
    for (on_error, status) in [("deny", 503), ("allow", 200)] {
        let (builder, issuer, desk) = builder(Host::Kong, &[rule(&json!({"on_error": on_error}))]);
        let node = builder.settings(|settings| settings.zone_bytes = None).start();
        let mut gateway = Gateway { node, issuer, desk, tokens: BTreeMap::default() };
        gateway.warm_up();
        for n in 0..20 {
            let outcome = gateway.ask("/0", "ada", n % WORKERS);
            assert_eq!(outcome.status(), status, "{on_error}");
            let code = (status == 503).then_some(Code::LimitUnavailable);
            assert_eq!(outcome.code(), code, "{on_error}");
        }
        gateway.node.advance(1_000);
        let told = |line: &str| line.contains("limit_trouble") && line.contains("no_zone");
        let lines = gateway.node.take_logs().into_iter().filter(|line| told(&line.text)).count();
        assert!((1..=WORKERS).contains(&lines), "each worker tells once: {lines}");
        assert_eq!(gateway.counted("limit_troubles_total_trouble=\"no_zone\""), 20 + 4);
        assert_eq!(gateway.desk.reports().len(), 0);
    }
}
