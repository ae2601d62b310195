use std::cell::RefCell;

use kombi_spec::lease::Holding;

use super::*;
use crate::zone::tests::TestZone;

const START: UnixTime = UnixTime::from_secs(1_000_000);

fn terms() -> Terms {
    Terms {
        amount: 1_000,
        period: Duration::from_secs(3_600),
        burst: 1_000,
        grace: Duration::from_secs(10),
    }
}

fn quota() -> Quota<'static> {
    Quota { rule: "per-user", key: b"user:29685295", terms: terms() }
}

/// A node with one worker, at a time that the test says.
#[derive(Default)]
struct Gate {
    zone: TestZone,
    leases: RefCell<Leases>,
    sent: RefCell<Option<Sent>>,
}

impl Gate {
    fn take(&self, cost: u64, at: u64) -> Taken {
        self.leases.borrow_mut().take(quota(), cost, Some(&self.zone), after(at))
    }

    /// How many of `count` requests pass.
    fn admitted(&self, count: usize, at: u64) -> usize {
        let granted = |taken: &Taken| matches!(taken, Taken::Granted { .. });
        (0..count).map(|_| self.take(1, at)).filter(granted).count()
    }

    fn report(&self, at: u64) -> Option<LeaseReport> {
        let (report, sent) = self.leases.borrow_mut().report(Some(&self.zone), after(at))?;
        self.sent.replace(Some(sent));
        Some(report)
    }

    /// The answer comes to the report that was sent last.
    fn answer(&self, answer: &LeaseAnswer) {
        if let Some(sent) = self.sent.take() {
            self.leases.borrow_mut().answered(&sent, answer, Some(&self.zone));
        }
    }
}

fn after(ms: u64) -> UnixTime {
    START.plus(Duration::from_millis(ms))
}

/// Grants so much in all for each holding.
fn granting(report: &LeaseReport, granted: u64, left: i64) -> LeaseAnswer {
    let shares = report.holdings.iter().map(|holding| Share {
        rule: holding.rule.clone(),
        key: holding.key.clone(),
        lease: holding.lease,
        seq: holding.seq,
        granted,
        keep: 1_000,
        left,
        retry_after_ms: if left > 0 { 0 } else { 3_600 },
        told_at_ms: 7,
    });
    LeaseAnswer { memory: "m1".to_owned(), shares: shares.collect() }
}

#[test]
fn before_anything_is_known_a_node_guesses_a_little() {
    let gate = Gate::default();
    assert_eq!(gate.admitted(100, 0), 5);
    assert_eq!(gate.take(1, 0), Taken::Exhausted(Duration::from_millis(250)));
    let report = gate.report(0).unwrap();
    let holding = &report.holdings[0];
    assert_eq!((holding.granted, holding.used, holding.rule.as_str()), (0, 5, "per-user"));
    assert_eq!(holding.key.len(), 32, "{holding:?}");
    assert!(holding.wanted > 100, "it wants what it was asked for: {holding:?}");
    assert_eq!(report.memory, None);
}

#[test]
fn what_is_granted_is_spent_to_the_last_unit() {
    let gate = Gate::default();
    gate.admitted(10, 0);
    let report = gate.report(0).unwrap();
    gate.answer(&granting(&report, 50, 0));
    assert_eq!(gate.take(1, 10), Taken::Granted { left: 44 });
    assert_eq!(gate.admitted(100, 10), 44);
    assert_eq!(gate.take(1, 10), Taken::Exhausted(Duration::from_millis(3_590)));
    assert_eq!(gate.report(250).unwrap().holdings[0].used, 50);
    assert_eq!(gate.report(250).map(|report| report.holdings.len()), None, "it was just reported");
}

#[test]
fn a_request_that_costs_more_than_there_is_takes_nothing() {
    let gate = Gate::default();
    gate.take(1, 0);
    gate.answer(&granting(&gate.report(0).unwrap(), 11, 0));
    assert!(matches!(gate.take(11, 1), Taken::Exhausted(_)));
    assert_eq!(gate.take(10, 1), Taken::Granted { left: 0 });
}

#[test]
fn whoever_takes_nothing_learns_whether_there_is_something() {
    let gate = Gate::default();
    assert!(matches!(gate.take(0, 0), Taken::Granted { .. }), "it may guess");
    gate.answer(&granting(&gate.report(0).unwrap(), 2, 0));
    for _ in 0..3 {
        assert_eq!(gate.take(0, 1), Taken::Granted { left: 2 });
    }
    gate.take(2, 1);
    assert!(matches!(gate.take(0, 1), Taken::Exhausted(_)));
}

#[test]
fn what_is_given_back_can_be_taken_again() {
    let gate = Gate::default();
    gate.take(1, 0);
    gate.answer(&granting(&gate.report(0).unwrap(), 4, 0));
    assert_eq!(gate.admitted(9, 1), 3);
    gate.leases.borrow_mut().give_back(quota(), 2, Some(&gate.zone));
    assert_eq!(gate.admitted(9, 1), 2);
}

