//! `cargo stack flood`: what a flood of made-up tokens does to the issuer, and to those whose tokens
//! are good.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use tokio::time::Instant;

use self::{known::Known, report::Report, senders::Flood, tokens::Forger};
use crate::{
    interrupt::unless_interrupted,
    stack::{Options, Stack},
    told::tell,
};

mod known;
mod report;
mod senders;
mod tokens;

pub use report::Report as Outcome;

/// What to flood the gateway with, and how.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// Prints JSON instead of lines.
    #[arg(long)]
    pub json: bool,
    /// How long.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
    pub seconds: u16,
    /// Requests a second; 0 for as many as are answered.
    #[arg(long, default_value_t = 5000)]
    pub rate: u32,
    /// How many clients send at the same time, each on a connection of its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=512))]
    pub connections: u16,
    /// What is wrong with the tokens.
    #[arg(long, value_enum, default_value_t = Forgery::MadeUpKeys)]
    pub with: Forgery,
}

/// What is wrong with the tokens of a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Forgery {
    /// Every token names another key that does not exist, so the issuer might have to be asked.
    MadeUpKeys,
    /// Every token names a key that does exist and has another signature, so each must be verified.
    BrokenSignatures,
}

/// Floods and prints; whether everything was as it must be.
pub async fn run(settings: Settings, options: Options) -> Result<bool> {
    let report = unless_interrupted(measure(settings, options)).await?;
    tell(settings.json.then(|| report.json()), &report);
    Ok(report.is_well())
}

/// Starts a stack, floods it, and tells what became of it.
pub async fn measure(settings: Settings, options: Options) -> Result<Report> {
    let stack = Stack::start(options).await?;
    let flooded = flood(settings, &stack).await;
    flooded.map_err(|error| anyhow!("{error:#}\n{}", stack.logs()))
}

async fn flood(settings: Settings, stack: &Stack) -> Result<Report> {
    let known = Known::warm(stack).await?;
    let forger = Forger::after(known.token(), settings.with)?;
    let asked_before = stack.issuer.key_set_requests().await?;
    let flood = Flood {
        port: stack.gateway.port(),
        connections: settings.connections,
        rate: settings.rate,
        duration: Duration::from_secs(settings.seconds.into()),
    };
    let began = Instant::now();
    // Not on this thread: the good tokens are sent from here meanwhile.
    let sending = tokio::task::spawn_blocking(move || flood.send(&forger));
    let known = known.send_until_done(&sending).await;
    let answers = sending.await.context("a client of the flood panicked")??;
    let took = began.elapsed();
    let asked = stack.issuer.key_set_requests().await? - asked_before;
    Ok(Report { host: stack.gateway.kind(), settings, took, answers, known: known?, asked })
}
