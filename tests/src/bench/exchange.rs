//! `cargo stack exchange-bench`: what a login costs through gate and exchange, beside PocketBase's own
//! ways; what the exchange takes in a second; and what it needs to be there at all.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use http_body_util::Full;
use hyper::{Response, body::Bytes};
use kombi_spec::header;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::report::{Report, Round, Settled};
use super::cpu::{self, Processes};
use crate::{
    answer::{self, Answer},
    artifacts::Artifacts,
    exchange::{Exchange, Installed},
    faults::ledger::Ledger,
    host::HostKind,
    interrupt::unless_interrupted,
    kombistack::{SUPERUSER, SUPERUSER_PASSWORD},
    listening::Listening,
    run_dir::RunDir,
    stack::{HOMELAB, Instance, Options, Stack, WayIn},
    statistics::quantile,
    told::tell,
};

mod report;

/// An instance that is entered as a superuser; its own ways in are measured, too.
const BARE: Instance =
    Instance { id: "bare", owner: "ada", members: &[], way_in: WayIn::Superuser };

/// Both.
const INSTANCES: &[Instance] = &[HOMELAB, BARE];

/// The password of the user who logs in by it.
const PASSWORD: &str = "only-for-this-bench";

/// How many ask at once, where the exchange is to be busy.
const AT_ONCE: usize = 64;

/// How many settlements come in one request.
const BATCHES: [usize; 3] = [1, 10, 100];

/// What to measure.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// How often each way is measured, by turns; medians count.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// How many logins each time, one after the other.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    pub logins: u16,
    /// How long the exchange is kept busy with each thing.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    pub seconds: u16,
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
    let kind = HostKind::choose(host)?;
    let mut report = Report::new(kind, settings);
    let options = Options { host: Some(kind), instances: INSTANCES, ..Options::default() };
    let stack = Stack::start(options).await?;
    let rounds = logins(&stack, settings).await;
    report.rounds = rounds.map_err(|error| anyhow!("{error:#}\n{}", stack.logs()))?;
    drop(stack);
    alone(&Artifacts::build(kind)?, &mut report).await?;
    Ok(report)
}

/// The four ways to log in, one after the other, by turns.
async fn logins(stack: &Stack, settings: Settings) -> Result<Vec<Round>> {
    let client = answer::client()?;
    let token = stack.issuer.token("ada").await?;
    let through = |id: &str| {
        let url = format!("{}/sso/instances/{id}/session", stack.gateway.url());
        client.post(url).bearer_auth(&token)
    };
    let bare = stack.instances.iter().find(|one| one.id() == BARE.id).context("it runs")?.url();
    let collections = format!("{bare}/api/collections");
    let superuser = client
        .post(format!("{collections}/_superusers/auth-with-password"))
        .json(&json!({"identity": SUPERUSER, "password": SUPERUSER_PASSWORD}));
    let superuser = text(&good(superuser).await?, "/token")?;
    let user = json!({"email": "by-password@example.com", "password": PASSWORD,
                      "passwordConfirm": PASSWORD});
    let user = client.post(format!("{collections}/users/records")).json(&user);
    let user = text(&good(user.header("authorization", &superuser)).await?, "/id")?;
    let password = || {
        let sign_in = json!({"identity": "by-password@example.com", "password": PASSWORD});
        client.post(format!("{collections}/users/auth-with-password")).json(&sign_in)
    };
    let impersonate = || {
        let url = format!("{collections}/users/impersonate/{user}");
        client.post(url).header("authorization", &superuser)
    };
    // The first of each finds or creates the user, and signs the superuser in.
    for id in [HOMELAB.id, BARE.id] {
        good(through(id)).await?;
    }
    let mut rounds = Vec::new();
    for number in 1..=settings.rounds {
        eprintln!("   Measuring round {number} of {}", settings.rounds);
        let count = settings.logins;
        rounds.push(Round {
            hook: p50(count, || through(HOMELAB.id)).await?,
            superuser: p50(count, || through(BARE.id)).await?,
            password: p50(count, password).await?,
            impersonate: p50(count, impersonate).await?,
        });
    }
    Ok(rounds)
}

/// The median time of so many logins, in milliseconds.
async fn p50(count: u16, login: impl Fn() -> RequestBuilder) -> Result<f64> {
    let mut took = Vec::new();
    for _ in 0..count {
        let asked = Instant::now();
        good(login()).await?;
        took.push(asked.elapsed());
    }
    Ok(quantile(took, 50).unwrap_or_default().as_secs_f64() * 1e3)
}

