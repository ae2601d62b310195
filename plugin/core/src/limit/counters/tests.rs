use super::*;
use crate::{
    limit::{
        address::Source,
        key::{Caller, Part},
        pace::WholeAt,
    },
    zone::tests::TestZone,
};

const NOW_S: u64 = 1_750_000_000;

fn key(n: u32) -> Key {
    let source = Some(Source::of(std::net::Ipv4Addr::from_bits(n).into()));
    Key::of(&[Part::Source], &Caller { identity: None, source }).unwrap()
}

fn record(used_s: u64) -> Record {
    let whole_at = WholeAt((NOW_S + used_s) * 1_000_000_000);
    Record { rule: RuleId(1), whole_at, whole_after_ns: 100_000_000_000 }
}

#[derive(Default)]
struct Worker {
    memory: Memory,
    leases: Leases,
    tally: Tally,
}

impl Worker {
    fn counters<'a>(&'a mut self, zone: &'a TestZone) -> Counters<'a> {
        let now = UnixTime::from_secs(NOW_S);
        let Self { memory, leases, tally } = self;
        Counters { zone: Some(zone), memory, leases, tally, now }
    }

    fn note(&mut self, zone: &TestZone, n: u32, used_s: u64) -> Result<(), Fault> {
        self.counters(zone).change(&key(n), |_| vec![record(used_s)])
    }

    fn read(&mut self, zone: &TestZone, n: u32) -> Result<WholeAt, Fault> {
        self.counters(zone).find(&key(n)).map(|found| found.whole_at(RuleId(1)))
    }

    fn troubles(&mut self) -> Vec<(Trouble, u64)> {
        self.tally.take().troubles
    }
}

#[test]
fn the_number_of_buckets_follows_the_zone_and_is_bounded() {
    for (bytes, expected) in [
        (Some(16 << 20), 8_192),
        (Some(10 << 20), 4_096),
        (Some(512 << 10), 256),
        (Some(0), 64),
        (Some(u64::MAX), 65_536),
        (None, 16_384),
    ] {
        assert_eq!(buckets(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn no_two_buckets_have_names_with_the_same_crc32() {
    let crc32 = |bytes: &[u8]| {
        !bytes.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
            })
        })
    };
    for kind in KINDS {
        let all: std::collections::BTreeSet<u32> =
            (0..65_536).map(|number| crc32(Name::of(kind, number).as_str().as_bytes())).collect();
        assert_eq!(all.len(), 65_536);
    }
    assert_eq!(Name::of(b'a', 0x1f09).as_str(), "limita1f09");
}

#[test]
fn a_cell_of_somebody_else_is_left_alone_and_another_name_is_used() {
    let zone = TestZone::default();
    let mut worker = Worker::default();
    worker.note(&zone, 1, 10).unwrap();
    let name = zone.names().into_iter().find(|name| name.starts_with("limita")).unwrap();
    zone.wipe();
    let mut worker = Worker::default();
    zone.put(&name, b"{\"keys\":[]}");
    worker.note(&zone, 1, 10).unwrap();
    assert_eq!(worker.read(&zone, 1), Ok(record(10).whole_at));
    assert_eq!(zone.read(&name).unwrap().value, b"{\"keys\":[]}");
    assert_eq!(zone.names().len(), 3, "two buckets and the seed");
    // Where every name is taken, there is no room.
    zone.put(&name, b"x");
    zone.put(&name.replace("limita", "limitb"), b"x");
    let third = name.replace("limita", "limitc");
    zone.put(&third, b"y");
    assert_eq!(worker.read(&zone, 1), Err(Fault::NoRoom));
}

