//! Links: which PocketBase record a person is in an instance. The instance is the authority on
//! its own users; this is the exchange's memory of what it said, with its history.

use crate::{
    instance::{InstanceId, Subject},
    store::{Connection, StoreError, params},
    time::UnixTime,
};

/// What remembering a link changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The person had no link there.
    New,
    /// Nothing: the link is known.
    Known,
    /// The person was another record before, which is history now.
    Moved {
        /// That record's id.
        from: String,
    },
}

/// Remembers that `subject` is the record `record_id` in `instance`.
pub fn remember(
    connection: &Connection,
    instance: &InstanceId,
    subject: &Subject,
    record_id: &str,
    now: UnixTime,
) -> Result<Change, StoreError> {
    let change = match current(connection, instance.as_str(), subject.as_str())? {
        Some(known) if known == record_id => return Ok(Change::Known),
        Some(from) => Change::Moved { from },
        None => Change::New,
    };
    end(connection, instance, subject, now)?;
    connection.execute(
        "INSERT INTO links (instance_id, sub, record_id, since) VALUES (?1, ?2, ?3, ?4)",
        params![instance.as_str(), subject.as_str(), record_id, now.as_sql()],
    )?;
    Ok(change)
}

/// `subject` is nobody in `instance` any more.
pub fn end(
    connection: &Connection,
    instance: &InstanceId,
    subject: &Subject,
    now: UnixTime,
) -> Result<(), StoreError> {
    connection.execute(
        "UPDATE links SET until = ?3 WHERE instance_id = ?1 AND sub = ?2 AND until IS NULL",
        params![instance.as_str(), subject.as_str(), now.as_sql()],
    )?;
    Ok(())
}

fn current(
    connection: &Connection,
    instance: &str,
    subject: &str,
) -> Result<Option<String>, StoreError> {
    let current = "SELECT record_id FROM links
                   WHERE instance_id = ?1 AND sub = ?2 AND until IS NULL";
    connection.query_optional(current, params![instance, subject], |row| row.get(0))
}
