//! PostgreSQL, for several exchanges on one database.
//!
//! Writers of all exchanges take turns: a transaction that writes begins with one lock that they
//! all know, and has it until it is committed. So whatever a job looked at is still so when it
//! writes, just as in SQLite.
//!
//! The exchange's tables are in a schema of their own, but for those of AI usage, which others
//! read: they are wherever the role's `search_path` says.

mod fault;
mod schema;
mod server;
mod session;
mod value;

use std::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
    pin::pin,
    time::{Duration, Instant},
};

use futures_util::TryStreamExt;
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
    time::timeout,
};

use super::{Connection, Row, StoreError, Value, connection::Kind};
pub(super) use fault::{is_of_the_storage, told};
pub use server::{NotPostgres, PostgresServer};
use session::{PRESENCE, Session};

/// The lock of all that write: "kombisph" in ASCII.
const LOCK: i64 = 0x6b6f_6d62_6973_7068;

/// How long to wait for others to leave: the server may not have noticed yet that they are gone.
const LEAVE: Duration = Duration::from_secs(2);

/// How long a statement may take, waiting for the lock included.
const STATEMENT: Duration = Duration::from_secs(5);

/// The same for what takes long: a report, and steps of the schema.
const LONG_STATEMENT: Duration = Duration::from_secs(600);

/// How much longer an answer may be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(2);

/// How long nobody tries to connect once that has failed, so that of a queue of jobs not each waits
/// for a server that does not answer.
const REST: Duration = Duration::from_millis(500);

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Writing,
    Reading,
    ReadingLong,
}

/// A connection that is made again when it was lost, but never within a transaction.
pub(super) struct Postgres {
    server: PostgresServer,
    purpose: Purpose,
    runtime: Runtime,
    session: RefCell<Option<Session>>,
    /// When it was last not to be reached.
    failed_at: Cell<Option<Instant>>,
}

/// Connects to `server`. The thread must be none that an asynchronous runtime works on.
pub(super) fn connect(server: PostgresServer, purpose: Purpose) -> Result<Connection, StoreError> {
    let connection = open(server, purpose)?;
    if purpose == Purpose::Writing {
        schema::migrate(&connection)?;
    }
    Ok(connection)
}

fn open(server: PostgresServer, purpose: Purpose) -> Result<Connection, StoreError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| StoreError::NotConnected(error.to_string()))?;
    let (session, failed_at) = (RefCell::new(None), Cell::new(None));
    let postgres = Postgres { server, purpose, runtime, session, failed_at };
    postgres.reconnect()?;
    Ok(Connection::new(Kind::Postgres(Box::new(postgres))))
}

/// What somebody sees who only looks.
pub(crate) struct Look {
    /// The server's version.
    pub(crate) server: String,
    /// The schema's; 0 if there is none.
    pub(crate) version: u32,
    /// Whether a transaction that writes can be begun.
    pub(crate) writable: Result<(), StoreError>,
}

/// Looks at the database on `server`; nothing there is changed.
pub(crate) fn look(server: PostgresServer) -> Result<Look, StoreError> {
    let connection = open(server, Purpose::Writing)?;
    let version = "SELECT current_setting('server_version')";
    Ok(Look {
        server: connection.query_row(version, &[], |row| row.get(0))?,
        version: schema::version(&connection)?.unwrap_or_default(),
        writable: connection.transaction().map(drop),
    })
}

impl Postgres {
    /// Sees to it that there is a session, if the server lets it.
    pub(super) fn ready(&self) -> Result<(), StoreError> {
        // The connection's own task notices here that the server has closed it.
        self.runtime.block_on(async {
            yield_now().await;
            yield_now().await;
        });
        let session = self.session.try_borrow().map_err(|_| StoreError::InARow)?;
        let stands = session.as_ref().is_some_and(|session| !session.client.is_closed());
        drop(session);
        if stands { Ok(()) } else { self.reconnect() }
    }

    fn reconnect(&self) -> Result<(), StoreError> {
        if self.failed_at.get().is_some_and(|at| at.elapsed() < REST) {
            return Err(StoreError::NotConnected("it was not to be reached just now".to_owned()));
        }
        let begin = Session::begin(&self.server, self.purpose, self.limit());
        let session = self.runtime.block_on(async { timeout(server::CONNECT, begin).await });
        let late = || StoreError::NotConnected("the server takes too long to answer".to_owned());
        let session = session.map_err(|_| late()).and_then(|session| session);
        let mut place = self.session.try_borrow_mut().map_err(|_| StoreError::InARow)?;
        *place = None;
        self.failed_at.set(session.is_err().then(Instant::now));
        *place = Some(session?);
        Ok(())
    }

