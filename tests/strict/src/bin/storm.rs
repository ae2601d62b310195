//! The long run: `cargo run --release -p kombi-strict-host --bin storm -- --seconds 600`.
//!
//! Every scenario has a seed; `--seed N` begins there, and `--once` repeats just that one.

use std::{
    process::ExitCode,
    time::{Duration, Instant, SystemTime},
};

use clap::Parser;
use kombi_strict_host::{filter::Filter, storm};

/// Storms against the gate on the strict host.
#[derive(Parser)]
struct Arguments {
    /// How long to go on, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first scenario's seed; chosen by the clock, if nobody says.
    #[arg(long)]
    seed: Option<u64>,
    /// Run the one scenario of `--seed` and no more.
    #[arg(long, requires = "seed")]
    once: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let by_clock = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        since.as_secs() << 20
    };
    let first = arguments.seed.unwrap_or_else(by_clock);
    println!("first seed: {first}");
    let filter = Filter::gate();
    let begun = Instant::now();
    let mut tally = storm::Tally::default();
    let mut seed = first;
    loop {
        match storm::run(&filter, seed) {
            Ok(seen) => tally.add(seen),
            Err(wreck) => {
                println!("{wreck}");
                println!("repeat it with --seed {seed} --once");
                return ExitCode::FAILURE;
            }
        }
        seed = seed.wrapping_add(1);
        if arguments.once || begun.elapsed() >= Duration::from_secs(arguments.seconds) {
            break;
        }
    }
    let scenarios = seed.wrapping_sub(first);
    println!("{scenarios} scenarios in {:.0} s: {tally:?}", begun.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}
