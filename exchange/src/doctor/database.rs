//! The database: whether this program knows it, can write to it, and has room.

use std::{fs, io, path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags};
use tokio::task::spawn_blocking;

use super::Line;
use crate::{data_dir, store::NEWEST};

/// How long another process's transaction may keep us from writing. No transaction takes as long.
const BUSY: Duration = Duration::from_secs(3);

const MIB: u64 = 1024 * 1024;

/// Room below which somebody should know, and below which writes will soon fail.
const LITTLE_ROOM: u64 = 1024 * MIB;
const NO_ROOM: u64 = 100 * MIB;

/// A log that nothing is written back from grows without end.
const LARGE_LOG: u64 = 64 * MIB;

/// Looks at the database in `data`, and says whether this program may use it.
pub(super) async fn look(data: &Path) -> (Vec<Line>, bool) {
    let file = data.join(data_dir::DATABASE);
    let looked = spawn_blocking(move || {
        let mut lines = Vec::new();
        let usable = open(&file, &mut lines);
        if usable.is_some() {
            lines.push(room(&file));
            lines.push(log(&file));
        }
        (lines, usable == Some(true))
    });
    let late = |_| (vec![Line::fail("database", "file", "no answer", "see the disk")], false);
    looked.await.unwrap_or_else(late)
}

/// Whether the schema is this program's; `None` if the file cannot be opened.
fn open(file: &Path, lines: &mut Vec<Line>) -> Option<bool> {
    if let Err(error) = fs::metadata(file) {
        let mend = "see that --data is the directory that `kombi-exchange serve` uses";
        lines.push(Line::fail("database", "file", told(file, &error), mend));
        return None;
    }
    // Nothing is made, and no schema is brought up to date: an older exchange may be using it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let version = Connection::open_with_flags(file, flags).and_then(|connection| {
        connection.busy_timeout(BUSY)?;
        let version: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        Ok((connection, version))
    });
    let (connection, version) = match version {
        Ok(opened) => opened,
        Err(error) => {
            let mend = "if it is damaged, `kombi-exchange restore` a copy";
            lines.push(Line::fail("database", "file", error.to_string(), mend));
            return None;
        }
    };
    lines.push(schema(version));
    let written = connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK");
    lines.push(match written {
        Ok(()) => Line::ok("database", "writable", "a transaction was opened"),
        Err(error) => {
            let mend =
                "see who holds it, whether the disk is full, and to whom the directory belongs";
            Line::fail("database", "writable", error.to_string(), mend)
        }
    });
    Some(version == NEWEST)
}

/// Whether the schema is the one that this program works on.
pub(super) fn schema(version: u32) -> Line {
    let found = format!("version {version}, this program knows {NEWEST}");
    match version {
        NEWEST => Line::ok("database", "schema", found),
        0..NEWEST => {
            let mend =
                "start this version of `kombi-exchange serve`: it brings the schema up to date";
            Line::warn("database", "schema", found, mend)
        }
        _ => {
            let mend =
                "run the version of kombi-exchange that wrote it, or restore a copy from before";
            Line::fail("database", "schema", found, mend)
        }
    }
}

fn room(file: &Path) -> Line {
    match data_dir::free(file) {
        Ok(free) => judge_room(free),
        Err(error) => Line::warn("database", "room", told(file, &error), "see the disk"),
    }
}

fn judge_room(free: u64) -> Line {
    let (found, mend) = (format!("{} MiB free", free / MIB), "make room, or move the data");
    match free {
        0..NO_ROOM => Line::fail("database", "room", found, mend),
        NO_ROOM..LITTLE_ROOM => Line::warn("database", "room", found, mend),
        _ => Line::ok("database", "room", found),
    }
}

fn log(file: &Path) -> Line {
    let bytes = data_dir::size(&data_dir::beside(file, data_dir::LOG));
    let found = format!("{} MiB", bytes / MIB);
    if bytes < LARGE_LOG {
        return Line::ok("database", "write-ahead log", found);
    }
    let mend = "somebody reads without end, or nothing serves: restart the exchange, and end what \
                else has the file open";
    Line::warn("database", "write-ahead log", found, mend)
}

fn told(file: &Path, error: &io::Error) -> String {
    format!("{}: {error}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{data_dir::DataDir, doctor::Outcome, store::Store};

    async fn outcomes(data: &Path) -> (Vec<(String, Outcome)>, bool) {
        let (lines, usable) = look(data).await;
        (lines.into_iter().map(|line| (line.look, line.outcome)).collect(), usable)
    }

    fn fresh() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let file = DataDir::open(directory.path()).unwrap().database();
        drop(Store::open(&file).unwrap());
        (directory, file)
    }

    fn of(found: &[(String, Outcome)], look: &str) -> Outcome {
        found.iter().find(|(name, _)| name == look).unwrap().1
    }

    #[tokio::test]
    async fn a_database_of_this_program_is_good() {
        let (directory, _file) = fresh();
        let (found, usable) = outcomes(directory.path()).await;
        assert!(usable, "{found:?}");
        for look in ["schema", "writable", "write-ahead log"] {
            assert_eq!(of(&found, look), Outcome::Ok, "{look}");
        }
    }

    #[tokio::test]
    async fn no_database_and_what_is_none_are_found_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let (found, usable) = outcomes(directory.path()).await;
        assert_eq!((of(&found, "file"), usable), (Outcome::Fail, false));
        let file = directory.path().join("exchange.db");
        assert!(!file.exists());
        fs::write(&file, "not a database, by any means, but long enough to be looked at").unwrap();
        let (found, usable) = outcomes(directory.path()).await;
        assert_eq!((of(&found, "file"), usable), (Outcome::Fail, false));
    }

    #[tokio::test]
    async fn a_schema_of_another_version_is_left_alone() {
        let (directory, file) = fresh();
        for (version, outcome) in [(1, Outcome::Warn), (99, Outcome::Fail)] {
            Connection::open(&file).unwrap().pragma_update(None, "user_version", version).unwrap();
            let (found, usable) = outcomes(directory.path()).await;
            assert_eq!((of(&found, "schema"), usable), (outcome, false), "{version}");
            let kept: u32 = Connection::open(&file)
                .unwrap()
                .query_row("PRAGMA user_version", [], |row| row.get(0))
                .unwrap();
            assert_eq!(kept, version);
        }
    }

    #[tokio::test]
    async fn a_database_that_another_process_holds_is_not_writable() {
        let (directory, file) = fresh();
        let holder = Connection::open(&file).unwrap();
        holder.execute_batch("BEGIN IMMEDIATE").unwrap();
        let (found, _) = outcomes(directory.path()).await;
        assert_eq!(of(&found, "writable"), Outcome::Fail);
    }

    #[tokio::test]
    async fn a_log_that_nothing_is_written_back_from_is_told() {
        let (directory, file) = fresh();
        let writer = Connection::open(&file).unwrap();
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        writer.execute_batch("CREATE TABLE filler (bytes BLOB)").unwrap();
        writer.execute("INSERT INTO filler VALUES (zeroblob(?1))", [70 * 1024 * 1024]).unwrap();
        let (found, _) = outcomes(directory.path()).await;
        assert_eq!(of(&found, "write-ahead log"), Outcome::Warn);
    }

    #[test]
    fn little_room_is_told_in_time() {
        for (free, outcome) in
            [(50 * MIB, Outcome::Fail), (500 * MIB, Outcome::Warn), (5_000 * MIB, Outcome::Ok)]
        {
            assert_eq!(judge_room(free).outcome, outcome);
        }
    }
}
