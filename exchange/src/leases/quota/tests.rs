use super::*;

const BURST: u64 = 1_000;
const TTL: u64 = 10_000;

/// A quota of 1,000 an hour, and its nodes as they see themselves.
struct World {
    quota: Quota,
    now: Ms,
    lost_at: Option<Ms>,
}

impl World {
    fn new() -> Self {
        let now = 1_000_000;
        Self { quota: Quota::untouched(&node(1), now), now, lost_at: None }
    }

    /// The node `name` reports, and takes the answer to heart.
    fn report(&mut self, name: &str, holding: &mut Holding) -> Share {
        holding.seq += 1;
        let share = self.receive(name, holding);
        holding.granted = share.granted;
        holding.left = share.left;
        holding.told_at_ms = share.told_at_ms;
        share
    }

    /// The report arrives as it is.
    fn receive(&mut self, name: &str, holding: &Holding) -> Share {
        let known = self.lost_at.is_none_or(|at| holding.told_at_ms > at);
        let moment = Moment { now: self.now, born_at: 0, lost_at: self.lost_at, known };
        let share = self.quota.report(name, holding, moment);
        let all = self.quota.available + signed(self.quota.leased());
        assert!(all <= signed(BURST), "{all} units: {:?}", self.quota);
        share
    }
}

fn node(lease: u64) -> Holding {
    Holding {
        rule: "r".to_owned(),
        key: "k".to_owned(),
        amount: BURST,
        period_ms: 3_600_000,
        burst: BURST,
        ttl_ms: TTL,
        lease,
        seq: 0,
        granted: 0,
        used: 0,
        released: 0,
        wanted: 200,
        left: 0,
        told_at_ms: 0,
    }
}

#[test]
fn a_node_gets_what_it_wants_while_there_is_enough_for_all() {
    let mut world = World::new();
    let mut a = node(1);
    let share = world.report("a", &mut a);
    assert_eq!((share.granted, share.keep, share.left, share.retry_after_ms), (200, 200, 800, 0));
    a.used = 50;
    assert_eq!(world.report("a", &mut a).granted, 250);
    let share = world.report("b", &mut node(1));
    assert_eq!((share.granted, share.left), (200, 550));
}

#[test]
fn what_is_scarce_is_shared_and_given_out_to_the_last_unit() {
    let mut world = World::new();
    let mut nodes = [node(1), node(2), node(3)];
    for holding in &mut nodes {
        holding.wanted = 50_000;
    }
    for _ in 0..50 {
        for (holding, name) in nodes.iter_mut().zip(["a", "b", "c"]) {
            world.report(name, holding);
            holding.used = holding.granted;
        }
    }
    let used = nodes.iter().map(|holding| holding.used).sum::<u64>();
    assert_eq!((used, world.quota.available), (BURST, 0));
    assert!(nodes.iter().all(|holding| holding.used > 100), "{nodes:?}");
    let share = world.report("a", &mut nodes[0]);
    assert_eq!(share.retry_after_ms, 3_600, "one unit takes so long to come back");
    world.now += 3_600;
    assert_eq!(world.report("a", &mut nodes[0]).granted, nodes[0].used + 1);
}

#[test]
fn whoever_holds_more_than_its_part_is_told_to_give_back() {
    let mut world = World::new();
    let mut a = Holding { wanted: 5_000, ..node(1) };
    for _ in 0..20 {
        world.report("a", &mut a);
    }
    assert_eq!(a.granted, BURST);
    let mut b = Holding { wanted: 5_000, ..node(1) };
    assert_eq!(world.report("b", &mut b).granted, 0);
    assert_eq!(world.report("a", &mut a).keep, 500);
    a.released = 500;
    world.report("a", &mut a);
    for _ in 0..20 {
        world.report("b", &mut b);
    }
    assert_eq!(b.granted, 500);
}

#[test]
fn a_report_that_is_late_or_comes_twice_changes_nothing() {
    let mut world = World::new();
    let mut a = node(1);
    world.report("a", &mut a);
    let old = a.clone();
    a.used = 100;
    a.released = 40;
    world.report("a", &mut a);
    let before = world.quota.clone();
    for late in [&old, &a] {
        let share = world.receive("a", late);
        assert_eq!(share.granted, a.granted);
        assert_eq!(world.quota, before);
    }
    // Nor does one about a lease that the node has forgotten since.
    world.report("a", &mut node(2));
    let before = world.quota.clone();
    assert_eq!(world.receive("a", &a).granted, 0);
    assert_eq!(world.quota, before);
}

