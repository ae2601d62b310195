//! PostgreSQL goes away while there is writing, and comes back: nothing that was acknowledged is
//! lost or there twice, what is refused meanwhile is told so, and all goes on by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};

use super::{
    Lab,
    ledger::{Connections, Ledger, Outcome, all_there},
    until,
};
use crate::{
    exchange::{Exchange, Installed},
    postgres::{self, Durability, Postgres},
    run_dir::RunDir,
};

/// How long the exchange may take to notice that PostgreSQL is away, and that it is back.
const NOTICES_WITHIN: Duration = Duration::from_secs(20);

pub(super) fn missing() -> Option<&'static str> {
    postgres::find().is_none().then_some(postgres::MISSING)
}

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let mut server = Postgres::start(Durability::Full).await?;
    let run = RunDir::new()?;
    let installed = Installed::new(lab.artifacts, &run, "http://127.0.0.1:1")?;
    let installed = installed.on_postgres(server.database("faults")?);
    let exchange = Exchange::start(installed, &run).await?;
    let (mut sent, mut refused, mut acknowledged) = (0, 0, Vec::new());
    let mut slowest = Duration::ZERO;
    let times = lab.of(20, 4);
    for round in 0..times {
        // Each round signs anew: assertions do not live long.
        let ledger = Ledger::of(&exchange)?;
        let stop = Arc::new(AtomicBool::new(false));
        let writing = ledger.write_on(round, &stop);
        lab.some_time(300).await;
        if round % 2 == 0 { server.kill() } else { server.stop() }?;
        let is_ready = async || Ok::<_, anyhow::Error>(exchange.readiness().await?.status == 200);
        until(NOTICES_WITHIN, "it is not ready", async || Ok(!is_ready().await?)).await?;
        server.start_again().await?;
        let back = Instant::now();
        until(NOTICES_WITHIN, "it is ready again", is_ready).await?;
        slowest = slowest.max(back.elapsed());
        let id = format!("{round}-again");
        match ledger.reserve(&id, Connections::New).await {
            Outcome::Acknowledged => acknowledged.push(id),
            _ => bail!("refused in round {round}, although it was ready again"),
        }
        stop.store(true, Ordering::Relaxed);
        let written = writing.end().await;
        if let Some(failure) = written.failures.first() {
            bail!("in round {round}, neither acknowledged nor refused as it should: {failure}");
        }
        sent += written.sent + 1;
        refused += written.refused;
        acknowledged.extend(written.acknowledged);
    }
    ensure!(refused > 0, "nothing was ever refused");
    let known = acknowledged.len();
    all_there(&exchange, sent, &acknowledged).await?;
    Ok(format!(
        "PostgreSQL went away {times} times while {known} of {sent} reservations were acknowledged \
         and {refused} refused with 503: each that was acknowledged is there once; ready again \
         {} ms after PostgreSQL at most",
        slowest.as_millis()
    ))
}
