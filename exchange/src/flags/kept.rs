//! Flags as the database keeps them.

use std::time::Duration;

use kombi_spec::account::Flags;
use serde::Serialize;

use super::{Due, Outcome};
use crate::{
    instance::{InstanceId, Subject},
    store::{Connection, Row, StoreError, params},
    time::UnixTime,
};

/// How far flags have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The instance has them.
    Applied,
    /// It has not, or not yet.
    Pending,
}

/// Somebody's flags, and how far they have come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Their version.
    pub version: u64,
    /// All of them.
    pub flags: Flags,
    /// Whether the instance has them.
    pub state: State,
    /// For how long it should have them and has not, in seconds.
    pub lag_s: u64,
    /// The version that it has, as far as it said.
    pub applied_version: Option<u64>,
    /// Why it has not this one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// Flags that were not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There are some of this version, or of a later one.
    Outdated {
        /// The version.
        there: u64,
    },
}

/// Sets the flags of `subject` in `instance`, unless there are as new ones. The same ones may be
/// set again.
pub fn set(
    connection: &Connection,
    (instance, subject): (&InstanceId, &Subject),
    version: u64,
    flags: &Flags,
    now: UnixTime,
) -> Result<Result<(), Refused>, StoreError> {
    if let Some(there) = read(connection, instance, subject, now)? {
        if there.version == version && there.flags == *flags {
            return Ok(Ok(()));
        }
        if there.version >= version {
            return Ok(Err(Refused::Outdated { there: there.version }));
        }
    }
    // Names, switches and texts always serialise.
    let flags = serde_json::to_string(flags).unwrap_or_default();
    connection.execute(
        "INSERT INTO flags (instance_id, sub, version, flags, set_at, problem, failures, next_at)
         VALUES (?1, ?2, ?3, ?4, ?5, '', 0, ?5)
         ON CONFLICT (instance_id, sub) DO UPDATE SET
             version = excluded.version, flags = excluded.flags, set_at = excluded.set_at,
             problem = '', failures = 0, next_at = excluded.next_at",
        params![instance.as_str(), subject.as_str(), as_sql(version), flags, now.as_sql()],
    )?;
    Ok(Ok(()))
}

/// The flags of `subject` in `instance`, if there are any.
pub fn read(
    connection: &Connection,
    instance: &InstanceId,
    subject: &Subject,
    now: UnixTime,
) -> Result<Option<Standing>, StoreError> {
    let select = "SELECT version, flags, set_at, applied_version, problem FROM flags
                  WHERE instance_id = ?1 AND sub = ?2";
    connection.query_optional(select, params![instance.as_str(), subject.as_str()], |row| {
        let applied_version = row.get::<Option<i64>>(3)?.map(from_sql);
        let version = from_sql(row.get(0)?);
        let applied = applied_version == Some(version);
        let set_at = UnixTime::from_sql(row.get(2)?);
        Ok(Standing {
            version,
            flags: flags_in(row, 1)?,
            state: if applied { State::Applied } else { State::Pending },
            lag_s: if applied { 0 } else { now.since(set_at).as_secs() },
            applied_version,
            problem: row.get(4)?,
        })
    })
}

/// `subject` was just let into `instance`: whether flags have waited for that, which are due now.
pub fn someone_came(
    connection: &Connection,
    instance: &InstanceId,
    subject: &Subject,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let due = "UPDATE flags SET next_at = ?3 WHERE instance_id = ?1 AND sub = ?2
               AND applied_version IS DISTINCT FROM version AND next_at > ?3";
    let rows =
        connection.execute(due, params![instance.as_str(), subject.as_str(), now.as_sql()])?;
    Ok(rows > 0)
}

/// How many are not where they should be.
pub fn count_pending(connection: &Connection) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM flags WHERE applied_version IS DISTINCT FROM version";
    connection.query_row(count, &[], |row| row.get(0))
}

pub(super) fn due(
    connection: &Connection,
    instance: InstanceId,
    subject: Subject,
) -> Result<Due, StoreError> {
    let select = "SELECT version, flags, set_at, applied_version IS NOT DISTINCT FROM version,
                         failures
                  FROM flags WHERE instance_id = ?1 AND sub = ?2";
    connection.query_row(select, params![instance.as_str(), subject.as_str()], |row| {
        Ok(Due {
            instance: instance.clone(),
            subject: subject.clone(),
            version: from_sql(row.get(0)?),
            flags: flags_in(row, 1)?,
            set_at: UnixTime::from_sql(row.get(2)?),
            applied: row.get(3)?,
            failures: row.get(4)?,
        })
    })
}

