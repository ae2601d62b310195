//! The exchange is asked to stop while it is being asked for things: whatever reached it is
//! answered, and it ends in time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::{
    Lab, STOPS_WITHIN,
    ledger::{Connections, Ledger, rows},
};

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let (_run, mut exchange) = lab.exchange().await?;
    let (mut answered, mut slowest) = (0, Duration::ZERO);
    let times = lab.of(50, 5);
    for round in 0..times {
        let ledger = Ledger::of(&exchange)?;
        let writing = [Connections::Kept, Connections::New].map(|kind| ledger.write(round, kind));
        lab.some_time(120).await;
        let asked = Instant::now();
        exchange.stop(STOPS_WITHIN).await?;
        slowest = slowest.max(asked.elapsed());
        for writing in writing {
            let written = writing.end().await;
            answered += written.acknowledged.len();
            if let Some(failure) = written.failures.first() {
                bail!("a request that had reached it failed in round {round}: {failure}");
            }
        }
        exchange.start_again().await?;
    }
    let rows = rows(&exchange)?;
    ensure!(rows.open == i64::try_from(answered)?, "{answered} answered, {} rows", rows.open);
    Ok(format!(
        "stopped {times} times under load: each of {answered} requests that reached it was \
         answered; it ended after {} ms at most",
        slowest.as_millis()
    ))
}