    const fn limit(&self) -> Duration {
        match self.purpose {
            Purpose::Writing | Purpose::Reading => STATEMENT,
            Purpose::ReadingLong => LONG_STATEMENT,
        }
    }

    /// Does `work` in the session. One that does not answer is given up: nobody knows what the
    /// server would still do in it.
    fn run<T>(
        &self,
        session: &mut Option<Session>,
        limit: Duration,
        work: impl AsyncFnOnce(&mut Session) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let lost = || StoreError::NotConnected("the connection was lost".to_owned());
        let open = session.as_mut().ok_or_else(lost)?;
        match self.runtime.block_on(async { timeout(limit + ON_ITS_WAY, work(open)).await }) {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                if fault::ends_the_session(&error) {
                    *session = None;
                }
                Err(error.into())
            }
            Err(_) => {
                *session = None;
                Err(StoreError::NotConnected("the server does not answer".to_owned()))
            }
        }
    }

    pub(super) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        let mut session = self.session.try_borrow_mut().map_err(|_| StoreError::InARow)?;
        let changed = self.run(&mut session, self.limit(), async |session| {
            let statement = session.statement(sql).await?;
            session.client.execute_raw(&statement, values.iter().copied()).await
        })?;
        Ok(usize::try_from(changed).unwrap_or(usize::MAX))
    }

    pub(super) fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        self.batch(sql, self.limit())
    }

    fn batch(&self, sql: &str, limit: Duration) -> Result<(), StoreError> {
        let mut session = self.session.try_borrow_mut().map_err(|_| StoreError::InARow)?;
        self.run(&mut session, limit, async |session| session.client.batch_execute(sql).await)
    }

    pub(super) fn query_each<B, E: From<StoreError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: &mut impl FnMut(&Row<'_>) -> Result<ControlFlow<B>, E>,
    ) -> Result<Option<B>, E> {
        let mut session = self.session.try_borrow_mut().map_err(|_| StoreError::InARow)?;
        let rows = self.run(&mut session, self.limit(), async |session| {
            let statement = session.statement(sql).await?;
            session.client.query_raw(&statement, values.iter().copied()).await
        })?;
        let mut rows = pin!(rows);
        while let Some(row) =
            self.run(&mut session, self.limit(), async |_| rows.try_next().await)?
        {
            if let ControlFlow::Break(enough) = read(&Row::Postgres(&row))? {
                return Ok(Some(enough));
            }
        }
        Ok(None)
    }

    /// Begins a transaction that writes, when it is its turn.
    pub(super) fn begin(&self) -> Result<(), StoreError> {
        // What is committed before the lock is given is seen by every statement after it.
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock({LOCK})"
        );
        self.ready()?;
        let begun = match self.execute_batch(&begin) {
            // Nothing was done yet, so a connection that turns out to be dead is no loss.
            Err(_) if !self.in_session() => {
                self.reconnect()?;
                self.execute_batch(&begin)
            }
            begun => begun,
        };
        if begun.is_err() {
            let _ = self.execute_batch("ROLLBACK");
        }
        begun
    }

    /// Whether nobody else is connected to write, and nobody will be until the transaction ends.
    pub(super) fn is_alone(&self) -> Result<bool, StoreError> {
        let wait = LEAVE.as_millis();
        let lock =
            format!("SET LOCAL lock_timeout = {wait}; SELECT pg_advisory_xact_lock({PRESENCE})");
        match self.execute_batch(&lock) {
            Ok(()) => Ok(true),
            Err(StoreError::Postgres(error)) if fault::is_a_lock_of_others(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether the session stands that a transaction was begun in.
    pub(super) fn in_session(&self) -> bool {
        let session = self.session.try_borrow();
        session.is_ok_and(|session| session.as_ref().is_some_and(|s| !s.client.is_closed()))
    }

    fn outside(&self) -> String {
        let session = self.session.try_borrow().ok();
        let outside = session.as_ref().and_then(|session| session.as_ref());
        outside.map(|session| session.outside.clone()).unwrap_or_default()
    }
}
