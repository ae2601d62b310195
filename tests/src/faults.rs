//! `cargo stack faults`: the exchange is broken on purpose, again and again, and what it had
//! acknowledged is looked for afterwards.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::{
    artifacts::Artifacts,
    exchange::{Exchange, Installed},
    host::HostKind,
    interrupt::unless_interrupted,
    run_dir::RunDir,
};

mod kill9;
mod ledger;
mod sigterm;

/// How long the exchange may take until it is ready again.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// How long it may take to end once it is asked to.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

/// What to break.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// Only this; everything without it
    #[arg(value_enum)]
    pub name: Option<Fault>,
    /// A small part of it, as among the tests
    #[arg(long)]
    pub short: bool,
    /// Chooses the moments; printed, so that a run can be repeated
    #[arg(long)]
    pub seed: Option<u64>,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The exchange is killed while it writes (`kill -9`).
    Kill9,
    /// The exchange is asked to stop while it is being asked for things.
    Sigterm,
}

impl Fault {
    /// Its name, as the command line has it.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// What is needed to break something.
struct Lab<'a> {
    artifacts: &'a Artifacts,
    short: bool,
    random: fastrand::Rng,
}

impl Lab<'_> {
    /// An exchange of its own, and where it keeps everything.
    async fn exchange(&self) -> Result<(RunDir, Exchange)> {
        let run = RunDir::new()?;
        let installed = Installed::new(self.artifacts, &run, "http://127.0.0.1:1")?;
        let exchange = Exchange::start(installed, &run).await?;
        Ok((run, exchange))
    }

    /// How much of something, if there is to be `whole` of it, and `part` in a short run.
    const fn of<T: Copy>(&self, whole: T, part: T) -> T {
        if self.short { part } else { whole }
    }

    /// Lets a while of work pass, up to `most_ms`.
    async fn some_time(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(5..most_ms))).await;
    }
}

/// Breaks it, and says whether everything held.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<bool> {
    let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let artifacts = Artifacts::build(HostKind::choose(host)?)?;
    let mut held = true;
    for fault in Fault::value_variants() {
        if settings.name.is_some_and(|name| name != *fault) {
            continue;
        }
        let random = fastrand::Rng::with_seed(seed);
        let mut lab = Lab { artifacts: &artifacts, short: settings.short, random };
        let broken = async {
            match fault {
                Fault::Kill9 => kill9::run(&mut lab).await,
                Fault::Sigterm => sigterm::run(&mut lab).await,
            }
        };
        match unless_interrupted(broken).await {
            Ok(said) => println!("ok    {}: {said}", fault.name()),
            Err(error) => {
                println!("WRONG {}: {error:#}", fault.name());
                held = false;
            }
        }
    }
    Ok(held)
}
