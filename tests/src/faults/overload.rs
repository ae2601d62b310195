//! Ten times as many logins as an instance takes, and ten times as many calls as the ledger takes at
//! its best: as many as at the best are still answered well, and the rest is told to come back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use http_body_util::Full;
use hyper::{Response, body::Bytes};
use kombi_spec::{code::Code, header};
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    Lab,
    ledger::{Connections, Ledger, Outcome},
};
use crate::{
    answer::{self, Answer},
    exchange::{Exchange, Installed},
    listening::Listening,
    run_dir::RunDir,
};

/// Of what it does at its best, so much must be left.
const LEFT: f64 = 0.8;

/// How many times too much there is.
const TIMES: u32 = 10;

/// How many logins the instance works on at once, and how long on each.
const INSTANCE: (usize, Duration) = (2, Duration::from_millis(100));

/// How many write at once when the ledger is at its best.
const WRITERS: usize = 64;

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let time = Duration::from_secs(lab.of(6, 2));
    let instance = slow_instance().await?;
    let run = RunDir::new()?;
    let installed = Installed::new(lab.artifacts, &run, "http://127.0.0.1:1")?;
    installed.add_instance("lab", &instance.url(), "ada", &[])?;
    let exchange = Arc::new(Exchange::start(installed, &run).await?);
    let mut said = Vec::new();
    for (what, best, much) in [
        ("logins", logins_at_best(&exchange, time).await?, Load::Logins),
        ("reservations", writes(&exchange, WRITERS, time).await?, Load::Writes),
    ] {
        let much = match much {
            Load::Logins => logins(&exchange, best.good(time) * f64::from(TIMES), time).await?,
            Load::Writes => writes(&exchange, WRITERS * TIMES as usize, time).await?,
        };
        let (best, good) = (best.good(time), much.good(time));
        // So many writers in one process may not get that far ahead of the ledger.
        ensure!(much.shed > 0 || what != "logins", "no {what} were shed");
        ensure!(
            lab.short || good >= best * LEFT,
            "{good:.0} {what} a second, and {best:.0} at best"
        );
        said.push(format!(
            "{best:.0} {what} a second at best, {good:.0} at ten times that, {} shed",
            much.shed
        ));
    }
    Ok(said.join("; "))
}

/// What there is too much of.
enum Load {
    Logins,
    Writes,
}

/// What became of requests.
#[derive(Default)]
struct Count {
    well: u32,
    shed: u32,
}

impl Count {
    fn good(&self, time: Duration) -> f64 {
        f64::from(self.well) / time.as_secs_f64()
    }

    /// An error unless `answer` is good, or tells when to come back.
    fn add(&mut self, answer: &Answer) -> Result<()> {
        match answer.status {
            200 => self.well += 1,
            503 if answer.code() == Some(Code::Overloaded) => {
                ensure!(answer.header("retry-after").is_some(), "shed without Retry-After");
                self.shed += 1;
            }
            _ => anyhow::bail!("a request was answered with {}", answer.summary()),
        }
        Ok(())
    }
}

/// An instance that lets everybody in, a few at a time.
async fn slow_instance() -> Result<Listening> {
    let room = Arc::new(Semaphore::new(INSTANCE.0));
    Listening::start(move |_| {
        let room = Arc::clone(&room);
        async move {
            let _place = room.acquire().await;
            sleep(INSTANCE.1).await;
            Response::new(Full::<Bytes>::from(
                r#"{"token":"t","record":{"id":"r1"},"meta":{"kombisphere":"found"}}"#,
            ))
        }
    })
    .await
}

/// Logs in once.
async fn login(client: &reqwest::Client, exchange: &Exchange) -> Result<Answer> {
    let url = format!("{}/sso/instances/lab/session", exchange.url());
    let assertion = exchange.assertion("ada", &url)?;
    Answer::to(client.post(url).header(header::ASSERTION, assertion)).await
}

/// As many logins as the instance takes.
async fn logins_at_best(exchange: &Arc<Exchange>, time: Duration) -> Result<Count> {
    let (client, until) = (answer::client()?, Instant::now() + time);
    let mut all = JoinSet::new();
    for _ in 0..2 * INSTANCE.0 {
        let (client, exchange) = (client.clone(), Arc::clone(exchange));
        all.spawn(async move {
            let mut count = Count::default();
            while Instant::now() < until {
                count.add(&login(&client, &exchange).await?)?;
            }
            Ok(count)
        });
    }
    sum(all).await
}

/// So many logins a second, whatever becomes of them.
async fn logins(exchange: &Arc<Exchange>, a_second: f64, time: Duration) -> Result<Count> {
    let client = answer::client()?;
    let mut ticks = interval(Duration::from_secs_f64(1.0 / a_second));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut all, until) = (JoinSet::new(), Instant::now() + time);
    while Instant::now() < until {
        ticks.tick().await;
        let (client, exchange) = (client.clone(), Arc::clone(exchange));
        all.spawn(async move {
            let mut count = Count::default();
            count.add(&login(&client, &exchange).await?)?;
            Ok(count)
        });
    }
    sum(all).await
}

/// As many reservations as so many writers get through; who is told to come back does so.
async fn writes(exchange: &Exchange, writers: usize, time: Duration) -> Result<Count> {
    let (ledger, until) = (Ledger::of(exchange)?, Instant::now() + time);
    let mut all = JoinSet::new();
    for writer in 0..writers {
        let ledger = ledger.clone();
        all.spawn(async move {
            let (mut count, mut number) = (Count::default(), 0);
            while Instant::now() < until {
                number += 1;
                let id = format!("{writers}-{writer}-{number}");
                match ledger.reserve(&id, Connections::Kept).await {
                    Outcome::Acknowledged => count.well += 1,
                    Outcome::Refused(answer) => {
                        count.add(&answer)?;
                        let s = answer.header("retry-after").and_then(|s| s.parse().ok());
                        sleep(Duration::from_secs(s.context("no Retry-After")?)).await;
                    }
                    Outcome::Unreachable => anyhow::bail!("nobody listens"),
                    Outcome::Cut(error) => anyhow::bail!("no answer: {error}"),
                }
            }
            Ok(count)
        });
    }
    sum(all).await
}

async fn sum(all: JoinSet<Result<Count>>) -> Result<Count> {
    let mut sum = Count::default();
    for count in all.join_all().await {
        let Count { well, shed } = count?;
        sum.well += well;
        sum.shed += shed;
    }
    Ok(sum)
}
