//! Short runs of `cargo stack faults`. What is missing here is said, and its test reported as
//! ignored. Faults that the exchange's own tests show are not run twice.

use libtest_mimic::{Arguments, Failed, Trial};
use stack::faults::{Fault, Settings, run};

/// Any will do.
const SEED: u64 = 9;

fn main() {
    let mut arguments = Arguments::from_args();
    // Each is a load of its own.
    arguments.test_threads = Some(1);
    let trials = [
        ("nothing_that_was_acknowledged_is_lost_or_doubled_by_kill_9", Fault::Kill9),
        ("whatever_reached_the_exchange_before_it_was_asked_to_stop_is_answered", Fault::Sigterm),
        ("a_full_disk_is_refused_and_told_of_until_there_is_space", Fault::DiskFull),
        ("a_damaged_log_is_noticed_or_has_everything", Fault::TornWal),
        ("a_damaged_database_is_noticed_or_has_everything", Fault::Corrupt),
        ("what_is_acknowledged_was_synced_before", Fault::PowerLoss),
        ("nothing_that_was_acknowledged_is_lost_when_postgresql_goes_away", Fault::Postgres),
        ("a_crowd_of_slow_clients_keeps_nobody_from_being_answered", Fault::SlowConnections),
        ("what_is_too_much_is_shed", Fault::Overload),
        ("every_answer_is_as_described_whatever_is_asked", Fault::Schemathesis),
    ];
    let trials = trials.map(|(name, fault)| {
        let missing = fault.missing();
        if let Some(missing) = missing {
            eprintln!("SKIPPED: {}: {missing}", fault.name());
        }
        Trial::test(name, move || holds(fault)).with_ignored_flag(missing.is_some())
    });
    libtest_mimic::run(&arguments, trials.into()).exit();
}

fn holds(fault: Fault) -> Result<(), Failed> {
    // The same moments in each run of the tests; `cargo stack faults` looks for others.
    let settings = Settings { name: Some(fault), short: true, seed: Some(SEED) };
    // One thread for everything: the system ends a process with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(run(settings, None)) {
        Ok(true) => Ok(()),
        Ok(false) => Err("see above".into()),
        Err(error) => Err(format!("{error:#}").into()),
    }
}
