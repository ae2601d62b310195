//! The steps of the schema are written twice; what they lead to is the same.

use std::collections::BTreeSet;

use kombi_exchange::{
    database::Database,
    store::{PostgresServer, Row, StoreError},
};
use libtest_mimic::Failed;
use stack::postgres::Postgres;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Every column as `table.column kind`, with `!` if it must have a value and `#` if it is a part of
/// what tells rows apart. Numbers and truth values are one kind: SQLite has no other for the latter.
const IN_SQLITE: &str = "
    SELECT t.name || '.' || c.name || ' '
        || CASE c.type WHEN 'INTEGER' THEN 'number' WHEN 'TEXT' THEN 'text'
                       WHEN 'BLOB' THEN 'bytes' ELSE c.type END
        || CASE WHEN c.\"notnull\" OR c.pk > 0 THEN '!' ELSE '' END
        || CASE WHEN c.pk > 0 THEN '#' ELSE '' END
    FROM sqlite_master t, pragma_table_info(t.name) c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    UNION ALL
    SELECT 'index ' || name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL
    UNION ALL
    SELECT 'trigger ' || name FROM sqlite_master WHERE type = 'trigger'";

const IN_POSTGRES: &str = "
    WITH t AS (
        SELECT c.oid, c.relname, c.relkind FROM pg_class c
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('kombi_exchange', 'public'))
    SELECT t.relname || '.' || a.attname || ' '
        || CASE a.atttypid WHEN 'text'::regtype THEN 'text' WHEN 'bytea'::regtype THEN 'bytes'
                           WHEN 'bigint'::regtype THEN 'number' WHEN 'integer'::regtype THEN 'number'
                           WHEN 'boolean'::regtype THEN 'number'
                           ELSE a.atttypid::regtype::text END
        || CASE WHEN a.attnotnull THEN '!' ELSE '' END
        || CASE WHEN a.attnum = ANY (k.conkey) THEN '#' ELSE '' END
    FROM t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_constraint k ON k.conrelid = t.oid AND k.contype = 'p'
    WHERE t.relkind = 'r'
    UNION ALL
    SELECT 'index ' || relname FROM t WHERE relkind = 'i'
    UNION ALL
    SELECT 'trigger ' || g.tgname FROM pg_trigger g JOIN t ON t.oid = g.tgrelid
    WHERE NOT g.tgisinternal";

/// What PostgreSQL has besides: its version, which SQLite keeps in the file's head; the number of a
/// row, which every row has there; a trigger for what SQLite cannot do.
const BESIDES: [&str; 4] = [
    "schema_version.one number!#",
    "schema_version.version number!",
    "usage_metrics.id number!#",
    "trigger audit_is_not_emptied",
];

/// Keys have no index of their own name in SQLite.
const KEYS: [&str; 2] = ["_pkey", "_key"];

/// Compares tables, columns, indexes and triggers.
pub(crate) fn same(server: &Postgres) -> Result<(), Failed> {
    let url = server.database("the_schema")?;
    let postgres = Database::Server(Box::new(PostgresServer::parse(&url)?));
    let folder = TempDir::new()?;
    let sqlite = Database::Directory(folder.path().to_owned());
    let runtime = Runtime::new()?;
    let there = |database: &Database, sql: &'static str| {
        let store = database.open()?;
        let read = |row: &Row<'_>| row.get::<String>(0);
        let found = runtime.block_on(store.read(move |c| c.query_all(sql, &[], read)));
        let found = found.map_err(|error: StoreError| error.to_string())?;
        Ok::<_, Failed>(found.into_iter().collect::<BTreeSet<_>>())
    };
    let (sqlite, mut postgres) = (there(&sqlite, IN_SQLITE)?, there(&postgres, IN_POSTGRES)?);
    for thing in BESIDES {
        assert!(postgres.remove(thing), "{thing} is not there: {postgres:?}");
    }
    postgres.retain(|thing| !KEYS.iter().any(|key| thing.ends_with(key)));
    assert!(sqlite.len() > 80, "the tables were read: {sqlite:?}");
    let (missing, more) = (sqlite.difference(&postgres), postgres.difference(&sqlite));
    let (missing, more): (Vec<_>, Vec<_>) = (missing.collect(), more.collect());
    assert!(missing.is_empty() && more.is_empty(), "missing: {missing:?}; more: {more:?}");
    Ok(())
}
