//! A short storm as part of every test run; the long one is the command `storm`.

// A failure is what a test is for.
#![allow(clippy::panic)]

use std::time::{Duration, Instant};

use kombi_strict_host::{filter::Filter, storm};

#[test]
fn a_short_storm_breaks_nothing() {
    let filter = Filter::gate();
    let begun = Instant::now();
    let mut tally = storm::Tally::default();
    let mut seed = 0;
    while begun.elapsed() < Duration::from_secs(10) {
        match storm::run(&filter, seed) {
            Ok(seen) => tally.add(seen),
            Err(wreck) => panic!("{wreck}"),
        }
        seed += 1;
    }
    println!("{seed} scenarios: {tally:?}");
    assert!(tally.forwarded > 0 && tally.refused > 0 && tally.unavailable > 0, "{tally:?}");
}

#[test]
fn a_seed_is_one_scenario() {
    let filter = Filter::gate();
    for seed in 0..5 {
        let run = || storm::run(&filter, seed).unwrap_or_else(|wreck| panic!("{wreck}"));
        assert_eq!(run(), run(), "seed {seed}");
    }
}
