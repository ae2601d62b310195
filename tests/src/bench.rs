//! `cargo stack bench`: what a request costs the gateway, with the filter, without it, and with the
//! host's own means. One gateway, one run; every case in turn, again and again, so that whatever
//! else the machine does falls on all of them alike.

use std::{process::Command, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;

use self::{
    backend::Backend, report::Report, rounds::Rounds, routes::Surroundings, tokens::Tokens,
};
use crate::{
    artifacts::{self, Artifacts},
    host::{Gateway, HostKind, KONG_BIN, Ports, Setup},
    interrupt::unless_interrupted,
    issuer::Issuer,
    run_dir::RunDir,
    shared_store::{SharedStore, StoreKind},
    told::tell,
};

pub mod ai;
mod backend;
mod case;
mod chart;
mod compare;
pub(crate) mod cpu;
pub mod exchange;
mod load;
mod native;
pub mod page;
mod report;
mod rounds;
mod routes;
mod tokens;
mod trial;
mod verdict;

/// How to measure.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Prints JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// How long one case is measured at a time.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// How often every case is measured; medians count.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// How many clients send at the same time, each on a connection of its own.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// How many tokens the cold cases send in turn; more than any cache of tokens may hold.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u16).range(1..))]
    pub tokens: u16,
    /// Which cases are measured, beside the plain route; all, if none is named.
    #[arg(long, value_delimiter = ',')]
    pub cases: Vec<String>,
}

/// Measures and prints.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<()> {
    let json = settings.json;
    let report = unless_interrupted(measure(settings, host)).await?;
    tell(json.then(|| report.json()), report);
    Ok(())
}

/// Starts a gateway with a route for each case, and measures them.
pub async fn measure(settings: Settings, host: Option<HostKind>) -> Result<Report> {
    let kind = HostKind::choose(host)?;
    if kind == HostKind::Docker {
        bail!(
            "the bench measures the gateway's processes, and those in a container cannot be seen \
             from here: choose --host kong (with {KONG_BIN}) or --host envoy"
        );
    }
    let artifacts = Artifacts::build_for_bench(kind)?;
    let run = RunDir::new()?;
    let measured = measure_on(kind, &artifacts, &settings, &run).await;
    measured.map_err(|error| anyhow!("{error:#}\n{}", run.logs()))
}

async fn measure_on(
    kind: HostKind,
    artifacts: &Artifacts,
    settings: &Settings,
    run: &RunDir,
) -> Result<Report> {
    let duration = Duration::try_from_secs_f64(settings.seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .with_context(|| format!("--seconds: expected a time, found {}", settings.seconds))?;
    let backend = Backend::start()?;
    let issuer = Issuer::start(artifacts, run).await?;
    eprintln!("     Minting {} tokens", settings.tokens);
    let tokens = Tokens::mint(&issuer, settings.tokens).await?;
    let store = match kind {
        HostKind::Kong => redis(run).await?,
        HostKind::Envoy | HostKind::Docker => None,
    };
    let cases = case::chosen(case::on(kind, store.is_some()), &settings.cases)?;
    let native = match kind {
        HostKind::Envoy => native::filters(&issuer).await?,
        HostKind::Kong | HostKind::Docker => Vec::new(),
    };
    let redis = store.as_ref().map(SharedStore::port);
    let surroundings = Surroundings { backend: &backend, issuer: &issuer, redis };
    let routes = routes::render(kind, &cases, &surroundings).await?;
    // One worker sees every request; what it leaves of the machine is for clients and backend.
    let setup = Setup {
        routes: &routes,
        native: &native,
        workers: 1,
        http2: false,
        ports: Ports::choose(None)?,
        trusted: None,
        proxied: false,
    };
    let gateway = Gateway::start(kind, artifacts, setup, run).await?;
    for case in &cases {
        trial::run(case, &gateway, &tokens).await?;
    }
    let rounds = Arc::new(Rounds::new(&gateway, cases, &tokens, duration, settings.connections)?);
    let mut report = Report::new(kind, version(kind, artifacts)?, settings.clone());
    for number in 1..=settings.rounds {
        eprintln!("   Measuring round {number} of {}", settings.rounds);
        let rounds = Arc::clone(&rounds);
        // Not on this thread: it must be free for Ctrl-C.
        report.add(tokio::task::spawn_blocking(move || rounds.measure()).await??);
    }
    Ok(report)
}

/// What Kong's `rate-limiting` counts in, for the one case that needs it.
async fn redis(run: &RunDir) -> Result<Option<SharedStore>> {
    let kind = StoreKind::Redis;
    if kind.find().is_none() {
        let (missing, case) = (kind.program(), case::route::LUA_LIMIT_REDIS);
        eprintln!("     Without {missing}, {case} is left out: `apt-get install {missing}`");
        return Ok(None);
    }
    SharedStore::start(kind, run).await.map(Some)
}

/// The host's version.
fn version(kind: HostKind, artifacts: &Artifacts) -> Result<String> {
    match kind {
        HostKind::Envoy => {
            let envoy = artifacts.envoy.as_ref().context("Envoy was not prepared")?;
            let text = artifacts::output(Command::new(envoy).arg("--version"))?;
            // "… version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL"
            Ok(text.split('/').rev().nth(3).unwrap_or(text.trim()).to_owned())
        }
        HostKind::Kong | HostKind::Docker => {
            let kong = std::env::var_os(KONG_BIN).with_context(|| format!("no {KONG_BIN}"))?;
            Ok(artifacts::output(Command::new(kong).arg("version"))?.trim().to_owned())
        }
    }
}
