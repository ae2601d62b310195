//! Copies that `serve` makes by itself.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};

use super::{BackupError, file, write};
use crate::{metrics::Metrics, time::UnixTime};

/// How a copy's name begins and ends; in between is when it was made, in seconds since 1970.
const NAME: (&str, &str) = ("exchange-", ".db");

/// How often it is looked whether a copy is due.
const LOOK: Duration = Duration::from_secs(60);

/// Where copies go, how often, and how many stay.
#[derive(Debug, Clone)]
pub struct Schedule {
    /// The folder.
    pub folder: PathBuf,
    /// How old the newest may become.
    pub every: Duration,
    /// How many stay.
    pub keep: usize,
}

/// Copies `database` whenever that is due, for ever.
pub async fn keep(database: PathBuf, schedule: Schedule, metrics: Metrics) {
    let mut ticks = interval(LOOK.min(schedule.every));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (database, schedule) = (database.clone(), schedule.clone());
        let now = UnixTime::now();
        let done = spawn_blocking(move || once(&database, &schedule, now)).await;
        match done {
            Ok(Ok(None)) => {}
            Ok(Ok(Some((path, bytes)))) => {
                metrics.backed_up(now);
                tracing::info!(path = %path.display(), bytes, "the database was copied");
            }
            Ok(Err(error)) => tracing::error!(%error, "the database was not copied"),
            Err(error) => tracing::error!(%error, "the database was not copied"),
        }
    }
}

/// Makes a copy if the newest is too old, and deletes those that are too many.
fn once(
    database: &Path,
    schedule: &Schedule,
    now: UnixTime,
) -> Result<Option<(PathBuf, u64)>, BackupError> {
    let Schedule { folder, every, keep } = schedule;
    fs::create_dir_all(folder).map_err(file(folder))?;
    let newest = copies(folder)?.last().map(|(at, _)| *at);
    if newest.is_some_and(|newest| now.since(newest) < *every && newest <= now) {
        return Ok(None);
    }
    let path = folder.join(format!("{}{}{}", NAME.0, now.as_secs(), NAME.1));
    let bytes = write(database, &path)?;
    let copies = copies(folder)?;
    for (_, old) in copies.iter().take(copies.len().saturating_sub(*keep)) {
        fs::remove_file(old).map_err(file(old))?;
    }
    Ok(Some((path, bytes)))
}

/// The copies in `folder`, the oldest first.
fn copies(folder: &Path) -> Result<Vec<(UnixTime, PathBuf)>, BackupError> {
    let mut copies = Vec::new();
    for entry in fs::read_dir(folder).map_err(file(folder))? {
        let path = entry.map_err(file(folder))?.path();
        let at = path.file_name().and_then(|name| {
            name.to_str()?.strip_prefix(NAME.0)?.strip_suffix(NAME.1)?.parse().ok()
        });
        copies.extend(at.map(|at| (UnixTime::from_secs(at), path)));
    }
    copies.sort();
    Ok(copies)
}
