//! Thousands of clients that send a byte now and then: nobody else is answered later for it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{io::AsyncWriteExt, net::TcpStream, task::JoinSet, time::sleep};

use super::{
    Lab,
    ledger::{Connections, Ledger, Outcome},
};
use crate::{exchange::Exchange, statistics::quantile};

/// How many others there are.
const OTHERS: usize = 4;

/// How long a slow client waits before its next byte.
const BETWEEN_BYTES: Duration = Duration::from_secs(5);

/// What this process has open besides.
const BESIDES: u64 = 200;

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let (slow, requests, rounds) = lab.of((5_000, 2_000, 5), (500, 200, 1));
    let open = slow as u64 + BESIDES;
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(most >= open, "{open} open files are needed, and {most} allowed (ulimit -Hn)");
    // The exchange inherits it.
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let (_run, exchange) = lab.exchange().await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        without.push(p99(&exchange, &format!("{round}-without"), requests).await?);
        let crowd = Crowd::gather(&exchange, slow).await?;
        with.push(p99(&exchange, &format!("{round}-with"), requests).await?);
        ensure!(crowd.stands(), "a slow client was cut off");
    }
    let median = |all| quantile(all, 50).context("there are rounds");
    let (without, with) = (median(without)?, median(with)?);
    // A short run is too short for a verdict on time.
    ensure!(lab.short || with < without * 2, "p99 {with:.1?} beside them, {without:.1?} without");
    Ok(format!(
        "{slow} slow connections: others' p99 is {with:.1?}, and {without:.1?} without them (medians of \
         {rounds}, by turns; fdatasync of the disk included)"
    ))
}

/// Slow clients. Dropped, they leave.
struct Crowd(JoinSet<()>);

impl Crowd {
    async fn gather(exchange: &Exchange, count: usize) -> Result<Self> {
        let address = exchange.url().trim_start_matches("http://").to_owned();
        let mut crowd = JoinSet::new();
        for number in 0..count {
            let mut stream =
                TcpStream::connect(&address).await.context("a slow client is not let in")?;
            crowd.spawn(async move {
                let step = BETWEEN_BYTES.as_millis() * number as u128 / count as u128;
                sleep(Duration::from_millis(u64::try_from(step).unwrap_or_default())).await;
                while stream.write_all(b"G").await.is_ok() {
                    sleep(BETWEEN_BYTES).await;
                }
            });
        }
        Ok(Self(crowd))
    }

    /// Whether all are still there.
    fn stands(mut self) -> bool {
        self.0.try_join_next().is_none()
    }
}

/// The 99th percentile of how long the others wait, of so many requests each.
async fn p99(exchange: &Exchange, round: &str, requests: usize) -> Result<Duration> {
    let ledger = Ledger::of(exchange)?;
    let mut others = JoinSet::new();
    for other in 0..OTHERS {
        let (ledger, round) = (ledger.clone(), round.to_owned());
        others.spawn(async move {
            let mut took = Vec::with_capacity(requests);
            for number in 0..requests {
                let (id, asked) = (format!("{round}-{other}-{number}"), Instant::now());
                let outcome = ledger.reserve(&id, Connections::Kept).await;
                ensure!(matches!(outcome, Outcome::Acknowledged), "somebody was not answered");
                took.push(asked.elapsed());
            }
            Ok(took)
        });
    }
    let mut took = Vec::new();
    for other in others.join_all().await {
        took.extend(other?);
    }
    quantile(took, 99).context("nobody asked")
}
