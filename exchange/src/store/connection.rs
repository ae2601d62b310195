//! What a job sees of the database: statements and rows, and nothing of whose they are.
//!
//! Statements are written once, in what SQLite and PostgreSQL have in common.

use std::ops::ControlFlow;

use super::{Row, StoreError, Value, postgres::Postgres, sqlite};

/// A connection to the database.
pub struct Connection(Kind);

/// Whose it is.
pub(super) enum Kind {
    Sqlite(rusqlite::Connection),
    Postgres(Box<Postgres>),
}

impl Connection {
    pub(super) const fn new(kind: Kind) -> Self {
        Self(kind)
    }

    pub(super) const fn kind(&self) -> &Kind {
        &self.0
    }

    /// Sees to it that what comes next has a connection, where that can be lost.
    pub(super) fn ready(&self) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Sqlite(_) => Ok(()),
            Kind::Postgres(postgres) => postgres.ready(),
        }
    }

    /// To a database in memory, with nothing in it.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        sqlite::in_memory()
    }

    /// Carries a statement out; how many rows it has changed.
    pub fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, StoreError> {
        match &self.0 {
            Kind::Sqlite(connection) => sqlite::execute(connection, sql, values),
            Kind::Postgres(postgres) => postgres.execute(sql, values),
        }
    }

    /// Carries out statements without values.
    pub fn execute_batch(&self, sql: &str) -> Result<(), StoreError> {
        match &self.0 {
            Kind::Sqlite(connection) => Ok(connection.execute_batch(sql)?),
            Kind::Postgres(postgres) => postgres.execute_batch(sql),
        }
    }

    /// Shows each row of the answer to `read`, which may have seen enough.
    pub fn query_each<B, E: From<StoreError>>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<ControlFlow<B>, E>,
    ) -> Result<Option<B>, E> {
        match &self.0 {
            Kind::Sqlite(connection) => sqlite::query_each(connection, sql, values, &mut read),
            Kind::Postgres(postgres) => postgres.query_each(sql, values, &mut read),
        }
    }

    /// All rows of the answer.
    pub fn query_all<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = Vec::new();
        self.query_each(sql, values, |row| {
            all.push(read(row)?);
            Ok::<_, StoreError>(ControlFlow::<()>::Continue(()))
        })?;
        Ok(all)
    }

    /// The first row of the answer, if there is one.
    pub fn query_optional<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        self.query_each(sql, values, |row| read(row).map(ControlFlow::Break))
    }

    /// The first row of an answer that always has one.
    pub fn query_row<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.query_optional(sql, values, read)?.ok_or(StoreError::NoRow)
    }

    /// Does `work` on what is committed now, and on nothing that comes after.
    pub fn snapshot<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let begin = match &self.0 {
            Kind::Sqlite(_) => "BEGIN",
            Kind::Postgres(_) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        self.execute_batch(begin)?;
        let done = work(self);
        // It has changed nothing; what is left to do is to let go of it.
        let ended = self.execute_batch("ROLLBACK");
        let done = done?;
        ended?;
        Ok(done)
    }

    /// Whether nobody else is connected, from here to the end of the transaction, which is to be
    /// undone if somebody is.
    pub(crate) fn is_alone(&self) -> Result<bool, StoreError> {
        match &self.0 {
            // Whoever serves from a directory has claimed it.
            Kind::Sqlite(_) => Ok(true),
            Kind::Postgres(postgres) => postgres.is_alone(),
        }
    }

    /// Begins a transaction that writes. No other is under way until it ends, in this process or
    /// another.
    pub(super) fn transaction(&self) -> Result<Transaction<'_>, StoreError> {
        match &self.0 {
            // Immediate: a transaction that reads first could not become a writing one
            // (SQLITE_BUSY) once another process has written in between.
            Kind::Sqlite(connection) => connection.execute_batch("BEGIN IMMEDIATE")?,
            Kind::Postgres(postgres) => postgres.begin()?,
        }
        Ok(Transaction { connection: self, open: true })
    }

    fn in_transaction(&self) -> bool {
        match &self.0 {
            Kind::Sqlite(connection) => !connection.is_autocommit(),
            // An error ends no transaction there, only what was done since its last savepoint.
            Kind::Postgres(postgres) => postgres.in_session(),
        }
    }
}

/// A transaction, undone unless it is committed.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    open: bool,
}

impl Transaction<'_> {
    /// Does a part of it, whose answer says with it whether what it wrote is to stay.
    pub(super) fn part<T>(
        &self,
        work: impl FnOnce(&Connection) -> (bool, T),
    ) -> Result<T, StoreError> {
        self.connection.execute_batch("SAVEPOINT part")?;
        let (keep, done) = work(self.connection);
        // Some errors, such as a full disk, undo the whole transaction. What came after would be
        // committed on its own, so it ends here.
        if !self.connection.in_transaction() {
            return Err(StoreError::NotCommitted);
        }
        let end = if keep { "RELEASE part" } else { "ROLLBACK TO part; RELEASE part" };
        self.connection.execute_batch(end)?;
        Ok(done)
    }

    /// Commits it: what it wrote is on disk.
    pub(super) fn commit(mut self) -> Result<(), StoreError> {
        self.connection.execute_batch("COMMIT")?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Without an answer it is undone by the database, at the latest when the connection ends.
        if self.open && self.connection.in_transaction() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }
}
