use std::time::Duration;

use kombi_spec::usage::settle::{EndReason, Tokens, UsageSource};

use super::{super::sample, *};
use crate::{assertion::SigningKey, config::HttpUrl, zone::tests::TestZone};

fn exchange() -> Exchange {
    let url = HttpUrl::parse("http://exchange.internal:8080").unwrap();
    let key = SigningKey::new("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    Exchange::new(url, Duration::from_secs(1), key)
}

fn settlement(request_id: &str) -> Settlement {
    Settlement { request_id: request_id.to_owned(), ..sample::settlement() }
}

fn at(ms: u64) -> UnixTime {
    UnixTime::from_millis(1_000_000 + ms)
}

/// The requests that a call tells of.
fn told(call: &HttpCall) -> Vec<String> {
    assert_eq!(call.path, "/gate/usage/settle");
    let request: SettleRequest = serde_json::from_slice(&call.body).unwrap();
    request.settlements.into_iter().map(|settlement| settlement.request_id).collect()
}

fn ok() -> HttpOutcome {
    HttpOutcome::Answer { status: 200, cache_control: None, body: Vec::new() }
}

/// How many copies are in the zone.
fn copies(zone: &TestZone) -> usize {
    zone.names().iter().filter(|name| !zone.read(name).unwrap().value.is_empty()).count()
}

#[test]
fn what_ended_is_told_on_the_tick_and_forgotten_once_it_is_acknowledged() {
    let (zone, mut outbox) = (TestZone::default(), Outbox::default());
    for id in ["a", "b"] {
        outbox.put(settlement(id), Some(&zone), at(0));
    }
    assert_eq!(copies(&zone), 2);
    let call = outbox.send(&exchange(), Some(&zone), at(1)).unwrap();
    assert_eq!(told(&call), ["a", "b"]);
    outbox.put(settlement("c"), Some(&zone), at(2));
    assert!(outbox.send(&exchange(), Some(&zone), at(3)).is_none(), "one call at a time");
    outbox.sent(ok(), Some(&zone), at(4)).unwrap();
    assert_eq!((outbox.len(), copies(&zone)), (1, 1));
    assert_eq!(told(&outbox.send(&exchange(), Some(&zone), at(5)).unwrap()), ["c"]);
    outbox.sent(ok(), Some(&zone), at(6)).unwrap();
    assert!(outbox.is_empty() && copies(&zone) == 0);
}

#[test]
fn what_is_not_acknowledged_is_told_again_after_pauses_that_grow() {
    let mut outbox = Outbox::default();
    outbox.put(settlement("a"), None, at(0));
    let mut now = 0;
    for (pause, outcome) in [
        (500, HttpOutcome::Failure("timeout".to_owned())),
        (1_000, HttpOutcome::Answer { status: 503, cache_control: None, body: Vec::new() }),
        (2_000, HttpOutcome::Answer { status: 501, cache_control: None, body: Vec::new() }),
    ] {
        assert!(outbox.send(&exchange(), None, at(now)).is_some());
        assert!(outbox.sent(outcome, None, at(now)).is_err());
        assert!(outbox.send(&exchange(), None, at(now + pause - 1)).is_none());
        now += pause;
    }
    for _ in 0..20 {
        now += 30_000;
        assert!(outbox.send(&exchange(), None, at(now)).is_some());
        assert!(outbox.sent(HttpOutcome::Failure(String::new()), None, at(now)).is_err());
    }
    assert_eq!(told(&outbox.send(&exchange(), None, at(now + 30_000)).unwrap()), ["a"]);
}

#[test]
fn one_call_tells_of_a_hundred_at_most_and_fits_the_exchange() {
    let mut outbox = Outbox::default();
    for n in 0..150 {
        outbox.put(settlement(&format!("{n:064}")), None, at(0));
    }
    let call = outbox.send(&exchange(), None, at(0)).unwrap();
    assert_eq!(told(&call).len(), MAX_SETTLEMENTS);
    assert!(call.body.len() <= settle::MAX_BYTES);
    outbox.sent(ok(), None, at(1)).unwrap();
    assert_eq!(told(&outbox.send(&exchange(), None, at(2)).unwrap()).len(), 50);
}

#[test]
fn another_worker_tells_what_one_left_behind() {
    let zone = TestZone::default();
    let mut dead = Outbox::default();
    dead.put(settlement("a"), Some(&zone), at(0));
    drop(dead);
    let (mut one, mut other) = (Outbox::default(), Outbox::default());
    let search = |outbox: &mut Outbox, from: u64| {
        // Long enough to have looked at every slot.
        (0..17).find_map(|s| outbox.send(&exchange(), Some(&zone), at(from + s * 1_000)))
    };
    assert!(search(&mut one, 0).is_none(), "its worker may still live");
    assert_eq!(told(&search(&mut one, 40_000).unwrap()), ["a"]);
    assert!(search(&mut other, 40_000).is_none(), "one is enough");
    one.sent(ok(), Some(&zone), at(60_000)).unwrap();
    assert_eq!(copies(&zone), 0);
    assert!(search(&mut other, 120_000).is_none());
}

#[test]
fn a_will_is_told_only_if_its_worker_dies() {
    for dies in [true, false] {
        let zone = TestZone::default();
        let mut one = Outbox::default();
        let will = one.bequeath(settlement("a"), &zone, at(0)).unwrap();
        assert_eq!((copies(&zone), one.len()), (1, 0), "this worker itself tells nothing");
        if !dies {
            will.revoke(Some(&zone));
            assert_eq!(copies(&zone), 0);
        }
        let mut other = Outbox::default();
        let told_later = (0..17).find_map(|s| {
            other.send(&exchange(), Some(&zone), at(40_000 + s * 1_000)).map(|call| told(&call))
        });
        assert_eq!(told_later, dies.then(|| vec!["a".to_owned()]));
    }
}

#[test]
fn a_zone_that_is_full_mixed_up_or_wiped_loses_nothing_in_memory() {
    for (full, collide) in [(true, false), (false, true), (false, false)] {
        let mut zone = TestZone::default();
        (zone.full, zone.collide) = (full, collide);
        let mut outbox = Outbox::default();
        for id in ["a", "b", "c"] {
            outbox.put(settlement(id), Some(&zone), at(0));
        }
        zone.overwrite_all(b"something else");
        assert_eq!(told(&outbox.send(&exchange(), Some(&zone), at(1)).unwrap()), ["a", "b", "c"]);
        zone.wipe();
        outbox.sent(ok(), Some(&zone), at(2)).unwrap();
        assert!(outbox.is_empty());
    }
}

#[test]
fn memory_is_bounded_and_what_it_cannot_take_is_counted() {
    let mut outbox = Outbox::default();
    for n in 0..MOST + 3 {
        outbox.put(settlement(&n.to_string()), None, at(0));
    }
    assert_eq!((outbox.len(), outbox.take_tally().dropped), (MOST, 3));
    assert_eq!(outbox.take_tally(), Tally::default());
}

#[test]
fn calls_and_tokens_are_counted_by_provider() {
    let mut outbox = Outbox::default();
    let cut = Settlement {
        usage: Tokens { input: 3, output: 4, ..Tokens::default() },
        usage_source: UsageSource::EstimatedAbort,
        end_reason: EndReason::ClientLeft,
        ..settlement("b")
    };
    outbox.put(settlement("a"), None, at(0));
    outbox.put(cut, None, at(0));
    outbox.send(&exchange(), None, at(1)).unwrap();
    outbox.sent(HttpOutcome::Failure("timeout".to_owned()), None, at(2)).unwrap_err();
    outbox.send(&exchange(), None, at(5_000)).unwrap();
    outbox.sent(ok(), None, at(5_001)).unwrap();
    let openai = || "openai".to_owned();
    let tally = Tally {
        calls: [
            ((openai(), "completed", "provider"), 1),
            ((openai(), "client_left", "estimated_abort"), 1),
        ]
        .into(),
        tokens: [((openai(), "input"), 10), ((openai(), "output"), 4)].into(),
        told: 1,
        failed: 1,
        dropped: 0,
    };
    assert_eq!(outbox.take_tally(), tally);
}
