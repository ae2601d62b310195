//! A session on the server, set up for what it is for.

use std::{collections::HashMap, time::Duration};

use tokio_postgres::{Client, Statement};

use super::{PostgresServer, Purpose, StoreError};

/// The lock that all share who are connected to write: "kombialo" in ASCII.
pub(super) const PRESENCE: i64 = 0x6b6f_6d62_6961_6c6f;

/// How many prepared statements a session keeps; then it begins anew.
const STATEMENTS: usize = 128;

/// A connection, and what is known of it.
pub(super) struct Session {
    pub(super) client: Client,
    statements: HashMap<String, Statement>,
    /// Where tables are that others read.
    pub(super) outside: String,
}

impl Session {
    /// Begins one on `server` in which no statement takes longer than `limit`.
    pub(super) async fn begin(
        server: &PostgresServer,
        purpose: Purpose,
        limit: Duration,
    ) -> Result<Self, StoreError> {
        let client = server.connect().await?;
        let facts = "SELECT current_setting('server_encoding'), current_setting('search_path')";
        let facts = client.query_one(facts, &[]).await?;
        let (encoding, outside) = (facts.try_get::<_, String>(0)?, facts.try_get::<_, String>(1)?);
        if encoding != "UTF8" {
            return Err(StoreError::NotConnected(format!("expected UTF8, found {encoding}")));
        }
        let read_only = purpose != Purpose::Writing;
        let limit = limit.as_millis();
        client
            .batch_execute(&format!(
                "SET search_path = kombi_exchange, {outside};
                 SET synchronous_commit = on;
                 SET default_transaction_isolation = 'read committed';
                 SET default_transaction_read_only = {read_only};
                 SET statement_timeout = {limit};
                 SET idle_in_transaction_session_timeout = 10000;"
            ))
            .await?;
        if !read_only {
            let share = format!("SELECT pg_advisory_lock_shared({PRESENCE})");
            client.batch_execute(&share).await?;
        }
        Ok(Self { client, statements: HashMap::new(), outside })
    }

    /// The statement, prepared.
    pub(super) async fn statement(
        &mut self,
        sql: &str,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(known) = self.statements.get(sql) {
            return Ok(known.clone());
        }
        let statement = self.client.prepare(&in_dollars(sql)).await?;
        if self.statements.len() >= STATEMENTS {
            self.statements.clear();
        }
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

/// `?1` as PostgreSQL has it: `$1`.
fn in_dollars(sql: &str) -> String {
    sql.replace('?', "$")
}
