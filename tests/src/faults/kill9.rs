//! The exchange is killed while it writes: nothing that it acknowledged is lost, nothing is there
//! twice, and it is ready again soon.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{
    Lab, READY_WITHIN,
    ledger::{Connections, Ledger, all_there},
};

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let (_run, mut exchange) = lab.exchange().await?;
    let (mut sent, mut acknowledged, mut slowest) = (0, Vec::new(), Duration::ZERO);
    let times = lab.of(100, 5);
    for round in 0..times {
        // Each round signs anew: assertions do not live long.
        let writing = Ledger::of(&exchange)?.write(round, Connections::Kept);
        lab.some_time(120).await;
        exchange.kill()?;
        let written = writing.end().await;
        sent += written.sent;
        acknowledged.extend(written.acknowledged);
        let started = Instant::now();
        exchange.start_again().await?;
        slowest = slowest.max(started.elapsed());
    }
    ensure!(!acknowledged.is_empty(), "nothing was ever acknowledged");
    let known = acknowledged.len();
    all_there(&exchange, sent, &acknowledged).await?;
    ensure!(slowest <= READY_WITHIN, "ready again only after {} ms", slowest.as_millis());
    Ok(format!(
        "killed {times} times while {known} of {sent} reservations were acknowledged: each is there \
         once; ready again after {} ms at most",
        slowest.as_millis()
    ))
}
