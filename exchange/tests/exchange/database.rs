//! The database of a test: SQLite's in the directory that the test has, or, where a server is named,
//! one of that test's own there. See `tests/postgres`.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Mutex, PoisonError},
    thread,
};

use kombi_exchange::{
    database::Database,
    store::{Connection, PostgresServer, StoreError},
};
use tokio::runtime::Builder;

/// Names a PostgreSQL server on which databases may be made: `postgres://USER@HOST:PORT`.
const SERVER: &str = "KOMBI_TEST_POSTGRES";

/// Which databases there are already.
static MADE: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// Whether tests run on PostgreSQL.
pub(crate) fn on_postgres() -> bool {
    std::env::var_os(SERVER).is_some()
}

/// The database that belongs to the directory `data`.
pub(crate) fn of(data: &Path) -> Database {
    match url(data) {
        Some(url) => Database::Server(Box::new(PostgresServer::parse(&url).unwrap())),
        None => Database::Directory(data.to_owned()),
    }
}

/// Its URL, if it is on a server.
pub(crate) fn url(data: &Path) -> Option<String> {
    let server = std::env::var(SERVER).ok()?;
    let mut name = format!("t{}_", std::process::id());
    name.extend(data.to_str().unwrap().chars().filter(char::is_ascii_alphanumeric));
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if made.get_or_insert_default().insert(name.clone()) {
        make(&format!("{server}/postgres"), &name);
    }
    Some(format!("{server}/{name}"))
}

fn make(maintenance: &str, name: &str) {
    let (maintenance, create) = (maintenance.to_owned(), format!("CREATE DATABASE \"{name}\""));
    alone(async move {
        let (client, connection) =
            tokio_postgres::connect(&maintenance, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute(&create).await.unwrap();
    });
}

/// What `work` finds or does in the database that belongs to `data`, beside whoever serves.
pub(crate) fn with<T: Send + 'static>(
    data: &Path,
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    within(of(data), work)
}

/// The same in `database`.
pub(crate) fn within<T: Send + 'static>(
    database: Database,
    work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    alone(async move { database.open().unwrap().write(work).await })
}

/// One value of one row.
pub(crate) fn one<T: kombi_exchange::store::FromValue + Send + 'static>(
    data: &Path,
    sql: &str,
) -> T {
    let sql = sql.to_owned();
    with(data, move |connection| connection.query_row(&sql, &[], |row| row.get(0))).unwrap()
}

/// Changes rows; how many that were.
pub(crate) fn change(data: &Path, sql: &str) -> Result<usize, StoreError> {
    let sql = sql.to_owned();
    with(data, move |connection| connection.execute(&sql, &[]))
}

/// Waits for `work` on a thread of its own, so that tests of every kind can.
fn alone<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let waits = move || Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    thread::spawn(waits).join().unwrap()
}