#[test]
fn a_zone_that_takes_nothing_is_found_out_in_bounded_time() {
    let mut zone = TestZone::default();
    zone.full = true;
    assert_eq!(Worker::default().note(&zone, 1, 10), Err(Fault::NotWritten));
    let mut worker = Worker::default();
    let now = UnixTime::from_secs(NOW_S);
    let Worker { memory, leases, tally } = &mut worker;
    let mut nowhere = Counters { zone: None, memory, leases, tally, now };
    assert_eq!(nowhere.change(&key(1), |_| vec![record(1)]), Err(Fault::NoZone));
}

#[test]
fn counters_that_the_zone_loses_are_missed_once_by_every_worker_that_used_them() {
    let zone = TestZone::default();
    let (mut a, mut b) = (Worker::default(), Worker::default());
    a.note(&zone, 1, 10).unwrap();
    b.note(&zone, 1, 20).unwrap();
    zone.wipe();
    assert_eq!(a.read(&zone, 1), Ok(WholeAt::default()));
    assert_eq!(a.troubles(), [(Trouble::Lost, 1)]);
    a.note(&zone, 1, 10).unwrap();
    assert_eq!(a.troubles(), []);
    // The bucket is there again, but not the one that this worker left.
    let now = UnixTime::from_millis(NOW_S * 1_000 + 1);
    let made_later = Bucket::new(u32::MAX, now);
    assert_ne!(made_later.made_at(), Bucket::new(0, UnixTime::from_secs(NOW_S)).made_at());
    zone.wipe();
    b.read(&zone, 1).unwrap();
    assert_eq!(b.troubles(), [(Trouble::Lost, 1)]);
    b.read(&zone, 1).unwrap();
    assert_eq!(b.troubles(), []);
}

#[test]
fn workers_whose_zone_lost_the_seed_agree_on_one_again() {
    let zone = TestZone::default();
    let worker = |chance| Worker { memory: Memory::with_chance(chance), ..Worker::default() };
    let (mut a, mut b) = (worker(1), worker(2));
    a.note(&zone, 1, 10).unwrap();
    assert_eq!(b.read(&zone, 1), Ok(record(10).whole_at));
    zone.wipe();
    // A third begins before the others look after the seed.
    let mut c = worker(3);
    c.note(&zone, 1, 30).unwrap();
    for old in [&mut a, &mut b] {
        assert!(old.memory.tend(&zone));
        assert!(!old.memory.tend(&zone), "once");
        assert_eq!(old.read(&zone, 1), Ok(record(30).whole_at));
    }
    assert!(!c.memory.tend(&zone));
}

#[test]
fn counters_that_are_whole_are_not_missed() {
    let zone = TestZone::default();
    let mut worker = Worker::default();
    worker.note(&zone, 1, 10).unwrap();
    zone.wipe();
    let now = UnixTime::from_secs(NOW_S + 11);
    let Worker { memory, leases, tally } = &mut worker;
    Counters { zone: Some(&zone), memory, leases, tally, now }.find(&key(1)).map(|_| ()).unwrap();
    assert_eq!(worker.troubles(), []);
}

#[test]
fn a_million_callers_cannot_have_a_hot_counter_forgotten() {
    let zone = TestZone::default();
    let mut worker = Worker::default();
    let (hot, warm) = (u32::MAX, u32::MAX - 1);
    worker.note(&zone, hot, 100).unwrap();
    worker.note(&zone, warm, 55).unwrap();
    for n in 0..1_000_000 {
        // Each has used a hundredth of what it may.
        worker.note(&zone, n, 1).unwrap();
    }
    assert_eq!(worker.read(&zone, hot), Ok(record(100).whole_at));
    assert_eq!(worker.read(&zone, warm), Ok(record(55).whole_at));
    assert!(zone.names().len() <= 16_384 + 1);
    let counts = worker.tally.take();
    let displaced = counts.troubles.iter().find(|(trouble, _)| *trouble == Trouble::Displaced);
    assert!(displaced.is_some_and(|(_, times)| *times > 500_000), "{displaced:?}");
    assert_eq!(counts.news, [Trouble::Displaced]);
}