#[test]
fn what_a_node_guessed_is_charged() {
    let mut world = World::new();
    let mut a = Holding { used: 5, ..node(1) };
    let share = world.report("a", &mut a);
    assert_eq!((share.granted, share.left), (205, 795));
    a.used = 215;
    let share = world.report("a", &mut a);
    assert_eq!((share.granted, share.left), (415, 585));
    // More than there is: a debt, and nobody gets anything until it is paid.
    a.used = 2_000;
    let share = world.report("a", &mut a);
    assert_eq!((share.granted, share.left), (2_000, -1_000));
    assert_eq!(share.retry_after_ms, 1_001 * 3_600);
    assert_eq!(world.report("b", &mut node(1)).granted, 0);
}

#[test]
fn a_node_that_dies_gives_back_its_lease_but_for_what_it_may_have_used() {
    let mut world = World::new();
    let (mut a, mut b) = (node(1), node(1));
    world.report("a", &mut a);
    world.report("b", &mut b);
    for _ in 0..40 {
        world.now += 240;
        world.report("b", &mut b);
    }
    assert_eq!(world.quota.leased(), 400, "both hold theirs");
    for _ in 0..2 {
        world.now += 240;
        world.report("b", &mut b);
    }
    // Of 200 wanted for 10 s it may have used 20 in the last one.
    assert_eq!(world.quota.leases["a"].unused(), 0);
    assert_eq!(b.left, 780);
    // It is not dead after all, and had used 150 by then.
    a.used = 150;
    assert_eq!(world.receive("a", &Holding { seq: 9, wanted: 0, ..a.clone() }).left, 650);
    // Or it had used less.
    assert_eq!(world.receive("a", &Holding { seq: 10, wanted: 0, used: 10, ..a }).granted, 150);
}

#[test]
fn while_nobody_reports_no_lease_ends() {
    let mut world = World::new();
    let (mut a, mut b) = (node(1), node(1));
    world.report("a", &mut a);
    world.report("b", &mut b);
    world.now += 9_000;
    world.report("a", &mut a);
    assert_eq!(world.quota.leased(), 400, "the store was away for nine seconds");
    world.now += 1_000;
    world.report("a", &mut a);
    assert_eq!(world.quota.leased(), 400, "and b still has all but the first of its ten");
}

#[test]
fn a_store_without_memory_is_told_by_the_nodes_what_was_and_leases_nothing_until_all_have() {
    let mut world = World::new();
    let (mut a, mut b) = (node(1), node(1));
    world.report("a", &mut a);
    world.report("b", &mut b);
    a.used = 150;
    b.used = 120;
    world.now += 1_000;
    world.lost_at = Some(world.now);
    world.quota = Quota::untouched(&a, world.now);
    let share = world.report("a", &mut a);
    assert_eq!((share.granted, share.left), (200, 800), "as it was before b had its part");
    assert_eq!(share.retry_after_ms, TTL);
    let share = world.report("b", &mut b);
    assert_eq!((share.granted, share.left), (200, 600));
    // Somebody new gets nothing yet.
    assert_eq!(world.report("c", &mut node(5)).granted, 0);
    world.now += TTL;
    assert!(world.report("a", &mut a).granted > 200);
}

#[test]
fn a_burst_that_is_made_smaller_holds_for_what_is_not_leased() {
    let mut world = World::new();
    let mut a = node(1);
    world.report("a", &mut a);
    world.now += 250;
    a.burst = 300;
    let share = world.report("a", &mut a);
    assert_eq!((share.granted, share.left), (200, 100));
}

#[test]
fn more_nodes_than_fit_push_out_the_one_not_heard_of_for_longest() {
    let mut world = World::new();
    for at in 0..=MOST_NODES {
        world.now += 10;
        world.report(&format!("n{at}"), &mut Holding { wanted: 2, ..node(1) });
    }
    assert_eq!(world.quota.leases.len(), MOST_NODES);
    assert!(!world.quota.leases.contains_key("n0"));
}

#[test]
fn a_clock_that_is_set_back_refills_nothing() {
    let mut world = World::new();
    let mut a = Holding { used: 900, ..node(1) };
    world.report("a", &mut a);
    let left = world.quota.available;
    world.now -= 500_000;
    a.wanted = 0;
    assert_eq!(world.report("a", &mut a).left, left);
}