#[test]
fn what_was_used_already_is_charged_even_if_it_is_too_much() {
    let gate = Gate::default();
    gate.take(1, 0);
    gate.answer(&granting(&gate.report(0).unwrap(), 100, 0));
    gate.leases.borrow_mut().charge(quota(), 500, Some(&gate.zone), after(1));
    assert_eq!(gate.admitted(1, 1), 0);
    assert_eq!(gate.report(250).unwrap().holdings[0].used, 501);
}

#[test]
fn an_answer_counts_once_and_only_if_it_is_the_newest() {
    let gate = Gate::default();
    gate.take(1, 0);
    let first = gate.report(0).unwrap();
    gate.leases.borrow_mut().unanswered();
    gate.take(1, 250);
    let second = gate.report(250).unwrap();
    assert_eq!(second.holdings[0].used, 2);
    gate.answer(&granting(&second, 10, 0));
    assert_eq!(gate.admitted(100, 260), 8);
    // The first answer comes after all, to a worker that has nothing under way, and to one that has.
    gate.answer(&granting(&first, 1_000, 500));
    assert_eq!(gate.admitted(100, 260), 0);
    gate.report(500).unwrap();
    gate.answer(&granting(&first, 1_000, 500));
    assert_eq!(gate.admitted(100, 510), 0);
}

#[test]
fn a_lease_outlives_the_exchange_by_the_grace_and_then_nothing_is_known() {
    let gate = Gate::default();
    gate.take(1, 0);
    gate.answer(&granting(&gate.report(0).unwrap(), 100, 0));
    for at in [500, 5_000, 9_000] {
        assert!(matches!(gate.take(1, at), Taken::Granted { .. }), "{at}");
        assert!(gate.report(at).is_some(), "{at}");
        gate.leases.borrow_mut().unanswered();
    }
    assert!(matches!(gate.take(1, 9_999), Taken::Granted { .. }));
    // The lease is over, the exchange silent since 500.
    assert_eq!(gate.admitted(100, 10_001), 5, "what it may guess");
    assert!(matches!(gate.take(1, 10_499), Taken::Exhausted(_)));
    assert_eq!(gate.take(1, 10_500), Taken::Unknown);
    // It answers again.
    gate.answer(&granting(&gate.report(10_600).unwrap(), 200, 0));
    assert!(matches!(gate.take(1, 10_601), Taken::Granted { .. }));
}

#[test]
fn a_clock_that_is_set_back_spends_no_lease() {
    let gate = Gate::default();
    gate.take(1, 60_000);
    gate.answer(&granting(&gate.report(60_000).unwrap(), 100, 0));
    assert_eq!(gate.admitted(100, 0), 0, "barred, and not on lease");
    assert_eq!(gate.admitted(100, 60_001), 99);
}

#[test]
fn what_is_not_needed_is_given_back_and_then_no_more_is_said() {
    let gate = Gate::default();
    gate.admitted(50, 0);
    gate.answer(&granting(&gate.report(0).unwrap(), 600, 100));
    let mut at = 0;
    let mut reports = 0;
    while let Some(report) = {
        at += 1_000;
        gate.report(at)
    } {
        let Holding { granted, .. } = report.holdings[0];
        gate.answer(&granting(&report, granted, 100));
        reports += 1;
        assert!(reports < 20, "it goes on reporting: {report:?}");
        if at > 12_000 {
            assert_eq!(report.holdings[0].used + report.holdings[0].released, 600);
        }
    }
    assert!(at > 10_000, "it kept something for the time of a lease");
}

#[test]
fn without_room_in_the_zone_nothing_is_known() {
    let now = after(0);
    assert_eq!(Leases::default().take(quota(), 1, None, now), Taken::Unknown);
    let mut full = TestZone::default();
    full.full = true;
    assert_eq!(Leases::default().take(quota(), 1, Some(&full), now), Taken::Unknown);
}

#[test]
fn quotas_whose_cells_collide_are_kept_apart() {
    let gate = Gate::default();
    let other = Quota { key: b"user:32060020", ..quota() };
    gate.take(1, 0);
    gate.leases.borrow_mut().take(other, 1, Some(&gate.zone), after(0));
    // One's cell lies in the place of the other's, as if both had one CRC.
    let cells = names_of_cells(&gate.zone);
    let cell = gate.zone.read(&cells[1]).unwrap();
    gate.zone.put(&cells[0], &cell.value);
    let mut leases = gate.leases.borrow_mut();
    let mut admitted = |quota| {
        let mut take = || leases.take(quota, 1, Some(&gate.zone), after(0));
        (0..9).map(|_| take()).filter(|taken| matches!(taken, Taken::Granted { .. })).count()
    };
    // The one whose cell is gone guesses anew, and the other goes on.
    let mut both = [admitted(quota()), admitted(other)];
    both.sort();
    assert_eq!((both, names_of_cells(&gate.zone).len()), ([4, 5], 3));
}

