use std::collections::BTreeMap;

use super::*;
use crate::{
    limit::{
        pace::{Pace, Period},
        rule::{Allowance, OnError, Scope},
    },
    time::UnixTime,
    zone::{Zone, tests::TestZone},
};

const NOW_S: u64 = 1_750_000_000;

fn rule(name: &str, key: &[Part], pace: Pace) -> Rule {
    Rule {
        name: name.into(),
        key: key.to_vec(),
        cost: Cost::Request,
        stage: Stage::After,
        allowance: Allowance::Limited(pace),
        plans: BTreeMap::new(),
        on_error: OnError::Deny,
        dry_run: false,
        scope: Scope::Node,
    }
}

fn per_hour(amount: u64) -> Pace {
    Pace::new(amount, Period::Hour, amount)
}

fn limits(rules: Vec<Rule>) -> Limits {
    Limits::new(rules, Families::default())
}

fn user(subject: &str) -> Identity {
    Identity {
        issuer: "https://id.example".to_owned(),
        subject: subject.to_owned(),
        organisation: Some("1".to_owned()),
        ..Identity::default()
    }
}

/// A node with one zone.
#[derive(Default)]
struct Node {
    zone: TestZone,
    without_zone: bool,
    workers: Vec<Worker>,
    now_ms: u64,
}

impl Node {
    fn new(workers: usize) -> Self {
        let workers = std::iter::repeat_with(Worker::default).take(workers).collect();
        Self { workers, now_ms: NOW_S * 1_000, ..Self::default() }
    }

