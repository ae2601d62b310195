//! SQLite, in one file of this machine.

use std::{
    ops::ControlFlow,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{
    ErrorCode, ToSql, TransactionBehavior, params_from_iter,
    types::{ToSqlOutput, ValueRef},
};

use super::{Connection, NEWEST, Row, StoreError, Value, connection::Kind};

/// The schema, one step per version (`PRAGMA user_version`). A step that was released never
/// changes; new ones are appended.
const MIGRATIONS: [&str; NEWEST as usize] = [
    include_str!("sqlite/0001_first.sql"),
    include_str!("sqlite/0002_usage.sql"),
    include_str!("sqlite/0003_access.sql"),
    include_str!("sqlite/0004_revocations.sql"),
    include_str!("sqlite/0005_audit.sql"),
    include_str!("sqlite/0006_flags.sql"),
    include_str!("sqlite/0007_handoff.sql"),
    include_str!("sqlite/0008_two_databases.sql"),
    include_str!("sqlite/0009_entry_roles.sql"),
    include_str!("sqlite/0010_blocked.sql"),
];

/// How long to wait for another process (`instance add`) that is writing.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// How many prepared statements a connection keeps: all that there are.
const STATEMENTS: usize = 128;

/// How long to wait before trying again to open a database that is busy.
const PAUSE: Duration = Duration::from_millis(10);

/// Opens the file at `path` to write, making or migrating the database as needed.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    patiently(|| for_writing(rusqlite::Connection::open(path)?))
}

/// Opens the file at `path` to read.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    patiently(|| {
        let reader = rusqlite::Connection::open(path)?;
        reader.busy_timeout(BUSY_TIMEOUT)?;
        reader.pragma_update(None, "query_only", true)?;
        Ok(with_statements(reader))
    })
}

fn patiently(open: impl Fn() -> Result<Connection, StoreError>) -> Result<Connection, StoreError> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match open() {
            // While another process makes the database or closes it as the last one, SQLite says
            // "busy" without waiting.
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// A database in memory.
#[cfg(test)]
pub(super) fn in_memory() -> Connection {
    for_writing(rusqlite::Connection::open_in_memory().unwrap()).unwrap()
}

fn for_writing(mut writer: rusqlite::Connection) -> Result<Connection, StoreError> {
    writer.busy_timeout(BUSY_TIMEOUT)?;
    writer.pragma_update(None, "journal_mode", "WAL")?;
    // In WAL mode, FULL is what makes a commit survive a loss of power.
    writer.pragma_update(None, "synchronous", "FULL")?;
    writer.pragma_update(None, "foreign_keys", true)?;
    migrate(&mut writer)?;
    Ok(with_statements(writer))
}

fn with_statements(connection: rusqlite::Connection) -> Connection {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Connection::new(Kind::Sqlite(connection))
}

fn is_busy(error: &StoreError) -> bool {
    let StoreError::Sqlite(error) = error else { return false };
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn migrate(connection: &mut rusqlite::Connection) -> Result<(), StoreError> {
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

pub(super) fn execute(
    connection: &rusqlite::Connection,
    sql: &str,
    values: &[Value<'_>],
) -> Result<usize, StoreError> {
    Ok(connection.prepare_cached(sql)?.execute(params_from_iter(values))?)
}

pub(super) fn query_each<B, E: From<StoreError>>(
    connection: &rusqlite::Connection,
    sql: &str,
    values: &[Value<'_>],
    read: &mut impl FnMut(&Row<'_>) -> Result<ControlFlow<B>, E>,
) -> Result<Option<B>, E> {
    let mut statement = connection.prepare_cached(sql).map_err(StoreError::from)?;
    let mut rows = statement.query(params_from_iter(values)).map_err(StoreError::from)?;
    while let Some(row) = rows.next().map_err(StoreError::from)? {
        if let ControlFlow::Break(enough) = read(&Row::Sqlite(row))? {
            return Ok(Some(enough));
        }
    }
    Ok(None)
}

/// What is in a column of `row`.
pub(super) fn column<'a>(
    row: &'a rusqlite::Row<'_>,
    column: usize,
) -> Result<Value<'a>, StoreError> {
    let unreadable = |expected| StoreError::Unreadable { column, expected };
    match row.get_ref(column)? {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Real(_) => Err(unreadable("no fraction")),
        ValueRef::Text(text) => {
            std::str::from_utf8(text).map(Value::Text).map_err(|_| unreadable("UTF-8"))
        }
        ValueRef::Blob(bytes) => Ok(Value::Bytes(bytes)),
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match *self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
