//! `cargo stack soak`: hours in minutes. Mixed traffic, while keys are rotated, the gateway is
//! reloaded, and parts of the system fail; then it says whether memory stayed where it was, and
//! whether every request that failed did so because of what was broken at that moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    ai::Accounting,
    bench::cpu::Processes,
    host::HostKind,
    interrupt::unless_interrupted,
    stack::{HOMELAB, Options, Stack},
    told::tell,
};
use figures::{Figures, Growth};
use load::{Load, Wallet};
use troubles::{Fault, Troubles};

mod figures;
mod load;
mod troubles;

/// Memory may grow by so much after the warm-up, in per cent.
const MOST_GROWTH: f64 = 5.0;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long an instance hangs.
const HANG: Duration = Duration::from_secs(3);

/// Most keys that the issuer makes: it keeps them all, and nobody reads a set of more than 64.
const MOST_ROTATIONS: u32 = 40;

/// What to do.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// How long; in the first two fifths processes are ended and reloaded, in the rest their memory
    /// is watched.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1_440))]
    pub minutes: u16,
    /// Prints nothing but figures, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Soaks, prints, and says whether everything held.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<bool> {
    let length = Duration::from_secs(60 * u64::from(settings.minutes));
    let figures = unless_interrupted(soak(length, host)).await?;
    tell(settings.json.then(|| figures.json()), figures.table());
    Ok(figures.held())
}

/// Soaks for about `length`.
pub async fn soak(length: Duration, host: Option<HostKind>) -> Result<Figures> {
    let options =
        Options { host, instances: &[HOMELAB], ai: Some(Accounting::Ledger), ..Options::default() };
    let stack = Stack::start(options).await?;
    let wallet = Wallet::filled(&stack.issuer).await?;
    stack.wait_for_models(&wallet.ada()).await?;
    let troubles = Arc::new(Troubles::default());
    let load = Load::start(&stack.gateway.url(), &wallet, &troubles)?;
    let mut soak = Soak { stack, wallet, troubles, gateway: Vec::new(), exchange: Vec::new() };
    let (begun, storm) = (Instant::now(), length * 2 / 5);
    let all = [Fault::Reload, Fault::ExchangeKilled, Fault::InstanceHangs, Fault::Rotation];
    soak.go_on(begun + storm, pause(storm), &all).await?;
    // From here on no process is ended, so what each holds can be compared.
    soak.gateway.clear();
    soak.exchange.clear();
    let rest = length - storm;
    soak.go_on(begun + length, pause(rest), &[Fault::Rotation, Fault::InstanceHangs]).await?;
    let tallies = load.finish().await;
    let figures = Figures {
        host: soak.stack.gateway.kind().to_string(),
        length: begun.elapsed(),
        faults: soak.troubles.counts(),
        tallies,
        gateway: Growth::of(soak.gateway),
        exchange: Growth::of(soak.exchange),
    };
    if !figures.held() {
        eprintln!("{}", soak.stack.logs());
    }
    Ok(figures)
}

/// How long between two faults: often, but not so that the issuer has too many keys.
fn pause(length: Duration) -> Duration {
    (length / MOST_ROTATIONS).max(Duration::from_secs(10))
}

struct Soak {
    stack: Stack,
    wallet: Arc<Wallet>,
    troubles: Arc<Troubles>,
    /// Memory of all its processes, in bytes.
    gateway: Vec<u64>,
    /// The same of the exchange.
    exchange: Vec<u64>,
}

impl Soak {
    /// Looks at memory until `end`, and every `pause` breaks the next of `faults`.
    async fn go_on(&mut self, end: Instant, pause: Duration, faults: &[Fault]) -> Result<()> {
        let (mut next, mut turns) = (Instant::now() + pause, faults.iter().cycle());
        while Instant::now() < end {
            tokio::time::sleep(LOOK).await;
            self.look()?;
            // Whatever it breaks is whole again at the end.
            if Instant::now() >= next && Instant::now() + pause < end {
                let fault = *turns.next().context("there are faults")?;
                self.cause(fault).await?;
                next = Instant::now() + pause;
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<()> {
        let sum = |pid| -> Result<u64> { Ok(Processes::of(pid)?.memory()?.iter().sum()) };
        // A worker that ends while it is looked at is no error; the next look sees the others.
        self.gateway.extend(sum(self.stack.gateway.pid()?).ok());
        let exchange = self.stack.exchange()?.pid();
        self.exchange.extend(sum(exchange).ok());
        Ok(())
    }

    async fn cause(&mut self, fault: Fault) -> Result<()> {
        let trouble = self.troubles.begin(fault);
        match fault {
            Fault::Rotation => {
                self.stack.issuer.rotate("ES256", false).await?;
                self.wallet.fill(&self.stack.issuer).await?;
            }
            Fault::Reload => {
                if !self.stack.gateway.reload().await? {
                    self.troubles.forget(trouble);
                    return Ok(());
                }
            }
            Fault::ExchangeKilled => self.stack.exchange()?.crash_and_restart().await?,
            Fault::InstanceHangs => {
                let instance = self.stack.instances.first().context("the homelab runs")?;
                instance.pause()?;
                tokio::time::sleep(HANG).await;
                instance.go_on()?;
            }
        }
        self.troubles.end(trouble);
        Ok(())
    }
}
