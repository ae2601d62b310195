//! The fuzz targets (`plugin/core/fuzz`) on their seeds, and on many changed seeds.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};

#[path = "../fuzz/src/lib.rs"]
#[allow(clippy::panic, unreachable_pub)] // a library for others, and panicking is its job
mod targets;

/// The seeds of a target; there is always one.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(folder).unwrap();
    files.map(|file| fs::read(file.unwrap().path()).unwrap()).collect()
}

/// What a fuzzer does to a seed: here a byte changes, there some go, others come twice.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Remove(Index, usize),
    Repeat(Index, usize),
    Insert(Index, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let text = prop::sample::select(vec![
        "\"", "{", "}", "[", "]", ",", ":", "null", "-1", "1e999", "\\u0000", ".", "=", " ",
        "\r\n", "x-kombi-", "Bearer ", "none", "kid", "\u{e4}",
    ]);
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (at(), 1..40_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        (at(), text).prop_map(|(at, text)| Change::Insert(at, text.into())),
        (at(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, new)| Change::Insert(at, new)),
    ]
}

fn apply(input: &mut Vec<u8>, change: Change) {
    let place = |at: Index, input: &[u8]| at.index(input.len().max(1)).min(input.len());
    match change {
        Change::Set(at, byte) => {
            let at = place(at, input);
            input.splice(at..(at + 1).min(input.len()), [byte]);
        }
        Change::Flip(at, bit) => {
            let at = place(at, input);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        Change::Remove(at, length) => {
            let at = place(at, input);
            input.drain(at..(at + length).min(input.len()));
        }
        Change::Repeat(at, length) => {
            let at = place(at, input);
            let part = input[at..(at + length).min(input.len())].to_vec();
            input.splice(at..at, part);
        }
        Change::Insert(at, bytes) => {
            let at = place(at, input);
            input.splice(at..at, bytes);
        }
    }
}

/// Runs a target on its seeds, on `cases` changed seeds, and on as many arbitrary inputs.
fn run(target: &str, cases: u32, check: fn(&[u8])) {
    let seeds = seeds(target);
    assert!(!seeds.is_empty(), "{target} has no seeds");
    seeds.iter().for_each(|seed| check(seed));
    let changed = (prop::sample::select(seeds), prop::collection::vec(change(), 1..6));
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&changed, |(mut input, changes)| {
        changes.into_iter().for_each(|change| apply(&mut input, change));
        check(&input);
        Ok(())
    });
    result.unwrap();
    let arbitrary = prop::collection::vec(any::<u8>(), 0..200);
    runner
        .run(&arbitrary, |input| {
            check(&input);
            Ok(())
        })
        .unwrap();
}

#[test]
fn no_authorization_header_passes_but_the_one_with_the_signed_token() {
    run("token", 3_000, targets::token);
}

#[test]
fn no_key_set_makes_a_key_of_what_is_none() {
    run("key_set", 3_000, targets::key_set);
}

#[test]
fn no_claims_grant_what_they_do_not_say() {
    run("roles", 5_000, targets::roles);
}

#[test]
fn no_configuration_opens_a_route_by_mistake() {
    run("config", 5_000, targets::config);
}

#[test]
fn no_headers_pass_for_the_gates_own() {
    run("head", 3_000, targets::head);
}

#[test]
fn no_answer_of_a_provider_loses_anything_but_usage() {
    run("answer", 1_000, targets::answer);
}
