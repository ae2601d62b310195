//! The exchange on PostgreSQL: all its tests; that both databases have the same tables; how it gets
//! there, and what `doctor` says of it. Without PostgreSQL, or where a test is about SQLite's files,
//! they are reported as ignored.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod doctor;
mod schema;
mod suite;
mod tls;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use stack::postgres::{self, Durability, Postgres};
use suite::Programs;

fn main() {
    let arguments = Arguments::from_args();
    if postgres::find().is_none() {
        eprintln!("SKIPPED: {}.", postgres::MISSING);
        let all = Trial::test("every_test_of_the_exchange", || Ok(())).with_ignored_flag(true);
        libtest_mimic::run(&arguments, vec![all]).exit();
    }
    let programs = Programs::build();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Arc::new(runtime.block_on(Postgres::start(Durability::None)).unwrap());
    let mut trials = programs.trials(&server);
    let both = Arc::clone(&server);
    trials.push(Trial::test("both_databases_have_the_same_tables", move || schema::same(&both)));
    let (there, program) = (Arc::clone(&server), programs.exchange.clone());
    trials.push(Trial::test("doctor_looks_at_a_postgresql_and_makes_nothing_there", move || {
        doctor::looks(&program, &there)
    }));
    let program = programs.exchange;
    trials.push(Trial::test("what_is_to_be_encrypted_goes_to_nobody_else", move || {
        tls::holds(&program)
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(server);
    conclusion.exit();
}
