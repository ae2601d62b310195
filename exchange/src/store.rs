//! The database: SQLite in one file, or PostgreSQL; one thread that writes and two that read. What
//! they do is written once, on a [`Connection`].
//!
//! What [`Store::write`] has answered is on disk: it survives a crash of the process and of the
//! machine. The tables' meaning is with those who use them: [`crate::registry`],
//! [`crate::links`], [`crate::blocked`], [`crate::revocations`], [`crate::flags`], [`crate::handoff`], [`crate::spent`],
//! [`crate::usage`], [`crate::audit`].

mod connection;
mod postgres;
pub(crate) mod sqlite;
mod thread;
mod value;

use std::path::Path;

use rusqlite::ErrorCode;
use tokio::sync::oneshot;

use crate::spent;
pub use connection::Connection;
use postgres::Purpose;
pub(crate) use postgres::look as look_at_postgres;
pub use postgres::{NotPostgres, PostgresServer};
use thread::{Done, Jobs};
pub(crate) use value::params;
pub use value::{FromValue, Row, ToValue, Value};

/// The version that the schema's steps lead to.
pub(crate) const NEWEST: u32 = 10;

/// The database failed. The text is for the log, never for a client.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite says why.
    #[error("database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says why.
    #[error("database: {}", postgres::told(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// PostgreSQL is not to be reached, or was lost.
    #[error("database: PostgreSQL: {0}")]
    NotConnected(String),
    /// A statement within the answer to another one.
    #[error("database: a statement while rows of another one are read")]
    InARow,
    /// Nobody knows that the transaction was committed; the reason is in the log.
    #[error("database: the transaction is not known to be committed")]
    NotCommitted,
    /// An answer is without the row that it must have.
    #[error("database: expected a row, found none")]
    NoRow,
    /// A row holds something else than was written.
    #[error("database: column {column} of a row: expected {expected}, found something else")]
    Unreadable {
        /// The column's number, from 0.
        column: usize,
        /// What it must hold.
        expected: &'static str,
    },
    /// Somebody else wrote where the audit ends; nothing is added, so that nothing is covered up.
    #[error(
        "database: the audit's end is not what was written; `kombi-exchange audit verify` says more"
    )]
    AuditBroken,
    /// The database was written by a later version.
    #[error("database: expected schema version {known} or older, found {found}")]
    TooNew {
        /// The newest that this program knows.
        known: u32,
        /// The database's.
        found: u32,
    },
}

impl StoreError {
    /// Whether the fault is the storage's, such as a full disk or a damaged file, and the same may
    /// succeed once somebody has mended that.
    #[must_use]
    pub fn is_of_the_storage(&self) -> bool {
        match self {
            Self::Sqlite(error) => !matches!(
                error.sqlite_error_code(),
                None | Some(
                    ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::ApiMisuse
                )
            ),
            Self::Postgres(error) => postgres::is_of_the_storage(error),
            // What is there is not what was written there, or it is not to be reached.
            Self::Unreadable { .. } | Self::NotCommitted | Self::NotConnected(_) => true,
            _ => false,
        }
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
        let path = || path.to_owned();
        let (writer, reader, long_reader) = (path(), path(), path());
        Ok(Self {
            writer: thread::writer(move || sqlite::writer(&writer))?,
            reader: thread::reader(move || sqlite::reader(&reader))?,
            long_reader: thread::reader(move || sqlite::reader(&long_reader))?,
        })
    }

    /// Opens the database on `server`, making or migrating the tables as needed.
    pub fn connect(server: &PostgresServer) -> Result<Self, StoreError> {
        let connect = |purpose| {
            let server = server.clone();
            move || postgres::connect(server, purpose)
        };
        Ok(Self {
            writer: thread::writer(connect(Purpose::Writing))?,
            reader: thread::reader(connect(Purpose::Reading))?,
            long_reader: thread::reader(connect(Purpose::ReadingLong))?,
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

    /// Whether reading works, and writing to the disk.
    pub async fn answers(&self) -> Result<(), StoreError> {
        let read = |connection: &Connection| {
            connection.query_row("SELECT 1", &[], |_| Ok::<_, StoreError>(()))
        };
        self.read(read).await?;
        self.write(spent::touch).await
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

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(jti: &'static str) -> impl FnOnce(&Connection) -> Result<(), StoreError> {
        move |connection| {
            connection.execute("INSERT INTO spent_jti VALUES (?1, 0)", params![jti])?;
            Ok(())
        }
    }

    async fn count(store: &Store) -> u32 {
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM spent_jti", &[], |row| row.get(0))
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
    async fn a_full_disk_is_the_storages_fault_and_a_row_that_is_there_already_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("t.db")).unwrap();
        store.write(insert("a")).await.unwrap();
        assert!(!store.write(insert("a")).await.unwrap_err().is_of_the_storage());
        let fill = |connection: &Connection| {
            // As many as there are.
            connection.execute_batch("PRAGMA max_page_count = 1")?;
            let much = "x".repeat(100_000);
            connection.execute("INSERT INTO spent_jti VALUES (?1, 0)", params![much])?;
            Ok::<_, StoreError>(())
        };
        assert!(store.write(fill).await.unwrap_err().is_of_the_storage());
        store.answers().await.unwrap();
    }

    #[tokio::test]
    async fn a_database_of_a_later_version_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.db");
        drop(Store::open(&path).unwrap());
        rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
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
