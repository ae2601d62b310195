//! The tables on PostgreSQL: made at the first start, and brought up to date at later ones.

use super::{super::connection::Kind, LONG_STATEMENT, Postgres};
use crate::store::{Connection, NEWEST, StoreError, params};

/// The tables of AI usage, as the team has them that owns the platform's schema.
const USAGE: &str = include_str!("../../../../spec/prisma/migrations/0001_usage/migration.sql");

/// The schema's first version here, and the other tables of it.
const FIRST: (u32, &str) = (10, include_str!("0010_first.sql"));

/// What leads from there to the newest version, one step each. A step that was released never
/// changes.
const STEPS: [&str; (NEWEST - FIRST.0) as usize] = [];

/// The version that is there; none in a database that no exchange has used.
pub(super) fn version(connection: &Connection) -> Result<Option<u32>, StoreError> {
    let there = "SELECT to_regclass('kombi_exchange.schema_version') IS NOT NULL";
    if !connection.query_row(there, &[], |row| row.get(0))? {
        return Ok(None);
    }
    let version = "SELECT version FROM kombi_exchange.schema_version";
    connection.query_optional(version, &[], |row| row.get(0))
}

/// Makes the tables, or takes the steps that are missing. Of exchanges that start at once, one does
/// it and the others wait.
pub(super) fn migrate(connection: &Connection) -> Result<(), StoreError> {
    let Kind::Postgres(postgres) = connection.kind() else { return Ok(()) };
    let transaction = connection.transaction()?;
    let run = |sql: &str| postgres.batch(sql, LONG_STATEMENT);
    run(&format!("SET LOCAL statement_timeout = {}", LONG_STATEMENT.as_millis()))?;
    let version = version(connection)?;
    if version.is_none() {
        make(postgres, &run)?;
    }
    let found = version.unwrap_or(FIRST.0);
    let past = usize::try_from(found.saturating_sub(FIRST.0)).unwrap_or(usize::MAX);
    let steps = STEPS.get(past..).ok_or(StoreError::TooNew { known: NEWEST, found })?;
    for step in steps {
        run(step)?;
    }
    connection.execute(
        "INSERT INTO kombi_exchange.schema_version (one, version) VALUES (1, ?1)
         ON CONFLICT (one) DO UPDATE SET version = excluded.version",
        params![NEWEST],
    )?;
    transaction.commit()
}

fn make(
    postgres: &Postgres,
    run: &impl Fn(&str) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let outside = postgres.outside();
    // An operator whose role may make no schema makes it beforehand.
    run("DO $$ BEGIN
             IF to_regnamespace('kombi_exchange') IS NULL THEN CREATE SCHEMA kombi_exchange; END IF;
         END $$")?;
    run("CREATE TABLE IF NOT EXISTS kombi_exchange.schema_version (
             one     INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
             version INTEGER NOT NULL)")?;
    run(&format!("SET LOCAL search_path = {outside}"))?;
    run(USAGE)?;
    run(&format!("SET LOCAL search_path = kombi_exchange, {outside}"))?;
    run(FIRST.1)
}