/// Writes down what an attempt came to, and when the next is due; whether the version is still the
/// one that was tried.
pub(super) fn settle(
    connection: &Connection,
    due: &Due,
    outcome: &Outcome,
    drift: Duration,
    now: UnixTime,
) -> Result<bool, StoreError> {
    let (instance, sub, version) =
        (due.instance.as_str(), due.subject.as_str(), as_sql(due.version));
    let changed = match outcome {
        Outcome::Applied { .. } => connection.execute(
            "UPDATE flags SET applied_version = version, applied_at = CASE
                     WHEN applied_version IS DISTINCT FROM version THEN ?4 ELSE applied_at END,
                 problem = '', failures = 0, next_at = ?5
             WHERE instance_id = ?1 AND sub = ?2 AND version = ?3",
            params![instance, sub, version, now.as_sql(), now.plus(drift).as_sql()],
        )?,
        Outcome::Missing(problem) => connection.execute(
            "UPDATE flags SET applied_version = NULL, applied_at = NULL, problem = ?4,
                 failures = 0, next_at = ?5
             WHERE instance_id = ?1 AND sub = ?2 AND version = ?3",
            params![instance, sub, version, problem, now.plus(drift).as_sql()],
        )?,
        Outcome::Failed { problem, pause } => connection.execute(
            "UPDATE flags SET problem = ?4, failures = failures + 1, next_at = ?5
             WHERE instance_id = ?1 AND sub = ?2 AND version = ?3",
            params![instance, sub, version, problem, now.plus(*pause).as_sql()],
        )?,
    };
    Ok(changed > 0)
}

fn flags_in(row: &Row<'_>, column: usize) -> Result<Flags, StoreError> {
    let flags: String = row.get(column)?;
    let unreadable = StoreError::Unreadable { column, expected: "flags as JSON" };
    serde_json::from_str(&flags).map_err(|_| unreadable)
}

/// Versions are below 2^53.
fn as_sql(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

fn from_sql(version: i64) -> u64 {
    u64::try_from(version).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kombi_spec::account::Flag;
    use proptest::prelude::*;

    const NOW: UnixTime = UnixTime::from_secs(1_000_000);

    fn database() -> (Connection, InstanceId, Subject) {
        let connection = Connection::in_memory();
        let insert = "INSERT INTO instances (id, url, allow_private, owner, sealed_key, added_at)
                      VALUES ('lab', 'https://a', FALSE, 'o', ?1, 0)";
        connection.execute(insert, params![vec![0]]).unwrap();
        (connection, InstanceId::parse("lab").unwrap(), Subject::parse("ada").unwrap())
    }

    fn flags(on: bool) -> Flags {
        [("beta".to_owned(), Flag::Switch(on))].into()
    }

    proptest! {
        /// Whatever order they are set and applied in: the greatest version stands, what is told
        /// as applied was applied, and an answer to an earlier version settles nothing.
        #[test]
        fn the_greatest_version_stands_and_only_its_own_answer_settles_it(
            events in proptest::collection::vec((1_u64..6, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let (connection, lab, ada) = database();
            let mut stands: Option<(u64, bool)> = None;
            let mut applied: Option<u64> = None;
            let mut taken: Vec<Due> = Vec::new();
            for (version, on, set_it) in events {
                if set_it {
                    let done = set(&connection, (&lab, &ada), version, &flags(on), NOW).unwrap();
                    let fits = stands.is_none_or(|there| version > there.0 || (version, on) == there);
                    prop_assert_eq!(done.is_ok(), fits);
                    if fits {
                        stands = Some((version, on));
                    }
                    if stands.is_some() {
                        taken.push(due(&connection, lab.clone(), ada.clone()).unwrap());
                    }
                } else if let Some(due) = taken.pop() {
                    let answer = Outcome::Applied { mended: false };
                    let settled = settle(&connection, &due, &answer, Duration::ZERO, NOW).unwrap();
                    prop_assert_eq!(settled, stands.is_some_and(|there| there.0 == due.version));
                    if settled {
                        applied = Some(due.version);
                    }
                }
                let standing = read(&connection, &lab, &ada, NOW).unwrap();
                prop_assert_eq!(standing.as_ref().map(|s| s.version), stands.map(|s| s.0));
                prop_assert_eq!(standing.as_ref().and_then(|s| s.applied_version), applied);
                let is = standing.is_some_and(|s| s.state == State::Applied);
                prop_assert_eq!(is, applied.is_some() && applied == stands.map(|s| s.0));
            }
        }
    }
}