fn names_of_cells(zone: &TestZone) -> Vec<String> {
    zone.names().into_iter().filter(|name| name.starts_with("lease")).collect()
}

#[test]
fn a_flood_of_callers_is_bounded_and_has_no_quota_forgotten_that_is_held_or_used_up() {
    let gate = Gate::default();
    let held = Quota { rule: "held", ..quota() };
    gate.leases.borrow_mut().take(held, 1, Some(&gate.zone), after(0));
    gate.take(1, 0);
    let report = gate.report(0).unwrap();
    let mut answer = granting(&report, 50, 100);
    let used_up = answer.shares.iter_mut().find(|share| share.rule == quota().rule).unwrap();
    (used_up.granted, used_up.left, used_up.retry_after_ms) = (5, 0, 86_000);
    gate.answer(&answer);
    assert_eq!(gate.admitted(100, 1), 4);
    for n in 0..100_000 {
        let address = format!("10.{n}");
        let quota = Quota { key: address.as_bytes(), ..quota() };
        let taken = gate.leases.borrow_mut().take(quota, 1, Some(&gate.zone), after(2));
        assert!(matches!(taken, Taken::Granted { .. }), "{n}: {taken:?}");
    }
    assert!(names_of_cells(&gate.zone).len() <= 4 * 4_096);
    let mut leases = gate.leases.borrow_mut();
    assert!(leases.take_displaced() > 50_000);
    assert!(leases.active.len() <= MOST_QUOTAS);
    let zone = Some(&gate.zone as &dyn Zone);
    assert!(matches!(leases.take(quota(), 1, zone, after(3)), Taken::Exhausted(_)));
    assert_eq!(leases.take(held, 1, zone, after(3)), Taken::Granted { left: 148 });
}

#[test]
fn where_every_place_is_needed_there_is_no_room() {
    let gate = Gate::default();
    let mut leases = gate.leases.borrow_mut();
    let zone = Some(&gate.zone as &dyn Zone);
    leases.take(quota(), 1, zone, after(0));
    let (report, sent) = leases.report(zone, after(0)).unwrap();
    leases.answered(&sent, &granting(&report, 50, 0), zone);
    let [name] = names_of_cells(&gate.zone).try_into().unwrap();
    let needed = gate.zone.read(&name).unwrap().value;
    for kind in ["leasea", "leaseb", "leasec", "leased"] {
        for number in 0..4_096 {
            gate.zone.put(&format!("{kind}{number:04x}"), &needed);
        }
    }
    let other = Quota { key: b"user:2", ..quota() };
    assert_eq!(leases.take(other, 1, zone, after(1)), Taken::NoRoom);
    // When their leases are over, and nobody has reported for long, there is.
    assert!(matches!(leases.take(other, 1, zone, after(70_000)), Taken::Granted { .. }));
}

#[test]
fn two_workers_share_a_lease_and_one_of_them_reports() {
    let gate = Gate::default();
    let mut other = Leases::default();
    let zone = Some(&gate.zone as &dyn Zone);
    gate.take(1, 0);
    other.take(quota(), 1, zone, after(0));
    let report = gate.report(0).unwrap();
    assert_eq!(report.holdings[0].used, 2);
    assert_eq!(other.report(zone, after(1)).map(|_| ()), None);
    gate.answer(&granting(&report, 12, 0));
    for _ in 0..5 {
        gate.take(1, 2);
        other.take(quota(), 1, zone, after(2));
    }
    assert!(matches!(other.take(quota(), 1, zone, after(2)), Taken::Exhausted(_)));
    let (later, _) = other.report(zone, after(250)).unwrap();
    assert_eq!((later.holdings[0].used, &later.node), (12, &report.node));
    assert_eq!(later.memory.as_deref(), Some("m1"));
}

#[test]
fn more_quotas_than_fit_into_a_report_take_turns() {
    let gate = Gate::default();
    let mut leases = gate.leases.borrow_mut();
    for user in 0..MAX_HOLDINGS * 2 {
        let key = format!("user:{user:04}");
        leases.take(Quota { key: key.as_bytes(), ..quota() }, 1, Some(&gate.zone), after(0));
    }
    let mut told = Vec::new();
    for at in [0, 1] {
        let (report, _) = leases.report(Some(&gate.zone), after(at)).unwrap();
        assert_eq!(report.holdings.len(), MAX_HOLDINGS);
        told.extend(report.holdings.into_iter().map(|holding| holding.key));
        leases.unanswered();
    }
    told.sort();
    told.dedup();
    assert_eq!(told.len(), MAX_HOLDINGS * 2);
}
