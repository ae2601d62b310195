//! `cargo stack ai-bench`: what it adds to a call of an AI model that it is checked and accounted for,
//! compared with the same gateway leading to the same provider without the filter, in the same run.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use clap::Args;

use self::{
    load::Target,
    provider::Provider,
    report::{Report, Round},
};
use super::cpu::Processes;
use crate::{
    ai::{Accounting, PROVIDER_KEY},
    answer,
    host::HostKind,
    interrupt::unless_interrupted,
    stack::{Options, Stack},
    statistics::quantile,
    told::tell,
};

mod load;
mod provider;
mod report;

/// How many streams the same connections carry. A host may keep some of each for as long as its
/// connection is open, so clients come and go.
const BATCH: usize = 500;

/// How many streams go before memory is looked at: what grows once and for all has grown by then.
const WARM_UP: usize = 2 * BATCH;

/// How many streams at a time, while memory is looked at.
const AT_A_TIME: usize = 32;

/// What to measure.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// How many calls a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub rate: u16,
    /// For how long, each time.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// How often each way is measured, by turns; medians count.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// After how many streams a worker's memory is looked at.
    #[arg(long, default_value_t = 10_000)]
    pub streams: u16,
    /// How many streams are open at once.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..))]
    pub at_once: u16,
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Measures and prints.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<()> {
    let report = unless_interrupted(measure(settings, host)).await?;
    tell(settings.json.then(|| report.json()), report);
    Ok(())
}

/// Measures.
pub async fn measure(settings: Settings, host: Option<HostKind>) -> Result<Report> {
    let duration = Duration::try_from_secs_f64(settings.seconds)
        .with_context(|| format!("--seconds: expected a time, found {}", settings.seconds))?;
    let provider = Provider::start().await?;
    let options = Options {
        host,
        ai: Some(Accounting::Ledger),
        provider: Some(provider.port()),
        ..Options::default()
    };
    let stack = Stack::start(options).await?;
    let measured = measure_on(&stack, &provider, settings, duration).await;
    measured.map_err(|error| anyhow!("{error:#}\n{}", stack.logs()))
}

async fn measure_on(
    stack: &Stack,
    provider: &Provider,
    settings: Settings,
    duration: Duration,
) -> Result<Report> {
    let token = stack.issuer.token("ada").await?;
    stack.wait_for_models(&token).await?;
    let gated = Target {
        client: answer::client()?,
        url: format!("{}/ai/v1/chat/completions", stack.gateway.url()),
        headers: vec![("authorization", format!("Bearer {token}"))],
    };
    // What leads from the gateway to the provider, without the filter before it.
    let plain = Target {
        client: answer::client()?,
        url: format!("{}/chat/completions", stack.gateway.second_pass_url()),
        headers: vec![
            ("authorization", PROVIDER_KEY.to_owned()),
            (kombi_spec::header::AI_PROVIDER, "openai".to_owned()),
        ],
    };
    for target in [&plain, &gated] {
        target.streams(100, AT_A_TIME).await?;
    }
    let mut report = Report::new(stack.gateway.kind(), settings, fsync(stack.directory())?);
    for number in 1..=settings.rounds {
        eprintln!("   Measuring round {number} of {}", settings.rounds);
        let mut round = Round::default();
        for stream in [false, true] {
            for (target, is_gated) in [(&plain, false), (&gated, true)] {
                let took = target.steadily(settings.rate, duration, stream).await?;
                round.add(stream, is_gated, &took);
            }
        }
        report.add(round);
    }
    let processes = Processes::of(stack.gateway.pid()?)?;
    eprintln!("   Looking at memory");
    for (target, is_gated) in [(&plain, false), (&gated, true)] {
        in_batches(target, WARM_UP).await?;
        let before = processes.memory()?;
        in_batches(target, settings.streams.into()).await?;
        report.grown(is_gated, &before, &processes.memory()?);
    }
    let before = processes.memory()?;
    let held = gated.hold(settings.at_once.into()).await?;
    let meanwhile = processes.memory()?;
    provider.go_on();
    held.finish().await?;
    report.held(&before, &meanwhile);
    Ok(report)
}

/// `count` streams, on new connections for each batch.
async fn in_batches(target: &Target, count: usize) -> Result<()> {
    for from in (0..count).step_by(BATCH) {
        let target = Target { client: answer::client()?, ..target.clone() };
        target.streams(BATCH.min(count - from), AT_A_TIME).await?;
    }
    Ok(())
}

/// How long one write takes until it is on disk; the median of a hundred.
pub(super) fn fsync(directory: &Path) -> Result<Duration> {
    let mut file = File::create(directory.join("fsync"))?;
    let mut took = Vec::new();
    for _ in 0..100 {
        let began = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        took.push(began.elapsed());
    }
    quantile(took, 50).context("a hundred writes have a median")
}
