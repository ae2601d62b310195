//! Copies of the database, made while it is used, and the way back to one.

pub mod schedule;

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, backup::Backup};

use crate::{
    data_dir::{DataDir, DataDirError, LOG, LOG_INDEX, beside},
    store::{self, StoreError},
    time::UnixTime,
};

/// There is no copy, or no way back to it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// SQLite says why.
    #[error("{path}: {error}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: rusqlite::Error,
    },
    /// The copy is damaged, and nothing was changed.
    #[error("{path}: expected a whole database of the exchange, found {found}")]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// The directory is in use.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies `database` to the file `to`, which appears at once and whole: what was committed when the
/// copy began is in it. Nobody waits for it meanwhile. How large it is, in bytes.
pub fn write(database: &Path, to: &Path) -> Result<u64, BackupError> {
    let unfinished = beside(to, ".unfinished");
    let copied = copy(database, &unfinished).and_then(|()| {
        whole(&unfinished)?;
        into_place(&unfinished, to)
    });
    if copied.is_err() {
        // What is left of it is of no use.
        let _ = fs::remove_file(&unfinished);
    }
    copied?;
    Ok(fs::metadata(to).map_err(file(to))?.len())
}

/// Puts the copy `from` in the place of the database in `data`, which nobody must be serving from.
/// Where the database is that was there, if there was one.
pub fn restore(from: &Path, data: &DataDir, now: UnixTime) -> Result<Option<PathBuf>, BackupError> {
    let _claim = data.claim()?;
    whole(from)?;
    let database = data.database();
    let unfinished = beside(&database, ".unfinished");
    copy(from, &unfinished)?;
    let kept = set_aside(&database, now)?;
    into_place(&unfinished, &database)?;
    Ok(kept)
}

/// Moves what is in the place of `database` away, with what SQLite has beside it.
fn set_aside(database: &Path, now: UnixTime) -> Result<Option<PathBuf>, BackupError> {
    if fs::metadata(database).map_or(0, |file| file.len()) == 0 {
        return Ok(None);
    }
    let aside = beside(database, &format!(".before-{}", now.as_secs()));
    for suffix in [LOG, LOG_INDEX, ""] {
        let (from, to) = (beside(database, suffix), beside(&aside, suffix));
        match fs::rename(&from, &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved.map_err(file(&from))?,
        }
    }
    Ok(Some(aside))
}

/// One step copies all: between steps somebody could write, and SQLite would begin anew.
fn copy(from: &Path, to: &Path) -> Result<(), BackupError> {
    // SQLite would make it readable for everybody.
    let made = File::options().write(true).create(true).truncate(true).mode(0o600).open(to);
    made.map_err(file(to))?;
    let source = readable(from)?;
    let mut target = Connection::open(to).map_err(database(to))?;
    let backup = Backup::new(&source, &mut target).map_err(database(from))?;
    let all = backup.run_to_completion(i32::MAX, std::time::Duration::from_millis(50), None);
    all.map_err(database(from))?;
    drop(backup);
    // A copy is one file.
    target.pragma_update(None, "journal_mode", "DELETE").map_err(database(to))?;
    target.close().map_err(|(_, error)| BackupError::Database { path: to.to_owned(), error })
}

/// Makes `unfinished` durable, and then `to` what it is.
fn into_place(unfinished: &Path, to: &Path) -> Result<(), BackupError> {
    File::open(unfinished).and_then(|file| file.sync_all()).map_err(file(unfinished))?;
    fs::rename(unfinished, to).map_err(file(to))?;
    let directory = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(file(directory))
}

/// An error unless the file at `path` is a whole database that this program understands.
fn whole(path: &Path) -> Result<(), BackupError> {
    let unfit = |found: String| BackupError::Unfit { path: path.to_owned(), found };
    let connection = readable(path)?;
    let version = connection.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0));
    match version.map_err(|error| unfit(error.to_string()))? {
        0 => return Err(unfit("a database of something else".to_owned())),
        version if version > store::NEWEST => {
            return Err(unfit(format!("one of a later version ({version})")));
        }
        _ => {}
    }
    let check = connection.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0));
    match check.map_err(|error| unfit(error.to_string()))?.as_str() {
        "ok" => Ok(()),
        problem => Err(unfit(problem.lines().next().unwrap_or_default().to_owned())),
    }
}

fn readable(path: &Path) -> Result<Connection, BackupError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(database(path))?;
    connection.busy_timeout(store::sqlite::BUSY_TIMEOUT).map_err(database(path))?;
    Ok(connection)
}

fn file(path: &Path) -> impl Fn(io::Error) -> BackupError {
    move |error| BackupError::File { path: path.to_owned(), error }
}

fn database(path: &Path) -> impl Fn(rusqlite::Error) -> BackupError {
    move |error| BackupError::Database { path: path.to_owned(), error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn a_damaged_copy_is_refused_and_nothing_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::open(&directory.path().join("data")).unwrap();
        drop(Store::open(&data.database()).unwrap());
        let copy = directory.path().join("copy.db");
        assert!(write(&data.database(), &copy).unwrap() > 0);
        let good = fs::read(&copy).unwrap();
        let before = fs::read(data.database()).unwrap();
        let mut torn = good.clone();
        torn[4096..8192].fill(0xa5);
        let other = directory.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
        for bytes in [&good[..good.len() / 2], b"hello", b"", &torn, &fs::read(&other).unwrap()] {
            fs::write(&copy, bytes).unwrap();
            let error = restore(&copy, &data, UnixTime::from_secs(1)).unwrap_err();
            assert!(
                matches!(error, BackupError::Unfit { .. } | BackupError::Database { .. }),
                "{error}"
            );
            assert_eq!(fs::read(data.database()).unwrap(), before);
        }
        fs::write(&copy, &good).unwrap();
        let kept = restore(&copy, &data, UnixTime::from_secs(1)).unwrap().unwrap();
        assert!(kept.ends_with("exchange.db.before-1"));
        Store::open(&data.database()).unwrap();
    }
}
