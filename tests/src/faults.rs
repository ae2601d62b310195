//! `cargo stack faults`: the exchange is broken on purpose, again and again, and what it had
//! acknowledged is looked for afterwards.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::{
    artifacts::Artifacts,
    exchange::{Exchange, Installed},
    host::HostKind,
    interrupt::unless_interrupted,
    run_dir::RunDir,
};

mod corrupt;
mod disk_full;
mod kill9;
pub(crate) mod ledger;
mod overload;
mod postgres;
mod power_loss;
mod schemathesis;
mod sigterm;
mod slow_connections;
mod tested;
mod torn_wal;

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
    /// The disk is full, and has space again.
    DiskFull,
    /// The log of the database is damaged after a crash.
    TornWal,
    /// The database is damaged between two runs.
    Corrupt,
    /// The power may go at any moment; needs strace.
    PowerLoss,
    /// PostgreSQL is killed, or stopped, and started again; needs PostgreSQL.
    Postgres,
    /// Thousands of clients send a byte now and then.
    SlowConnections,
    /// There is ten times too much to do.
    Overload,
    /// The database is copied while it is written to.
    Backup,
    /// The gateway's clock is wrong.
    Clock,
    /// An instance is down, slow, or answers with anything but what it should.
    Instance,
    /// Everything is asked for, well and badly made; needs Python 3 with pip.
    Schemathesis,
}

impl Fault {
    /// Its name, as the command line has it.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What is missing here to break it, if anything.
    #[must_use]
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::PowerLoss => power_loss::missing(),
            Self::Postgres => postgres::missing(),
            Self::Schemathesis => schemathesis::missing(),
            _ => None,
        }
    }
}

/// Waits until `state` holds; an error if that takes longer than `time`.
async fn until(
    time: Duration,
    what: &str,
    mut state: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let deadline = Instant::now() + time;
    while !state().await? {
        ensure!(Instant::now() < deadline, "not within {} s: {what}", time.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
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
        if let Some(missing) = fault.missing() {
            // Asked for by name, it was not shown.
            held &= settings.name.is_none();
            println!("SKIPPED {}: {missing}", fault.name());
            continue;
        }
        let random = fastrand::Rng::with_seed(seed);
        let mut lab = Lab { artifacts: &artifacts, short: settings.short, random };
        let broken = async {
            match fault {
                Fault::Kill9 => kill9::run(&mut lab).await,
                Fault::Sigterm => sigterm::run(&mut lab).await,
                Fault::DiskFull => disk_full::run(&mut lab).await,
                Fault::TornWal => torn_wal::run(&mut lab).await,
                Fault::Corrupt => corrupt::run(&mut lab).await,
                Fault::PowerLoss => power_loss::run(&mut lab).await,
                Fault::Postgres => postgres::run(&mut lab).await,
                Fault::SlowConnections => slow_connections::run(&mut lab).await,
                Fault::Overload => overload::run(&mut lab).await,
                Fault::Backup => tested::run(&["backup::a_copy"]),
                Fault::Clock => tested::run(&["assertions::a_clock"]),
                Fault::Schemathesis => schemathesis::run(&mut lab).await,
                Fault::Instance => tested::run(&["hook::", "isolation::"]),
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
