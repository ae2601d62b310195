//! The database is damaged while the exchange is away: it does not start and says why, or refuses
//! everything once it has found out, or has everything that it acknowledged.

use std::{fs, fs::File, time::Duration};

use anyhow::{Context, Result, ensure};
use kombi_spec::code::Code;

use super::{
    Lab, STOPS_WITHIN,
    ledger::{Connections, Ledger, Outcome, all_there},
    torn_wal::{flip, says_why, write},
    until,
};
use crate::exchange::Exchange;

/// How long it may look for damage that is not found quickly.
const FOUND_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let (mut whole, mut refused, mut closed, mut unreadable) = (0, 0, 0, 0);
    let times = lab.of(30, 6);
    for round in 0..times {
        let (_run, mut exchange) = lab.exchange().await?;
        let acknowledged = write(&exchange).await?;
        exchange.stop(STOPS_WITHIN).await?;
        exchange.move_log_into_database()?;
        let database = exchange.database();
        let size = fs::metadata(&database)?.len();
        let at = lab.random.u64(1..size);
        if round % 3 == 0 {
            File::options().write(true).open(&database)?.set_len(at)?;
        } else {
            flip(&database, at)?;
        }
        if let Err(error) = exchange.start_again_damaged().await {
            says_why(&exchange).with_context(|| {
                format!("byte {at} of {size} of the database, in the way {}: {error:#}", round % 3)
            })?;
            refused += 1;
        } else if found_whole(&exchange).await? {
            let sent = u64::try_from(acknowledged.len())?;
            match all_there(&exchange, sent, &acknowledged).await {
                Ok(()) => whole += 1,
                // A text that is none any more; nothing that SQLite could have found.
                Err(error) if is_told(&format!("{error:#}")) => unreadable += 1,
                Err(error) => {
                    return Err(error.context(format!("byte {at} of {size} of the database")));
                }
            }
        } else {
            is_closed(&exchange).await?;
            closed += 1;
        }
    }
    Ok(format!(
        "of {times} databases that were cut off or had a byte changed, {refused} were refused with a \
         clear message, {closed} are answered for with 503 and not ready, {unreadable} have a row that is \
         refused, and with {whole} all that was acknowledged is there"
    ))
}

/// Whether the exchange, which looks, finds its database whole.
async fn found_whole(exchange: &Exchange) -> Result<bool> {
    let last = || -> Result<String> {
        let log = exchange.log()?;
        let start = log.rfind("\"listening\"").unwrap_or_default();
        Ok(log.get(start..).unwrap_or_default().to_owned())
    };
    let said = |text: &str| Ok::<_, anyhow::Error>(last()?.contains(text));
    let (good, bad) = ("the database is whole", "the database is damaged");
    until(FOUND_WITHIN, "it has looked", async || Ok(said(good)? || said(bad)?)).await?;
    said(good)
}

/// Whether the command line, or an answer, says that it is the database.
fn is_told(error: &str) -> bool {
    error.contains("database: ") || error.contains("503")
}

async fn is_closed(exchange: &Exchange) -> Result<()> {
    let ready = exchange.readiness().await?;
    let why = String::from_utf8_lossy(&ready.body).into_owned();
    ensure!(ready.status == 503 && why.contains("damaged"), "/readyz: {} {why}", ready.status);
    match Ledger::of(exchange)?.reserve("late", Connections::Kept).await {
        Outcome::Refused(answer) if answer.code() == Some(Code::StorageUnavailable) => Ok(()),
        _ => anyhow::bail!("a write was not refused"),
    }
}
