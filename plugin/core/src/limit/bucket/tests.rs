use super::*;
use crate::limit::address::Source;
use crate::limit::key::{Caller, Part};

const S: u64 = 1_000_000_000;
const NOW_S: u64 = 1_750_000_000;

fn now() -> UnixTime {
    UnixTime::from_secs(NOW_S)
}

fn key(n: u32) -> Key {
    let source = Some(Source::of(std::net::Ipv4Addr::from_bits(n).into()));
    Key::of(&[Part::Source], &Caller { identity: None, source }).unwrap()
}

/// A budget of 100 s of which `used_s` are used.
fn used(rule: u64, used_s: u64) -> Record {
    let whole_at = WholeAt((NOW_S + used_s) * S);
    Record { rule: RuleId(rule), whole_at, whole_after_ns: 100 * S }
}

fn whole_at(bucket: &Bucket, key: &Key, rule: u64) -> Option<WholeAt> {
    bucket.find(key).and_then(|entry| bucket.whole_at(&entry, RuleId(rule)))
}

#[test]
fn every_caller_and_rule_has_a_budget_of_its_own() {
    let mut bucket = Bucket::new(7, now());
    for caller in 0..5 {
        assert_eq!(
            bucket.put(&key(caller), &[used(1, 10), used(2, u64::from(caller) + 1)], now()),
            Ok(0)
        );
    }
    let bucket = Bucket::read(bucket.bytes().to_vec(), 7).unwrap();
    for caller in 0..5 {
        assert_eq!(whole_at(&bucket, &key(caller), 1), Some(used(1, 10).whole_at));
        assert_eq!(
            whole_at(&bucket, &key(caller), 2),
            Some(used(2, u64::from(caller) + 1).whole_at)
        );
        assert_eq!(whole_at(&bucket, &key(caller), 3), None);
    }
    assert_eq!(whole_at(&bucket, &key(9), 1), None);
}

#[test]
fn a_change_leaves_the_others_alone_and_what_is_whole_is_forgotten() {
    let mut bucket = Bucket::new(7, now());
    bucket.put(&key(1), &[used(1, 10), used(2, 20)], now()).unwrap();
    bucket.put(&key(2), &[used(1, 30)], now()).unwrap();
    bucket.put(&key(1), &[used(2, 50)], now()).unwrap();
    assert_eq!(whole_at(&bucket, &key(1), 1), Some(used(1, 10).whole_at));
    assert_eq!(whole_at(&bucket, &key(1), 2), Some(used(2, 50).whole_at));
    let later = UnixTime::from_secs(NOW_S + 30);
    bucket.put(&key(3), &[used(1, 90)], later).unwrap();
    assert_eq!(whole_at(&bucket, &key(2), 1), None, "whole by now");
    assert_eq!(whole_at(&bucket, &key(1), 2), Some(used(2, 50).whole_at));
}

#[test]
fn a_full_bucket_makes_room_by_forgetting_the_least_used_but_no_hot_one() {
    let mut bucket = Bucket::new(7, now());
    let mut callers = 0;
    while bucket.bytes().len() + 50 <= LARGEST {
        callers += 1;
        bucket.put(&key(callers), &[used(1, if callers == 3 { 5 } else { 60 })], now()).unwrap();
    }
    assert!(callers > 15, "{callers}");
    assert_eq!(bucket.put(&key(1_000), &[used(1, 1)], now()), Ok(1));
    assert_eq!(whole_at(&bucket, &key(3), 1), None);
    assert_eq!(bucket.put(&key(1_001), &[used(1, 70)], now()), Ok(1));
    assert_eq!(whole_at(&bucket, &key(1_000), 1), None);
    // Only hot ones are left.
    let before = bucket.clone();
    assert_eq!(bucket.put(&key(1_002), &[used(1, 100)], now()), Err(NoRoom));
    assert!(bucket.put(&key(1), &[used(1, 61)], now()).is_ok(), "whoever is in can go on");
    assert_eq!(before.bytes().len(), bucket.bytes().len());
    assert!(bucket.bytes().len() <= LARGEST);
}

#[test]
fn what_somebody_else_has_written_is_no_bucket() {
    let mut bucket = Bucket::new(7, now());
    bucket.put(&key(1), &[used(1, 10)], now()).unwrap();
    let good = bucket.bytes().to_vec();
    assert!(Bucket::read(good.clone(), 7).is_some());
    assert!(Bucket::read(good.clone(), 8).is_none());
    for length in 0..good.len() {
        let cut = good.get(..length).unwrap().to_vec();
        assert_eq!(Bucket::read(cut, 7).is_some(), length == HEAD, "{length}");
    }
    for bytes in [&b""[..], b"KoL1", b"{\"keys\":[]}", &[0xff; 200]] {
        assert!(Bucket::read(bytes.to_vec(), 7).is_none());
    }
    let more = [good, vec![1]].concat();
    assert!(Bucket::read(more, 7).is_none());
}

#[test]
fn more_rules_than_fit_for_one_caller_have_no_room() {
    let mut bucket = Bucket::new(7, now());
    let records: Vec<Record> = (0..40).map(|rule| used(rule, 60)).collect();
    assert_eq!(bucket.put(&key(1), &records, now()), Err(NoRoom));
    assert_eq!(bucket.put(&key(1), records.get(..30).unwrap(), now()), Ok(0));
}
