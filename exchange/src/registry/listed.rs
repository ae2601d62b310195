//! Instances as they are listed, and as they are in the database.

use std::collections::BTreeSet;

use super::{RegistryError, entrants};
use crate::{
    instance::InstanceId,
    store::{Connection, Store, StoreError, params},
};

/// An instance as it is listed: without what opens it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Listed {
    /// Its name.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// Whether it may be at a private address.
    pub allow_private: bool,
    /// The kind of access: `hook` or `superuser`.
    pub access: String,
    /// Who owns it.
    pub owner: String,
    /// Who else may enter.
    pub members: BTreeSet<String>,
    /// And whoever has one of these roles, each by the organisation that grants it.
    pub roles: BTreeSet<String>,
    /// Its own page, to which a login may be handed.
    pub page: Option<String>,
}

/// Every instance in `store`, by id.
pub async fn list(store: &Store) -> Result<Vec<Listed>, RegistryError> {
    store
        .read(|connection| {
            let ids = "SELECT id FROM instances ORDER BY id";
            let ids: Vec<String> = connection.query_all(ids, &[], |row| row.get(0))?;
            let rows = ids.iter().map(|id| Ok(select_row(connection, id)?.map(|(row, _)| row)));
            rows.filter_map(Result::transpose).collect::<Result<_, StoreError>>()
        })
        .await
        .map_err(RegistryError::Store)
}

/// How many instances there are in `store`.
pub async fn count(store: &Store) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM instances";
    store.read(move |connection| connection.query_row(count, &[], |row| row.get(0))).await
}

type Row = (Listed, Vec<u8>);

/// The row of the instance `id`, with what opens it, sealed.
pub(super) fn select(
    connection: &Connection,
    id: &InstanceId,
) -> Result<Option<Row>, RegistryError> {
    Ok(select_row(connection, id.as_str())?)
}

fn select_row(connection: &Connection, id: &str) -> Result<Option<Row>, StoreError> {
    let select = "SELECT id, url, allow_private, owner, access, sealed_key, page
                  FROM instances WHERE id = ?1";
    let instance = connection.query_optional(select, params![id], |row| {
        let listed = Listed {
            id: row.get(0)?,
            url: row.get(1)?,
            allow_private: row.get(2)?,
            owner: row.get(3)?,
            access: row.get(4)?,
            members: BTreeSet::new(),
            roles: BTreeSet::new(),
            page: row.get(6)?,
        };
        Ok((listed, row.get(5)?))
    })?;
    let Some((mut listed, sealed)) = instance else { return Ok(None) };
    listed.members = entrants::members(connection, id)?;
    listed.roles = entrants::roles(connection, id)?;
    Ok(Some((listed, sealed)))
}