/// The JSON of the answer; an error unless it is good.
async fn good(request: RequestBuilder) -> Result<Value> {
    let answer = Answer::to(request).await?;
    ensure!(answer.status == 200, "answered with {}", answer.summary());
    Ok(answer.json())
}

fn text(value: &Value, pointer: &str) -> Result<String> {
    let text = value.pointer(pointer).and_then(Value::as_str);
    Ok(text.with_context(|| format!("the answer has no {pointer}"))?.to_owned())
}

/// The exchange by itself, with an instance in this process that answers at once.
async fn alone(artifacts: &Artifacts, report: &mut Report) -> Result<()> {
    let run = RunDir::new()?;
    report.fsync_ms = super::ai::fsync(run.path())?.as_secs_f64() * 1e3;
    let instance = Listening::start(async |_| {
        Response::new(Full::<Bytes>::from(
            r#"{"token":"t","record":{"id":"r1"},"meta":{"kombisphere":"found"}}"#,
        ))
    })
    .await?;
    let installed = Installed::new(artifacts, &run, "http://127.0.0.1:1")?;
    // One instance takes so many logins at once; this is about the exchange.
    let ids: Vec<String> = (0..AT_ONCE / 8).map(|number| format!("lab-{number}")).collect();
    for id in &ids {
        installed.add_instance(id, &instance.url(), "ada", &[])?;
    }
    let mut exchange = Exchange::start(installed, &run).await?;
    for _ in 0..report.settings.rounds {
        exchange.kill()?;
        let started = Instant::now();
        exchange.start_again().await?;
        report.ready_ms.push(started.elapsed().as_secs_f64() * 1e3);
    }
    report.idle_mb = rss_mb(exchange.id())?;
    let time = Duration::from_secs(report.settings.seconds.into());
    let exchange = Arc::new(exchange);
    eprintln!("   Logging in");
    let processes = Processes::of(exchange.id())?;
    let (before, started) = (processes.cpu_time()?, Instant::now());
    let count = log_in(&exchange, &ids, time).await?;
    let (cpu, took) = (processes.cpu_time()? - before, started.elapsed());
    report.logins_per_s = f64::from(count) / took.as_secs_f64();
    report.logins_per_core = f64::from(count) / cpu.as_secs_f64();
    for batch in BATCHES {
        eprintln!("   Settling {batch} at a time");
        report.settled.push(settle(&exchange, batch, time).await?);
    }
    report.busy_mb = rss_mb(exchange.id())?;
    exchange.verify_audit()
}

/// Logs in for so long; how often.
async fn log_in(exchange: &Arc<Exchange>, ids: &[String], time: Duration) -> Result<u32> {
    let (client, until) = (answer::client()?, Instant::now() + time);
    let mut people = JoinSet::new();
    for id in ids.iter().cycle().take(AT_ONCE) {
        let (client, exchange) = (client.clone(), Arc::clone(exchange));
        let url = format!("{}/sso/instances/{id}/session", exchange.url());
        people.spawn(async move {
            let mut count = 0;
            while Instant::now() < until {
                login(&client, &exchange, &url).await?;
                count += 1;
            }
            Ok(count)
        });
    }
    sum(people).await
}

async fn login(client: &Client, exchange: &Exchange, url: &str) -> Result<()> {
    let assertion = exchange.assertion("ada", url)?;
    good(client.post(url).header(header::ASSERTION, assertion)).await.map(drop)
}

/// Settles for so long, so many at a time.
async fn settle(exchange: &Arc<Exchange>, batch: usize, time: Duration) -> Result<Settled> {
    let (ledger, started) = (Ledger::of(exchange)?, Instant::now());
    let mut gates = JoinSet::new();
    for gate in 0..AT_ONCE {
        let ledger = ledger.clone();
        gates.spawn(async move {
            let mut count = 0_u32;
            while started.elapsed() < time {
                let id = |number| format!("{batch}-{gate}-{count}-{number}");
                let ids: Vec<String> = (0..batch).map(id).collect();
                ledger.settle(&ids).await?;
                count += 1;
            }
            Ok(count)
        });
    }
    let requests = sum(gates).await?;
    let events = f64::from(requests) * batch as f64;
    Ok(Settled { batch, per_s: events / started.elapsed().as_secs_f64() })
}

async fn sum(all: JoinSet<Result<u32>>) -> Result<u32> {
    all.join_all().await.into_iter().sum()
}

/// What the process has in memory, in MB.
#[allow(clippy::cast_precision_loss)]
fn rss_mb(pid: u32) -> Result<f64> {
    Ok(cpu::status_bytes(pid, "VmRSS:")? as f64 / 1e6)
}
