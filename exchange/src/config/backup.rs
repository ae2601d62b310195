//! Copies of the database that `serve` makes, if it does.

use std::{path::PathBuf, time::Duration};

use super::{ConfigError, number};
use crate::{backup::schedule::Schedule, command::serve::ServeArgs, database::Database};

/// Where copies go.
pub const DIR: &str = "KOMBI_EXCHANGE_BACKUP_DIR";
/// How old the newest may become.
pub const EVERY_S: &str = "KOMBI_EXCHANGE_BACKUP_EVERY_S";
/// How many stay.
pub const KEEP: &str = "KOMBI_EXCHANGE_BACKUP_KEEP";

/// The schedule in `args`, for copies of `database`.
pub(super) fn schedule(
    args: &ServeArgs,
    database: &Database,
) -> Result<Option<Schedule>, ConfigError> {
    let bounds = (60, 31 * 24 * 60 * 60);
    let expected = "whole seconds from 60 to 2678400";
    let every = Duration::from_secs(number(EVERY_S, &args.backup_every_s, bounds, expected)?);
    let keep = number(KEEP, &args.backup_keep, (1, 1000), "a number of copies from 1 to 1000")?;
    let folder = args.backup_dir.as_ref().filter(|folder| !folder.is_empty());
    if let (Some(folder), Database::Server(_)) = (folder, database) {
        return Err(ConfigError {
            variable: DIR,
            expected: "no folder, because a PostgreSQL is copied with pg_dump",
            found: format!("{folder:?}"),
        });
    }
    Ok(folder.map(|folder| Schedule { folder: PathBuf::from(folder), every, keep }))
}
