//! Damage to the database's files, by a broken disk or by somebody: it is looked for at start, so
//! that nothing is acknowledged on top of it. SQLite itself would take a damaged log for one that
//! ends there, and what was committed after it would be gone without a word.

mod index;
mod wal;

use std::{
    fs::File,
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    data_dir::{LOG, LOG_INDEX, beside},
    store::sqlite::BUSY_TIMEOUT,
};
use index::Index;
use wal::Log;

/// The files are not as they were written.
#[derive(Debug, thiserror::Error)]
#[error(
    "KOMBI_EXCHANGE_DATA: expected the database as it was written, found {path} damaged: {what}. Put a \
     copy in its place with `kombi-exchange restore`"
)]
pub struct Damage {
    path: PathBuf,
    what: String,
}

/// How many whole transactions may follow a wrong page of the log by right: the machine went down
/// while the last one was being written, and its pages reached the disk in another order.
const UNFINISHED: u32 = 1;

/// An error if the database at `path`, or its log, is damaged in a way that is quickly found. A
/// file that cannot be read is for whoever opens it to tell of.
pub fn look(path: &Path) -> Result<(), Damage> {
    // Somebody else may be writing into it; damage stays what it is.
    if let Ok(Some(_)) = lost(path)
        && let Ok(Some(what)) = lost(path)
    {
        return Err(Damage { path: beside(path, LOG), what });
    }
    check(path, "PRAGMA quick_check(1)")
}

/// An error if the database at `path` is damaged in any way that SQLite can find. It takes long.
pub fn search(path: &Path) -> Result<(), Damage> {
    check(path, "PRAGMA integrity_check(1)")
}

/// What is lost of the log of the database at `path`.
fn lost(path: &Path) -> io::Result<Option<String>> {
    // Before the log, which may be growing.
    let index = there(&beside(path, LOG_INDEX))?.map(Index::read).transpose()?.flatten();
    let Some(log) = there(&beside(path, LOG))?.map(Log::read).transpose()?.flatten() else {
        return Ok(None);
    };
    let Log { salts, whole, committed_after } = log;
    if let Some(index) = index
        && index.salts == salts
        && whole < index.last
        && index.moved < index.last
    {
        let last = index.last;
        return Ok(Some(format!("of {last} pages of committed transactions, {whole} can be read")));
    }
    Ok((committed_after > UNFINISHED).then(|| {
        format!("{committed_after} transactions were committed after a page that cannot be read")
    }))
}

/// The file, if there is one.
fn there(path: &Path) -> io::Result<Option<BufReader<File>>> {
    match File::open(path) {
        Ok(file) => Ok(Some(BufReader::new(file))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn check(path: &Path, check: &str) -> Result<(), Damage> {
    let found = || -> rusqlite::Result<String> {
        let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        database.busy_timeout(BUSY_TIMEOUT)?;
        database.query_row(check, [], |row| row.get(0))
    };
    let what = match found() {
        Ok(found) if found == "ok" => return Ok(()),
        Ok(found) => found.replace('\n', " "),
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ) =>
        {
            error.to_string()
        }
        Err(_) => return Ok(()),
    };
    Err(Damage { path: path.to_owned(), what })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write, os::unix::fs::FileExt};

    /// A database with `rows`, each a transaction of its own, as a crash leaves it: in its log
    /// alone, or moved from there.
    fn database(folder: &Path, rows: u32, moved: bool) -> PathBuf {
        let (made, path) = (folder.join("made.db"), folder.join("t.db"));
        let connection = Connection::open(&made).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.execute_batch("CREATE TABLE t (id TEXT PRIMARY KEY, n INT) STRICT").unwrap();
        let move_all = || {
            let moved = "PRAGMA wal_checkpoint(TRUNCATE)";
            connection.query_row(moved, [], |row| row.get::<_, u32>(0)).unwrap();
        };
        move_all();
        for row in 0..rows {
            let id = format!("{row:0>100}");
            connection.execute("INSERT INTO t VALUES (?1, 1)", [id]).unwrap();
        }
        if moved {
            move_all();
        }
        // The last connection that closes would empty the log.
        for ending in ["", "-wal", "-shm"] {
            fs::copy(beside(&made, ending), beside(&path, ending)).unwrap();
        }
        path
    }

    fn flip(path: &Path, at: u64) {
        let file = File::options().read(true).write(true).open(path).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
    }

    fn cut(path: &Path, bytes: u64) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }

    #[test]
    fn what_a_crash_or_a_loss_of_power_leaves_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        look(&folder.path().join("nothing.db")).unwrap();
        let path = database(folder.path(), 20, false);
        // Something was being written.
        let mut log = File::options().append(true).open(beside(&path, "-wal")).unwrap();
        log.write_all(&[7; 5000]).unwrap();
        look(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), 20, false);
        fs::remove_file(beside(&path, "-shm")).unwrap();
        cut(&beside(&path, "-wal"), 1000);
        look(&path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), 20, true);
        look(&path).unwrap();
        search(&path).unwrap();
    }

    #[test]
    fn a_log_that_lost_its_end_is_noticed_while_its_index_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), 20, false);
        cut(&beside(&path, "-wal"), 1);
        let error = look(&path).unwrap_err().to_string();
        assert!(error.contains("t.db-wal damaged: of 40 pages"), "{error}");
    }

    #[test]
    fn a_byte_that_changed_in_the_log_is_noticed_if_transactions_follow() {
        const FRAME: u64 = 24 + 4096;
        for at in [1, 17, 30, 32, 32 + 9, 32 + 20, 32 + 24 + 100, 32 + 5 * FRAME + 2000] {
            let folder = tempfile::tempdir().unwrap();
            let path = database(folder.path(), 20, false);
            flip(&beside(&path, "-wal"), at);
            fs::remove_file(beside(&path, "-shm")).unwrap();
            let error = look(&path).unwrap_err().to_string();
            assert!(error.contains("t.db-wal damaged"), "{at}: {error}");
        }
    }

    #[test]
    fn damage_to_the_database_itself_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), 500, true);
        flip(&path, 3);
        assert!(look(&path).unwrap_err().to_string().contains("not a database"));
        flip(&path, 3);
        look(&path).unwrap();
        cut(&path, 40_000);
        assert!(look(&path).is_err());
    }

    #[test]
    fn a_row_that_changed_under_its_index_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = database(folder.path(), 500, true);
        let content = fs::read(&path).unwrap();
        let id = format!("{:0>100}", 77);
        let at = content.windows(100).position(|text| text == id.as_bytes()).unwrap();
        flip(&path, at as u64 + 99);
        assert!(search(&path).is_err());
    }
}
