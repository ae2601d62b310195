//! The database: SQLite in one file, one thread that writes and two that read.
//!
//! What [`Store::write`] has answered is on disk: it survives a crash of the process and of the
//! machine. The tables' meaning is with those who use them: [`crate::registry`],
//! [`crate::links`], [`crate::revocations`], [`crate::flags`], [`crate::handoff`], [`crate::spent`],
//! [`crate::usage`], [`crate::audit`].

mod thread;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use thread::{Done, Jobs};

/// The schema, one step per version (`PRAGMA user_version`). A step that was released never
/// changes; new ones are appended.
const MIGRATIONS: [&str; 7] = [
    include_str!("store/0001_first.sql"),
    include_str!("store/0002_usage.sql"),
    include_str!("store/0003_access.sql"),
    include_str!("store/0004_revocations.sql"),
    include_str!("store/0005_audit.sql"),
    include_str!("store/0006_flags.sql"),
    include_str!("store/0007_handoff.sql"),
];

/// The version that they lead to.
pub(crate) const NEWEST: u32 = MIGRATIONS.len() as u32;

/// How long to wait for another process (`instance add`) that is writing.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many prepared statements a connection keeps: all that there are.
const STATEMENTS: usize = 64;

/// How long to wait before trying again to open a database that is busy.
const PAUSE: Duration = Duration::from_millis(10);

/// The database failed. The text is for the log, never for a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says why.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The transaction was not committed; the reason is in the log.
    #[error("database: the transaction was not committed")]
    NotCommitted,
    /// Somebody else wrote where the audit ends; nothing is added, so that nothing is covered up.
    #[error(
        "database: the audit's end is not what was written; `kombi-exchange audit verify` says more"
    )]
    AuditBroken,
    /// The file was written by a later version.
    #[error("database: expected schema version {known} or older, found {found}")]
    TooNew {
        /// The newest that this program knows.
        known: u32,
        /// The file's.
        found: u32,
    },
}

impl StoreError {
    fn is_busy(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
    }
}

/// A handle on the database; clones share it.
#[derive(Clone)]
pub struct Store {
    writer: Jobs,
    reader: Jobs,
    long_reader: Jobs,
}

impl Store {
    /// Opens the database at `path`, making or migrating it as needed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            match Self::try_open(path) {
                // While another process makes the database or closes it as the last one, SQLite
                // says "busy" without waiting.
                Err(error) if error.is_busy() && Instant::now() < deadline => {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, StoreError> {
        let mut writer = Connection::open(path)?;
        writer.busy_timeout(BUSY_TIMEOUT)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode, FULL is what makes a commit survive a loss of power.
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", true)?;
        migrate(&mut writer)?;

        let reader = || {
            let reader = Connection::open(path)?;
            reader.busy_timeout(BUSY_TIMEOUT)?;
            reader.pragma_update(None, "query_only", true)?;
            reader.set_prepared_statement_cache_capacity(STATEMENTS);
            Ok::<_, StoreError>(reader)
        };
        let (reader, long_reader) = (reader()?, reader()?);
        writer.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(Self {
            writer: thread::writer(writer),
            reader: thread::reader(reader),
            long_reader: thread::reader(long_reader),
        })
    }

    /// Runs `work` in the next transaction and answers once that is committed. If `work` fails,
    /// what it wrote is undone and nobody else is affected.
    pub async fn write<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        submit(&self.writer, work).await
    }

    /// Runs `work` on what is committed.
    pub async fn read<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        submit(&self.reader, work).await
    }

    /// Does the same for what takes long, such as a report: nobody's login waits for it.
    pub async fn read_long<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        submit(&self.long_reader, work).await
    }

    /// Whether reading and writing work.
    pub async fn answers(&self) -> Result<(), StoreError> {
        let probe = |connection: &Connection| {
            connection.query_row("SELECT 1", [], |_| Ok(())).map_err(StoreError::from)
        };
        self.read(probe).await?;
        self.write(probe).await
    }
}

async fn submit<T, E>(
    jobs: &Jobs,
    work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move |connection: &Connection| {
        let result = work(connection);
        Done {
            keep: result.is_ok(),
            // Whoever asked may have left; the work is done all the same.
            tell: Box::new(move || drop(reply.send(result))),
        }
    });
    // A reply that never comes means that nothing was committed.
    jobs.send(job).await.map_err(|_| StoreError::NotCommitted)?;
    answer.await.map_err(|_| StoreError::NotCommitted)?
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    // Immediate: of two processes that open a new file at once, one waits for the other.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let steps = MIGRATIONS
        .get(version as usize..)
        .ok_or(StoreError::TooNew { known: NEWEST, found: version })?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", NEWEST)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(jti: &'static str) -> impl FnOnce(&Connection) -> Result<(), StoreError> {
        move |connection| {
            connection.execute("INSERT INTO spent_jti VALUES (?1, 0)", [jti])?;
            Ok(())
        }
    }

    async fn count(store: &Store) -> u32 {
        let count = |connection: &Connection| {
            connection
                .query_row("SELECT count(*) FROM spent_jti", [], |row| row.get(0))
                .map_err(StoreError::from)
        };
        store.read(count).await.unwrap()
    }

    #[tokio::test]
    async fn work_that_fails_is_undone_and_spares_its_neighbours() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("t.db")).unwrap();
        let failing = store.write(|connection| {
            insert("b")(connection)?;
            Err::<(), _>(StoreError::NotCommitted)
        });
        let (a, b, c) = tokio::join!(store.write(insert("a")), failing, store.write(insert("c")));
        assert!(a.is_ok() && b.is_err() && c.is_ok());
        assert_eq!(count(&store).await, 2);
        assert!(store.write(insert("a")).await.is_err(), "the key is there already");
    }

    #[tokio::test]
    async fn a_database_of_a_later_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::TooNew { found: 99, .. })));
    }

    #[tokio::test]
    async fn two_processes_may_open_a_new_database_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.db");
        let opening: Vec<_> = (0..8)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || Store::open(&path).map(drop))
            })
            .collect();
        for thread in opening {
            thread.join().unwrap().unwrap();
        }
    }
}
