//! People who were deactivated: whoever lets them in, they enter no instance until an admin says
//! otherwise. The issuer gives them no token any more; one that they still have is good until it
//! expires, and must open nothing here.

use kombi_spec::code::Code;

use crate::{
    instance::Subject,
    refusal::Refusal,
    store::{Connection, StoreError, params},
    time::UnixTime,
};

/// Why sessions end that were opened meanwhile.
pub(crate) const BLOCKED: &str = "blocked";

/// Blocks `subject`; whether they were not so far.
pub fn block(
    connection: &Connection,
    subject: &Subject,
    reason: &str,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let block = "INSERT INTO blocked (sub, reason, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (sub) DO NOTHING";
    Ok(connection.execute(block, params![subject.as_str(), reason, now.as_sql()])? > 0)
}

/// Blocks `subject` no more; whether they were.
pub fn unblock(connection: &Connection, subject: &Subject) -> Result<bool, StoreError> {
    let unblock = "DELETE FROM blocked WHERE sub = ?1";
    Ok(connection.execute(unblock, params![subject.as_str()])? > 0)
}

/// Whether the person with this `subject` is blocked.
pub fn is_blocked(connection: &Connection, subject: &str) -> Result<bool, StoreError> {
    let find = "SELECT 1 FROM blocked WHERE sub = ?1";
    let found: Option<i64> = connection.query_optional(find, params![subject], |row| row.get(0))?;
    Ok(found.is_some())
}

/// What somebody is told who is blocked.
pub(crate) fn refusal() -> Refusal {
    Refusal::new(Code::AccountBlocked, "an admin has blocked this account")
}
