//! Limits that nodes share, over real stores. A store that is not installed here is skipped, and
//! its tests are reported as ignored, not as passed.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod property;

use libtest_mimic::{Arguments, Failed, Trial};
use stack::shared_store::StoreKind;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("whatever_happens_no_more_is_admitted_on_memory", || {
            block_on(property::holds_on_memory())
        }),
        Trial::test("who_dies_with_the_memory_costs_what_it_used", || {
            block_on(property::who_dies_with_the_memory_costs_what_it_used())
        }),
        Trial::test("what_is_charged_while_a_memory_is_rebuilt_stays_charged", || {
            block_on(property::what_is_charged_while_a_memory_is_rebuilt_stays_charged())
        }),
    ];
    for kind in StoreKind::ALL {
        let (program, missing) = (kind.program(), kind.find().is_none());
        if missing {
            eprintln!("SKIPPED: the tests on {program} need it: `apt-get install {program}`.");
        }
        let name = format!("whatever_happens_no_more_is_admitted_on_{program}");
        let trial = Trial::test(name, move || block_on(property::holds_on(kind)));
        trials.push(trial.with_ignored_flag(missing));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

fn block_on(test: impl Future<Output = anyhow::Result<()>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(test).map_err(|error| Failed::from(format!("{error:#}")))
}
