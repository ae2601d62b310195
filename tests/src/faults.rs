//! `cargo stack faults`: the exchange is broken on purpose, again and again, and what it had
//! acknowledged is looked for afterwards.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use kombi_spec::{
    header,
    usage::{
        Call, Endpoint, SUBJECT,
        report::{Report, Sums},
        reserve::{self, ReserveRequest},
        settle::{
            self, EndReason, MAX_SETTLEMENTS, SettleAnswer, SettleRequest, Settlement, Tokens,
            UsageSource,
        },
    },
};
use reqwest::Client;
use tokio::task::JoinSet;

use crate::{
    answer,
    artifacts::Artifacts,
    exchange::{Exchange, Installed},
    host::HostKind,
    interrupt::unless_interrupted,
    run_dir::RunDir,
};

/// How many write at once.
const WRITERS: u64 = 8;

/// How long the exchange may take until it is ready again.
const READY_WITHIN: Duration = Duration::from_secs(2);

/// What to break.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// Only this; everything without it
    #[arg(value_enum)]
    pub name: Option<Fault>,
    /// How often
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    pub times: u16,
    /// Chooses the moments; printed, so that a run can be repeated
    #[arg(long)]
    pub seed: Option<u64>,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// The exchange is killed while it writes (`kill -9`).
    Kill9,
}

/// Breaks it, and says whether everything held.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<bool> {
    let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let artifacts = Artifacts::build(HostKind::choose(host)?)?;
    let all = [Fault::Kill9];
    let mut held = true;
    for fault in all.into_iter().filter(|one| settings.name.is_none_or(|name| name == *one)) {
        let mut random = fastrand::Rng::with_seed(seed);
        let broken = async {
            match fault {
                Fault::Kill9 => kill9(&artifacts, settings.times, &mut random).await,
            }
        };
        let name = format!("{fault:?}").to_lowercase();
        match unless_interrupted(broken).await {
            Ok(said) => println!("ok    {name}: {said}"),
            Err(error) => {
                println!("WRONG {name}: {error:#}");
                held = false;
            }
        }
    }
    Ok(held)
}

/// Kills the exchange while it writes: nothing that it acknowledged is lost, nothing is there
/// twice, and it is ready again soon.
async fn kill9(artifacts: &Artifacts, times: u16, random: &mut fastrand::Rng) -> Result<String> {
    let run = RunDir::new()?;
    let installed = Installed::new(artifacts, &run, "http://127.0.0.1:1")?;
    let mut exchange = Exchange::start(installed, &run).await?;
    let (mut sent, mut acknowledged, mut slowest) = (0, Vec::new(), Duration::ZERO);
    for round in 0..times {
        // Each round signs anew: assertions do not live long.
        let writing = Writers::new(&exchange)?.start(round);
        tokio::time::sleep(Duration::from_millis(random.u64(5..120))).await;
        exchange.kill()?;
        let (tried, answered) = writing.stop().await;
        sent += tried;
        acknowledged.extend(answered);
        let started = Instant::now();
        exchange.crash_and_restart().await?;
        slowest = slowest.max(started.elapsed());
    }
    ensure!(!acknowledged.is_empty(), "nothing was ever acknowledged");
    let before = rows(&exchange)?;
    let (written, known) = (before.calls + before.open, i64::try_from(acknowledged.len())?);
    ensure!(
        (known..=i64::try_from(sent)?).contains(&written),
        "{known} acknowledged, {sent} sent, and {written} rows"
    );
    // A row that was lost would be written by its settlement, and be one more.
    let fresh = Writers::new(&exchange)?;
    for some in acknowledged.chunks(MAX_SETTLEMENTS) {
        fresh.settle(some).await?;
    }
    let after = rows(&exchange)?;
    ensure!(
        after.calls + after.open == written,
        "{} acknowledged rows were lost",
        after.calls + after.open - written
    );
    ensure!(after.calls == known, "{known} acknowledged, and {} of them settled", after.calls);
    exchange.verify_audit()?;
    ensure!(slowest <= READY_WITHIN, "ready again only after {} ms", slowest.as_millis());
    Ok(format!(
        "killed {times} times while {known} of {sent} reservations were acknowledged: each is there \
         once; ready again after {} ms at most",
        slowest.as_millis()
    ))
}

