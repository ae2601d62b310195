//! `cargo stack ledger`: calls of AI models by the thousand, while clients leave, the provider
//! fails, and the exchange and the gateway's workers die. Then the ledger is compared with what the
//! provider served, call by call.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Args;
use kombi_spec::usage::report::{Report, Sums};

use crate::{
    ai::Accounting,
    host::HostKind,
    interrupt::unless_interrupted,
    stack::{Options, Stack},
    told::tell,
};
use figures::Figures;
use load::{Load, Seen};
use provider::Provider;

pub mod figures;
pub mod load;
pub mod provider;

/// How long the gateway may take to tell the ledger by itself: longer than a worker waits before it
/// tells what a dead one left behind, and shorter than the reaper.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

/// How long the ledger may take until every row is settled: longer than the reaper waits.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);

/// A text by tokens, in OpenAI's vocabulary.
static STORY: LazyLock<Vec<&str>> =
    LazyLock::new(|| include_str!("ledger/story.txt").split('|').collect());

fn story() -> &'static [&'static str] {
    &STORY
}

/// How many tokens of text the call asks with.
fn input(number: usize) -> usize {
    20 + number % 60
}

/// What to do.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// How many calls; each has a row of its own in the report, which has at most 10,000.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(20..=10_000))]
    pub calls: u16,
    /// How many at once.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub at_once: u16,
    /// Prints nothing but figures, as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What a call is like: of twenty, four are left by their client, and one fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One document.
    Whole,
    /// A stream to its end.
    Stream,
    /// A stream that its client leaves.
    Left,
    /// The provider fails.
    Fails,
}

impl Kind {
    /// Of the call with this number.
    #[must_use]
    pub const fn of(number: usize) -> Self {
        match number % 20 {
            0 | 5 | 10 | 15 => Self::Left,
            7 => Self::Fails,
            even if even % 2 == 0 => Self::Stream,
            _ => Self::Whole,
        }
    }
}

/// Calls, compares, and says whether the ledger is right.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<bool> {
    let figures = unless_interrupted(measure(settings, host)).await?;
    tell(settings.json.then(|| figures.json()), figures.table());
    Ok(figures.held())
}

const KILLED_EXCHANGE: &str = "the exchange was killed and started again";
const RELOADED: &str = "the gateway was reloaded";
const KILLED_WORKER: &str = "a worker of the gateway was killed";

/// Calls and compares.
pub async fn measure(settings: Settings, host: Option<HostKind>) -> Result<Figures> {
    let provider = Provider::start().await?;
    let port = Some(provider.port());
    let options =
        Options { host, ai: Some(Accounting::Ledger), provider: port, ..Options::default() };
    let mut stack = Stack::start(options).await?;
    let token = stack.issuer.token("ada").await?;
    stack.wait_for_models(&token).await?;
    let url = format!("{}/ai/v1/chat/completions", stack.gateway.url());
    let calls = usize::from(settings.calls);
    let load = Load::start(&url, &token, calls, settings.at_once.into())?;
    let mut faults = Vec::new();
    reach(&load, calls / 4).await;
    stack.exchange()?.crash_and_restart().await?;
    faults.push(KILLED_EXCHANGE);
    reach(&load, calls / 2).await;
    if stack.gateway.reload().await? {
        faults.push(RELOADED);
    }
    reach(&load, calls / 4 * 3).await;
    if stack.gateway.kill_worker()? {
        faults.push(KILLED_WORKER);
    }
    let seen = load.finish().await;
    settled(&mut stack, &seen, &provider, TOLD_WITHIN).await?;
    let log = stack.gateway_log();
    let replayed = stack.exchange()?.replay(&log)?;
    let compared = settled(&mut stack, &seen, &provider, SETTLED_WITHIN).await?;
    let figures = Figures { faults, replayed, ..compared };
    if !figures.held() {
        eprintln!("{}", stack.logs());
    }
    Ok(figures)
}

/// Compares once everything is settled, or time is over.
async fn settled(
    stack: &mut Stack,
    seen: &[Seen],
    provider: &Provider,
    within: Duration,
) -> Result<Figures> {
    let deadline = Instant::now() + within;
    loop {
        let rows = rows(stack)?;
        let figures = Figures::compare(seen, &provider.book(), &rows);
        let waits = figures.open + figures.missing > 0 || rows.values().any(|row| row.open > 0);
        if !waits || Instant::now() >= deadline {
            return Ok(figures);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Waits until `count` calls have begun.
async fn reach(load: &Load, count: usize) {
    while load.begun() < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The ledger's rows, by the call's number, which is part of its model's name.
fn rows(stack: &mut Stack) -> Result<BTreeMap<usize, Sums>> {
    let report: Report = serde_json::from_value(stack.exchange()?.usage_by_model()?)?;
    let number = |row: &Sums| row.model.as_deref()?.strip_prefix("gpt-")?.parse().ok();
    let rows = report.rows.into_iter().map(|row| {
        let number = number(&row).with_context(|| format!("a row of {:?}", row.model))?;
        Ok((number, row))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_twenty_calls_four_are_left_and_one_fails() {
        let count = |kind| (0..20).filter(|number| Kind::of(*number) == kind).count();
        assert_eq!((count(Kind::Left), count(Kind::Fails)), (4, 1));
    }
}