    fn with<T>(&mut self, worker: usize, f: impl FnOnce(&mut Moment<'_>) -> T) -> T {
        let zone: Option<&dyn Zone> = (!self.without_zone).then_some(&self.zone as &dyn Zone);
        let worker = self.workers.get_mut(worker).unwrap();
        f(&mut Moment { worker, zone, now: UnixTime::from_millis(self.now_ms) })
    }

    fn ask(&mut self, worker: usize, limits: &Limits, caller: &Caller<'_>) -> Verdict {
        let budgets = limits.after(caller);
        self.with(worker, |moment| budgets.admit(moment))
    }

    /// How many of `count` requests of `user` are admitted, by the workers in turn.
    fn admitted(&mut self, limits: &Limits, user: &Identity, count: usize) -> usize {
        let caller = Caller { identity: Some(user), source: None };
        let workers = self.workers.len();
        (0..count).filter(|n| self.ask(n % workers, limits, &caller).admits()).count()
    }

    fn counts(&mut self, worker: usize) -> Counts {
        self.workers.get_mut(worker).unwrap().limits.tally.take()
    }
}

#[test]
fn a_thousand_requests_over_two_workers_admit_exactly_what_is_allowed() {
    for amount in [1, 10, 333, 999] {
        let limits = limits(vec![rule("r", &[Part::Subject], per_hour(amount))]);
        let mut node = Node::new(2);
        assert_eq!(node.admitted(&limits, &user("ada"), 1_000) as u64, amount);
        assert_eq!(node.admitted(&limits, &user("bob"), 1_000) as u64, amount, "on their own");
    }
}

#[test]
fn users_whose_names_collide_under_crc32_have_budgets_of_their_own() {
    let limits = limits(vec![rule("r", &[Part::Subject], per_hour(5))]);
    let mut node = Node::new(1);
    for name in ["rl:user:29685295", "rl:user:32060020"] {
        assert_eq!(node.admitted(&limits, &user(name), 10), 5, "{name}");
    }
    // Even where all cells of the zone are one, nobody is counted as somebody else.
    let mut node = Node::new(1);
    // The worker has met its zone before.
    assert_eq!(node.admitted(&limits, &user("eve"), 1), 1);
    node.zone.collide = true;
    assert_eq!(node.admitted(&limits, &user("ada"), 10), 5);
    let others = node.admitted(&limits, &user("bob"), 10);
    assert!(others == 5 || others == 0, "{others}");
}

#[test]
fn the_stricter_of_two_rules_decides_and_the_other_loses_nothing() {
    let rules = vec![
        rule("strict", &[Part::Subject], per_hour(3)),
        rule("wide", &[Part::Subject], per_hour(100)),
        rule("org", &[Part::Organisation], per_hour(50)),
    ];
    let limits = limits(rules);
    let mut node = Node::new(2);
    assert_eq!(node.admitted(&limits, &user("ada"), 20), 3);
    let ada = user("ada");
    let caller = Caller { identity: Some(&ada), source: None };
    let verdict = node.ask(0, &limits, &caller);
    let left = |name: &str| {
        let found = verdict.standings.iter().find(|standing| &*standing.rule.name == name);
        found.map(|standing| standing.left)
    };
    assert_eq!((left("strict"), left("wide"), left("org")), (Some(0), Some(97), Some(47)));
    let Some(Refused::UsedUp { rules, wait }) = &verdict.refused else { panic!("{verdict:?}") };
    assert_eq!(rules.iter().map(|rule| &*rule.name).collect::<Vec<_>>(), ["strict"]);
    assert_eq!(wait.as_secs(), 1_200);
    // Others of the organisation are not kept out by what was refused.
    assert_eq!(node.admitted(&limits, &user("bob"), 20), 3);
}

#[test]
fn the_plan_decides_how_much() {
    let mut by_plan = rule("r", &[Part::Subject], per_hour(2));
    by_plan.plans = [
        ("pro".to_owned(), Allowance::Limited(per_hour(7))),
        ("all".to_owned(), Allowance::Unlimited),
    ]
    .into();
    let limits = limits(vec![by_plan]);
    let mut node = Node::new(1);
    for (plan, expected) in [(None, 2), (Some("free"), 2), (Some("pro"), 7), (Some("all"), 20)] {
        let subject = format!("{plan:?}");
        let user = Identity { plan: plan.map(str::to_owned), ..user(&subject) };
        assert_eq!(node.admitted(&limits, &user, 20), expected, "{plan:?}");
    }
}

#[test]
fn a_caller_who_comes_with_two_plans_by_turns_has_no_more_than_the_better_one() {
    let minute = |amount, burst| Allowance::Limited(Pace::new(amount, Period::Minute, burst));
    let mut by_plan = rule("r", &[Part::Subject], Pace::new(60, Period::Minute, 10));
    by_plan.plans = [("pro".to_owned(), minute(600, 600))].into();
    let limits = limits(vec![by_plan]);
    let mut node = Node::new(1);
    let pro = Identity { plan: Some("pro".to_owned()), ..user("ada") };
    assert_eq!(node.admitted(&limits, &pro, 700), 600);
    for _ in 0..3 {
        assert_eq!(node.admitted(&limits, &user("ada"), 20), 0);
        assert_eq!(node.admitted(&limits, &pro, 700), 0);
    }
    // Sixty seconds of debt come back one by one, for both.
    node.now_ms += 1_000;
    assert_eq!(node.admitted(&limits, &pro, 20), 10);
}

#[test]
fn routes_share_the_budget_of_a_rule_that_they_state_alike() {
    let stated = |name: &str, amount| limits(vec![rule(name, &[Part::Subject], per_hour(amount))]);
    let mut node = Node::new(1);
    assert_eq!(node.admitted(&stated("api", 5), &user("ada"), 4), 4);
    let more = limits(vec![
        rule("api", &[Part::Subject], per_hour(5)),
        rule("other", &[Part::Subject], per_hour(9)),
    ]);
    assert_eq!(node.admitted(&more, &user("ada"), 4), 1);
    assert_eq!(node.admitted(&stated("api", 6), &user("ada"), 9), 6, "another rule");
    assert_eq!(node.admitted(&stated("web", 5), &user("ada"), 9), 5, "another rule");
}

#[test]
fn a_rule_in_a_dry_run_refuses_nobody_and_tells_what_it_would() {
    let mut dry = rule("dry", &[Part::Subject], per_hour(2));
    dry.dry_run = true;
    let limits = limits(vec![dry, rule("real", &[Part::Subject], per_hour(5))]);
    let mut node = Node::new(1);
    assert_eq!(node.admitted(&limits, &user("ada"), 9), 5);
    let expected = [
        ("dry".into(), Outcome::Admitted, 2),
        ("dry".into(), Outcome::WouldDeny, 7),
        ("real".into(), Outcome::Admitted, 5),
        ("real".into(), Outcome::Denied, 4),
    ];
    assert_eq!(node.counts(0).outcomes, expected);
    let ada = user("ada");
    let caller = Caller { identity: Some(&ada), source: None };
    let verdict = node.ask(0, &limits, &caller);
    assert!(verdict.would_refuse.is_some());
    assert!(verdict.standings.iter().all(|standing| &*standing.rule.name == "real"));
}

#[test]
fn what_cannot_be_counted_is_refused_or_not_as_the_rule_says() {
    for (on_error, admitted) in [(OnError::Deny, 0), (OnError::Allow, 10)] {
        let mut strict = rule("r", &[Part::Subject], per_hour(5));
        strict.on_error = on_error;
        let limits = limits(vec![strict]);
        for (full, without_zone) in [(true, false), (false, true)] {
            let mut node = Node { without_zone, ..Node::new(1) };
            node.zone.full = full;
            assert_eq!(node.admitted(&limits, &user("ada"), 10), admitted, "{on_error:?}");
            let counts = node.counts(0);
            let fault = if full { Fault::NotWritten } else { Fault::NoZone };
            assert_eq!(counts.troubles, [(Trouble::Uncounted(fault), 10)]);
            assert_eq!(counts.news, [Trouble::Uncounted(fault)]);
            assert_eq!(node.counts(0), Counts::default(), "told once");
        }
    }
}

#[test]
fn a_clock_that_jumps_neither_locks_out_nor_frees_more_than_one_budget() {
    let limits = limits(vec![rule("r", &[Part::Subject], per_hour(60))]);
    let mut node = Node::new(2);
    let day_ms = 86_400_000;
    assert_eq!(node.admitted(&limits, &user("ada"), 100), 60);
    node.now_ms += 365 * day_ms;
    assert_eq!(node.admitted(&limits, &user("ada"), 100), 60, "as far as anybody can tell");
    node.now_ms -= 365 * day_ms;
    assert_eq!(node.admitted(&limits, &user("ada"), 100), 0);
    node.now_ms += 60_000;
    assert_eq!(node.admitted(&limits, &user("ada"), 100), 1);
    node.now_ms += day_ms;
    assert_eq!(node.admitted(&limits, &user("ada"), 100), 60);
}

#[test]
fn failed_tokens_are_counted_by_source_and_stop_everybody_from_there() {
    let mut failed = rule("failed", &[Part::Source], per_hour(3));
    failed.cost = Cost::FailedToken;
    failed.stage = Stage::Before;
    let limits = limits(vec![failed]);
    let mut node = Node::new(1);
    let here = limits.before(Source::read(b"192.0.2.7"));
    let there = limits.before(Source::read(b"192.0.2.8"));
    for _ in 0..3 {
        assert!(node.with(0, |moment| here.admit(moment)).admits());
        node.with(0, |moment| here.token_failed(moment));
    }
    assert!(!node.with(0, |moment| here.admit(moment)).admits());
    assert!(node.with(0, |moment| there.admit(moment)).admits());
    let nowhere = limits.before(None);
    assert!(!node.with(0, |moment| nowhere.admit(moment)).admits(), "nobody knows where from");
}

#[test]
fn tokens_are_set_aside_and_settled() {
    let mut tokens = rule("ai", &[Part::Subject], Pace::new(1_000, Period::Day, 1_000));
    tokens.cost = Cost::Tokens;
    let limits = limits(vec![tokens]);
    let mut node = Node::new(1);
    let ada = user("ada");
    let budgets = limits.after(&Caller { identity: Some(&ada), source: None });
    let left = |node: &mut Node| {
        let verdict = node.with(0, |moment| budgets.admit(moment));
        verdict.standings.first().unwrap().left
    };
    assert_eq!(left(&mut node), 1_000, "a request alone costs nothing");
    let reserve = |node: &mut Node, tokens| node.with(0, |moment| budgets.reserve(tokens, moment));
    let (verdict, reserved) = reserve(&mut node, 400);
    assert_eq!((left(&mut node), verdict.standings[0].left), (600, 600));
    let (refused, none) = reserve(&mut node, 700);
    assert!(!refused.admits() && none.is_none());
    assert_eq!(left(&mut node), 600, "what is refused uses up nothing");
    node.with(0, |moment| reserved.unwrap().settle(100, moment));
    assert_eq!(left(&mut node), 900);
    let (_, reserved) = reserve(&mut node, 300);
    node.with(0, |moment| reserved.unwrap().settle(0, moment));
    assert_eq!(left(&mut node), 900, "what did not leave used nothing");
    let (_, reserved) = reserve(&mut node, 100);
    node.with(0, |moment| reserved.unwrap().settle(1_500, moment));
    assert!(!node.with(0, |moment| budgets.admit(moment)).admits(), "used is used");
}

#[test]
fn a_rule_that_gave_no_tokens_gets_none_back() {
    let mut tokens = rule("ai", &[Part::Subject], Pace::new(1_000, Period::Day, 1_000));
    (tokens.cost, tokens.dry_run) = (Cost::Tokens, true);
    let limits = limits(vec![tokens]);
    let mut node = Node::new(1);
    let ada = user("ada");
    let budgets = limits.after(&Caller { identity: Some(&ada), source: None });
    for (asked, would_refuse) in [(1_200, true), (600, false), (400, true)] {
        let (verdict, reserved) = node.with(0, |moment| budgets.reserve(asked, moment));
        assert_eq!(verdict.would_refuse.is_some(), would_refuse, "{asked}");
        node.with(0, |moment| reserved.unwrap().settle(310, moment));
    }
}

#[test]
fn only_budgets_that_are_the_same_everywhere_are_kept_for_a_user() {
    let ada = user("ada");
    let by_user = rule("r", &[Part::Subject], per_hour(3));
    let by_both = rule("s", &[Part::Subject, Part::Source], per_hour(3));
    let kept = limits(vec![by_user.clone()]).after_anywhere(&ada);
    let mut node = Node::new(1);
    let admitted = |node: &mut Node| {
        let kept = kept.as_ref().unwrap();
        (0..5).filter(|_| node.with(0, |moment| kept.admit(moment)).admits()).count()
    };
    assert_eq!(admitted(&mut node), 3);
    // They are those that the rule gives anew.
    assert_eq!(node.admitted(&limits(vec![by_user.clone()]), &ada, 5), 0);
    assert!(limits(vec![by_user, by_both]).after_anywhere(&ada).is_none());
}

#[test]
fn a_caller_who_comes_to_the_same_worker_again_is_counted_without_a_look() {
    let limits = limits(vec![rule("r", &[Part::Subject], per_hour(1_000))]);
    let mut node = Node::new(2);
    let ada = user("ada");
    let caller = Caller { identity: Some(&ada), source: None };
    // The first finds out where the budget lies, the second what its cell is called now.
    assert_eq!(node.admitted(&limits, &ada, 4), 4);
    let in_a_row = |node: &mut Node, count| {
        let before = node.zone.reads.get();
        assert!((0..count).all(|_| node.ask(0, &limits, &caller).admits()));
        node.zone.reads.get() - before
    };
    assert!(in_a_row(&mut node, 100) < 20, "once it was in vain, it rests");
    assert_eq!(in_a_row(&mut node, 100), 0);
    node.now_ms += 1_000;
    assert_eq!(in_a_row(&mut node, 2), 1, "that was too long ago");
}

#[test]
fn whoever_comes_to_whichever_worker_no_more_is_admitted_than_allowed() {
    let mut chance = 0x9d1c_5e2f_8a34_b7c6_u64;
    let mut any = |below: u64| {
        chance = chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (chance >> 33) % below
    };
    for strict in [false, true] {
        let mut rules = vec![rule("r", &[Part::Subject], per_hour(50))];
        if strict {
            rules.push(rule("org", &[Part::Organisation], per_hour(120)));
        }
        let limits = limits(rules);
        let mut node = Node::new(3);
        let users = [user("ada"), user("bob"), user("eve")];
        let mut admitted = [0_u64; 3];
        let mut worker = 0;
        for _ in 0..3_000 {
            if any(4) == 0 {
                worker = usize::try_from(any(3)).unwrap();
            }
            let who = usize::try_from(any(3)).unwrap();
            let caller = Caller { identity: Some(&users[who]), source: None };
            admitted[who] += u64::from(node.ask(worker, &limits, &caller).admits());
        }
        let all = admitted.iter().sum::<u64>();
        assert_eq!(all, if strict { 120 } else { 150 }, "{admitted:?}");
        assert!(admitted.iter().all(|one| *one <= 50), "{admitted:?}");
    }
}

#[test]
fn where_a_failure_would_have_no_place_nobody_is_looked_at() {
    let mut failures = rule("failures", &[Part::Source], per_hour(10));
    (failures.cost, failures.stage) = (Cost::FailedToken, Stage::Before);
    let limits = limits(vec![failures]);
    let mut node = Node::new(1);
    let source = |n: u32| Source::of(std::net::Ipv4Addr::from_bits(n).into());
    let ask = |node: &mut Node, n| {
        let budgets = limits.before(Some(source(n)));
        node.with(0, |moment| budgets.admit(moment)).admits()
    };
    // Those whose budgets lie in one bucket, more than it has places for, fail nine times.
    assert!(ask(&mut node, u32::MAX));
    let seed = seed::Seed::of(&node.zone, 0).unwrap();
    let bucket = |n: &u32| {
        let key = Key::of(&[Part::Source], &Caller { identity: None, source: Some(source(*n)) });
        seed.bucket(key.unwrap().hash(), 16_384)
    };
    let together: Vec<u32> = (0..).filter(|n| bucket(n) == 7).take(30).collect();
    let fails = |n: &u32| {
        let budgets = limits.before(Some(source(*n)));
        node.with(0, |moment| (0..9).all(|_| budgets.token_failed(moment).admits()))
    };
    let (known, unknown): (Vec<u32>, Vec<u32>) = together.into_iter().partition(fails);
    assert!(known.len() > 10 && unknown.len() > 1, "{known:?} {unknown:?}");
    assert!(known.iter().all(|n| ask(&mut node, *n)), "who is known has a place");
    assert!(!unknown.iter().any(|n| ask(&mut node, *n)));
    assert!(
        node.counts(0)
            .troubles
            .iter()
            .any(|(trouble, _)| { *trouble == Trouble::Uncounted(Fault::NoRoom) })
    );
}