fn rows(exchange: &Exchange) -> Result<Sums> {
    let report: Report = serde_json::from_value(exchange.usage_by_model()?)?;
    Ok(report.rows.into_iter().next().unwrap_or_default())
}

/// Those who write at once.
struct Writers {
    client: Client,
    url: String,
    reserving: String,
    settling: String,
}

/// Writers at work.
struct Writing {
    tasks: JoinSet<u64>,
    acknowledged: Arc<Mutex<Vec<String>>>,
}

impl Writers {
    fn new(exchange: &Exchange) -> Result<Self> {
        let url = exchange.url();
        let sign = |path: &str| exchange.assertion(SUBJECT, &format!("{url}{path}"));
        Ok(Self {
            client: answer::client()?,
            reserving: sign(reserve::PATH)?,
            settling: sign(settle::PATH)?,
            url,
        })
    }

    /// Reserves as fast as it goes, until the exchange is gone.
    fn start(&self, round: u16) -> Writing {
        let acknowledged = Arc::<Mutex<Vec<String>>>::default();
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (client, url) = (self.client.clone(), format!("{}{}", self.url, reserve::PATH));
            let (assertion, answered) = (self.reserving.clone(), Arc::clone(&acknowledged));
            tasks.spawn(async move {
                let mut sent = 0;
                loop {
                    let id = format!("{round}-{writer}-{sent}");
                    sent += 1;
                    let request = ReserveRequest {
                        request_id: id.clone(),
                        attempt: 1,
                        call: call(),
                        input_tokens: 1,
                        max_output_tokens: Some(1),
                        choices: 1,
                    };
                    let post = client.post(&url).header(header::ASSERTION, &assertion);
                    match post.json(&request).send().await {
                        Ok(answer) if answer.status().is_success() => {
                            answered.lock().unwrap_or_else(PoisonError::into_inner).push(id);
                        }
                        _ => return sent,
                    }
                }
            });
        }
        Writing { tasks, acknowledged }
    }

    async fn settle(&self, ids: &[String]) -> Result<()> {
        let settlement = |id: &String| Settlement {
            request_id: id.clone(),
            attempt: 1,
            call: call(),
            sent_at: 1_795_478_400,
            usage: Tokens { input: 1, ..Tokens::default() },
            usage_source: UsageSource::Provider,
            end_reason: EndReason::Completed,
            status: Some(200),
            provider_request_id: None,
            first_token_ms: None,
            duration_ms: 1,
        };
        let body = SettleRequest { settlements: ids.iter().map(settlement).collect::<Vec<_>>() };
        let post = self.client.post(format!("{}{}", self.url, settle::PATH));
        let answer = post.header(header::ASSERTION, &self.settling).json(&body).send().await?;
        let answer: SettleAnswer = answer.error_for_status()?.json().await?;
        ensure!(answer.outcomes.len() == ids.len(), "not every settlement was answered");
        Ok(())
    }
}

impl Writing {
    /// Waits until every writer has noticed; how much they sent, and what was acknowledged.
    async fn stop(mut self) -> (u64, Vec<String>) {
        let mut sent = 0;
        while let Some(tried) = self.tasks.join_next().await {
            sent += tried.unwrap_or_default();
        }
        let acknowledged = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (sent, acknowledged)
    }
}

fn call() -> Call {
    Call {
        subject: "faults".to_owned(),
        org: None,
        plan: None,
        provider: "openai".to_owned(),
        model: "gpt-x".to_owned(),
        endpoint: Endpoint::ChatCompletions,
        stream: false,
        route: "faults".to_owned(),
    }
}
