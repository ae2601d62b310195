//! Who may enter each instance besides its owner, and what follows when they may no more.

use std::collections::BTreeSet;

use super::{Registry, RegistryError, unreadable};
use crate::{
    audit::{Act, Action, Record},
    entrant::{Entrant, EntryRole},
    instance::{InstanceId, Subject},
    revocations,
    store::{Connection, Row, StoreError, params},
    time::UnixTime,
};

/// Why sessions end.
const DISMISSED: &str = "may not enter any more";

impl Registry {
    /// Lets `entrant` into an instance from now on; whether they could not enter so far.
    pub async fn admit(
        &self,
        id: &InstanceId,
        entrant: Entrant,
        act: &Act,
        now: UnixTime,
    ) -> Result<bool, RegistryError> {
        let (id, audit) = (id.clone(), self.audit.clone());
        let record = about(act.did(Action::InstanceAdmit).at(&id), &entrant);
        let admit = move |connection: &Connection| {
            must_exist(connection, &id)?;
            let added = insert(connection, id.as_str(), &entrant)?;
            audit.record(connection, &record, now)?;
            Ok(added)
        };
        self.store.write(admit).await
    }

    /// Lets `entrant` in no more, and asks for the end of the sessions that they may have there;
    /// whether they could enter so far. Tell the [`revocations::News`] after it.
    pub async fn dismiss(
        &self,
        id: &InstanceId,
        entrant: Entrant,
        act: &Act,
        now: UnixTime,
    ) -> Result<bool, RegistryError> {
        let (id, audit) = (id.clone(), self.audit.clone());
        let record = about(act.did(Action::InstanceDismiss).at(&id), &entrant);
        let dismiss = move |connection: &Connection| {
            must_exist(connection, &id)?;
            let removed = delete(connection, id.as_str(), &entrant)?;
            for subject in losing(connection, id.as_str(), &entrant)? {
                let subject = Subject::parse(&subject).map_err(|e| unreadable(id.as_str(), e))?;
                revocations::ask(connection, &id, &subject, DISMISSED, now)?;
            }
            audit.record(connection, &record, now)?;
            Ok(removed)
        };
        self.store.write(dismiss).await
    }
}

/// The record of what happens to `entrant`.
fn about(record: Record, entrant: &Entrant) -> Record {
    match entrant {
        Entrant::Member(subject) => record.on(subject.as_str()),
        Entrant::Role(role) => record.with(role.to_string()),
    }
}

/// Writes down that `entrant` may enter; whether that is new.
pub(super) fn insert(
    connection: &Connection,
    id: &str,
    entrant: &Entrant,
) -> Result<bool, StoreError> {
    let inserted = match entrant {
        Entrant::Member(subject) => connection.execute(
            "INSERT INTO members (instance_id, sub) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
            params![id, subject.as_str()],
        )?,
        Entrant::Role(role) => connection.execute(
            "INSERT INTO entry_roles (instance_id, organisation, role) VALUES (?1, ?2, ?3)
             ON CONFLICT DO NOTHING",
            params![id, role.organisation(), role.role()],
        )?,
    };
    Ok(inserted > 0)
}

fn delete(connection: &Connection, id: &str, entrant: &Entrant) -> Result<bool, StoreError> {
    let deleted = match entrant {
        Entrant::Member(subject) => connection.execute(
            "DELETE FROM members WHERE instance_id = ?1 AND sub = ?2",
            params![id, subject.as_str()],
        )?,
        Entrant::Role(role) => connection.execute(
            "DELETE FROM entry_roles WHERE instance_id = ?1 AND organisation = ?2 AND role = ?3",
            params![id, role.organisation(), role.role()],
        )?,
    };
    Ok(deleted > 0)
}

/// Who may have a session in the instance only because of an `entrant` that was removed. Which
/// roles somebody has is known when they come, so of a role these are all who are neither owner nor
/// member; who may still enter comes in again.
fn losing(connection: &Connection, id: &str, entrant: &Entrant) -> Result<Vec<String>, StoreError> {
    let read = |row: &Row<'_>| row.get(0);
    match entrant {
        Entrant::Member(subject) => {
            let unless_owner = "SELECT ?2 FROM instances WHERE id = ?1 AND owner <> ?2";
            connection.query_all(unless_owner, params![id, subject.as_str()], read)
        }
        Entrant::Role(_) => {
            let others = "SELECT sub FROM links WHERE instance_id = ?1 AND until IS NULL
                          EXCEPT SELECT sub FROM members WHERE instance_id = ?1
                          EXCEPT SELECT owner FROM instances WHERE id = ?1";
            connection.query_all(others, params![id], read)
        }
    }
}

/// The members of the instance `id`.
pub(super) fn members(connection: &Connection, id: &str) -> Result<BTreeSet<String>, StoreError> {
    let members = "SELECT sub FROM members WHERE instance_id = ?1";
    Ok(connection.query_all(members, params![id], |row| row.get(0))?.into_iter().collect())
}

/// The roles that let people into the instance `id`, as they are written.
pub(super) fn roles(connection: &Connection, id: &str) -> Result<BTreeSet<String>, StoreError> {
    let roles = "SELECT role || '@' || organisation FROM entry_roles WHERE instance_id = ?1";
    Ok(connection.query_all(roles, params![id], |row| row.get(0))?.into_iter().collect())
}

/// What [`members`] and [`roles`] have told of the instance `id`.
pub(super) fn parsed(
    id: &str,
    members: &BTreeSet<String>,
    roles: &BTreeSet<String>,
) -> Result<(BTreeSet<Subject>, BTreeSet<EntryRole>), RegistryError> {
    let member = |text: &String| Subject::parse(text).map_err(|e| unreadable(id, e));
    let role = |text: &String| EntryRole::parse(text).map_err(|e| unreadable(id, e));
    Ok((
        members.iter().map(member).collect::<Result<_, _>>()?,
        roles.iter().map(role).collect::<Result<_, _>>()?,
    ))
}

fn must_exist(connection: &Connection, id: &InstanceId) -> Result<(), RegistryError> {
    let find = "SELECT 1 FROM instances WHERE id = ?1";
    let found: Option<i64> =
        connection.query_optional(find, params![id.as_str()], |row| row.get(0))?;
    found.map(|_| ()).ok_or_else(|| RegistryError::Missing(id.clone()))
}
