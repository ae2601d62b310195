//! Makes an instance without a hook ready: the hidden, unique field that links its users to people.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    super::ConnectorError,
    api::{Api, Trouble, ZITADEL_SUB, misbehaved},
    no_guest,
};
use crate::access::Superuser;

/// As the hook's migration names it, so that an instance can change from one way in to the other.
const INDEX: &str = "CREATE UNIQUE INDEX `idx_users_zitadel_sub` ON `users` (`zitadel_sub`) \
                     WHERE `zitadel_sub` != ''";

/// What [`prepare`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// All was there.
    AlreadyThere,
    /// The field and its index were added.
    Added,
}

/// The part of the description of the collection of users that may need a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Schema {
    fields: Vec<Value>,
    indexes: Vec<String>,
}

/// Signs in as `superuser`, and adds what is missing. What is there but different is not changed:
/// the error says what to do.
pub(super) async fn prepare(
    api: Api<'_>,
    superuser: &Superuser,
) -> Result<Prepared, ConnectorError> {
    let pass = api.sign_in(superuser).await?;
    let failed = |trouble: Trouble| no_guest(&trouble);
    let mut users: Schema = api.users(&pass).await.map_err(failed)?;
    let missing = missing(&mut users)?;
    if missing {
        let change = serde_json::to_value(&users);
        let change = change.map_err(|error| ConnectorError::Internal(error.to_string()))?;
        api.change_users(&pass, &change).await.map_err(failed)?;
    }
    // As every first login does; an older PocketBase does not know the modifier.
    let asked = api.find(&pass, "zitadel_sub = \"-\" && email:lower = \"-\"").await;
    asked.map_err(|_| {
        misbehaved(
            "it cannot look users up by zitadel_sub and email:lower: expected PocketBase 0.36 or \
             newer",
        )
    })?;
    Ok(if missing { Prepared::Added } else { Prepared::AlreadyThere })
}

/// Adds what is missing to the description of the collection; whether anything was.
fn missing(users: &mut Schema) -> Result<bool, ConnectorError> {
    let mut added = false;
    let is = |field: &Value, name, value: Value| field.get(name) == Some(&value);
    match users.fields.iter().find(|field| is(field, "name", ZITADEL_SUB.into())) {
        None => {
            let field = json!({"name": ZITADEL_SUB, "type": "text", "hidden": true, "max": 255});
            users.fields.push(field);
            added = true;
        }
        Some(field) if is(field, "type", "text".into()) && is(field, "hidden", true.into()) => {}
        Some(_) => {
            return Err(misbehaved(
                "its users have a field zitadel_sub that is not a hidden text: its owner must \
                 rename it or hide it",
            ));
        }
    }
    if !users.indexes.iter().any(|index| is_unique_on_the_field(index)) {
        users.indexes.push(INDEX.to_owned());
        added = true;
    }
    Ok(added)
}

fn is_unique_on_the_field(index: &str) -> bool {
    let index = index.to_ascii_lowercase().replace(['`', '"', '[', ']', ' ', '\n', '\t'], "");
    index.starts_with("createuniqueindex") && index.contains("(zitadel_sub)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(fields: &[Value]) -> Schema {
        Schema { fields: fields.to_vec(), indexes: Vec::new() }
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let mut bare = users(&[json!({"name": "email", "type": "email"})]);
        assert!(missing(&mut bare).unwrap());
        assert_eq!(bare.fields[1]["hidden"], true);
        assert_eq!(bare.indexes, [INDEX]);
        assert!(!missing(&mut bare).unwrap());
    }

    #[test]
    fn a_field_of_another_kind_is_left_alone() {
        for field in [
            json!({"name": "zitadel_sub", "type": "text", "hidden": false}),
            json!({"name": "zitadel_sub", "type": "number", "hidden": true}),
        ] {
            let mut users = users(&[field]);
            let before = users.clone();
            assert!(missing(&mut users).is_err());
            assert_eq!(users, before);
        }
    }

    #[test]
    fn an_index_counts_if_it_is_unique_and_on_that_field_alone() {
        for (index, counts) in [
            (INDEX, true),
            ("create unique index x on users (\"zitadel_sub\")", true),
            ("CREATE INDEX x ON users (zitadel_sub)", false),
            ("CREATE UNIQUE INDEX x ON users (zitadel_sub, email)", false),
        ] {
            assert_eq!(is_unique_on_the_field(index), counts, "{index}");
        }
    }
}
