//! The exchange dies, and then its log is damaged: it starts with everything that it acknowledged,
//! or it does not start and says why.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{
    Lab,
    ledger::{Connections, Ledger, Outcome, all_there},
};
use crate::exchange::Exchange;

/// How many transactions are in the log, each acknowledged.
const WRITES: u64 = 40;

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let (mut whole, mut refused) = (0, 0);
    let times = lab.of(30, 6);
    for round in 0..times {
        let (_run, mut exchange) = lab.exchange().await?;
        let acknowledged = write(&exchange).await?;
        exchange.kill()?;
        let log = log_of(&exchange.database());
        let size = fs::metadata(&log).context("it left no log behind")?.len();
        let at = lab.random.u64(1..size);
        match round % 3 {
            // Something was being written.
            0 => {
                let mut file = File::options().append(true).open(&log)?;
                file.write_all(&vec![7; lab.random.usize(1..9_000)])?;
            }
            1 => File::options().write(true).open(&log)?.set_len(at)?,
            _ => flip(&log, at)?,
        }
        match exchange.start_again().await {
            Ok(()) => {
                all_there(&exchange, WRITES, &acknowledged).await.with_context(|| {
                    format!("byte {at} of {size} of the log, in the way {}", round % 3)
                })?;
                whole += 1;
            }
            Err(_) => {
                says_why(&exchange)?;
                ensure!(round % 3 != 0, "it does not start after an ordinary crash");
                refused += 1;
            }
        }
    }
    Ok(format!(
        "of {times} logs that grew by garbage, lost their end or had a byte changed, {refused} were \
         refused with a clear message, and with {whole} all that was acknowledged is there"
    ))
}

/// Writes, one after the other; what was acknowledged.
pub(super) async fn write(exchange: &Exchange) -> Result<Vec<String>> {
    let ledger = Ledger::of(exchange)?;
    let ids: Vec<String> = (0..WRITES).map(|number| number.to_string()).collect();
    for id in &ids {
        let outcome = ledger.reserve(id, Connections::Kept).await;
        ensure!(matches!(outcome, Outcome::Acknowledged), "a reservation was not acknowledged");
    }
    Ok(ids)
}

/// An error unless the last thing that the exchange said is what is damaged.
pub(super) fn says_why(exchange: &Exchange) -> Result<()> {
    let log = exchange.log()?;
    let last = log.lines().last().unwrap_or_default();
    ensure!(
        last.starts_with("kombi-exchange: KOMBI_EXCHANGE_DATA: ") && last.contains("damaged"),
        "it did not start, and said {last:?}"
    );
    Ok(())
}

/// Turns every bit of a byte over.
pub(super) fn flip(path: &Path, at: u64) -> Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(file.write_all_at(&byte.map(|byte| !byte), at)?)
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
