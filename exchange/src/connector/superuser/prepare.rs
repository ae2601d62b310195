//! Makes an instance without a hook ready: the hidden, unique field that links its users to people,
//! and the one with their feature flags, out of reach of the users themselves.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    super::{
        ConnectorError,
        check::{Look, Wrong},
    },
    api::{Api, FEATURE_FLAGS, NO_SUPERUSERS, Pass, Trouble, ZITADEL_SUB, misbehaved},
    no_guest,
};
use crate::access::Superuser;

/// As the hook's migration names it, so that an instance can change from one way in to the other.
const INDEX: &str = "CREATE UNIQUE INDEX `idx_users_zitadel_sub` ON `users` (`zitadel_sub`) \
                     WHERE `zitadel_sub` != ''";

/// What keeps clients from setting their own flags. PocketBase has no rule for one field, so it is
/// part of the rules of who may create and change users. Hidden fields need none: clients cannot
/// set them.
const FLAGS_STAY: &str = "@request.body.feature_flags:isset = false";

/// As the hook's migration has it, in bytes.
const MAX_FLAGS_BYTES: u32 = 32 * 1024;

/// What [`prepare`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// All was there.
    AlreadyThere,
    /// Fields, index or rules were added.
    Added,
}

/// The part of the description of the collection of users that may need a change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Schema {
    fields: Vec<Value>,
    indexes: Vec<String>,
    /// Who may create users; none lets superusers alone.
    #[serde(rename = "createRule")]
    create_rule: Option<String>,
    #[serde(rename = "updateRule")]
    update_rule: Option<String>,
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
    if !looks_up(api, &pass).await {
        return Err(misbehaved(TOO_OLD));
    }
    Ok(if missing { Prepared::Added } else { Prepared::AlreadyThere })
}

const TOO_OLD: &str = "it cannot look users up by zitadel_sub and email:lower: expected PocketBase \
                       0.36 or newer";

/// What mends that.
const UPDATE: &str = "update the instance to PocketBase 0.36 or newer";

/// Whether users can be looked up as every first login does; an older PocketBase does not know the
/// modifier.
async fn looks_up(api: Api<'_>, pass: &Pass) -> bool {
    api.find(pass, "zitadel_sub = \"-\" && email:lower = \"-\"").await.is_ok()
}

/// What is not in place, and what puts it there.
pub(super) async fn wrong(api: Api<'_>, superuser: &Superuser) -> Option<Wrong> {
    let pass = match api.sign_in(superuser).await {
        Ok(pass) => pass,
        Err(ConnectorError::Misbehaved(found)) if found == NO_SUPERUSERS => {
            return Some(Wrong::new(Look::Version, found, UPDATE));
        }
        Err(error @ ConnectorError::Misbehaved(_)) => {
            let mend = "replace the superuser or its password: kombi-exchange instance rotate-key \
                        --superuser";
            return Some(Wrong::new(Look::Access, error.to_string(), mend));
        }
        Err(error) => return Some(Wrong::unreachable(&error)),
    };
    let adds = "kombi-exchange instance rotate-key --superuser adds what is missing";
    let fields = |found: String| Some(Wrong::new(Look::Fields, found, adds));
    match api.users::<Schema>(&pass).await {
        Err(trouble) => {
            let mend = "see that it is a PocketBase with a collection users";
            return Some(Wrong::new(Look::Version, no_guest(&trouble).to_string(), mend));
        }
        Ok(mut users) => match missing(&mut users) {
            Err(error) => return fields(error.to_string()),
            Ok(true) => {
                let found = "zitadel_sub, its unique index, feature_flags, or the rules that keep \
                             users from changing them are not there";
                return fields(found.to_owned());
            }
            Ok(false) => {}
        },
    }
    (!looks_up(api, &pass).await).then(|| Wrong::new(Look::Version, TOO_OLD, UPDATE))
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
    match users.fields.iter().find(|field| is(field, "name", FEATURE_FLAGS.into())) {
        None => {
            let field = json!({"name": FEATURE_FLAGS, "type": "json", "maxSize": MAX_FLAGS_BYTES});
            users.fields.push(field);
            added = true;
        }
        Some(field) if is(field, "type", "json".into()) => {}
        Some(_) => {
            return Err(misbehaved(
                "its users have a field feature_flags that is not JSON: its owner must rename it",
            ));
        }
    }
    for rule in [&mut users.create_rule, &mut users.update_rule] {
        added |= guard(rule);
    }
    Ok(added)
}

/// Adds to a rule what keeps clients from setting their own flags; whether it was missing.
fn guard(rule: &mut Option<String>) -> bool {
    let Some(rule) = rule.as_mut().filter(|rule| !rule.contains(FLAGS_STAY)) else { return false };
    *rule = match rule.trim() {
        "" => FLAGS_STAY.to_owned(),
        others => format!("({others}) && {FLAGS_STAY}"),
    };
    true
}

fn is_unique_on_the_field(index: &str) -> bool {
    let index = index.to_ascii_lowercase().replace(['`', '"', '[', ']', ' ', '\n', '\t'], "");
    index.starts_with("createuniqueindex") && index.contains("(zitadel_sub)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(fields: &[Value]) -> Schema {
        Schema {
            fields: fields.to_vec(),
            indexes: Vec::new(),
            create_rule: Some(String::new()),
            update_rule: None,
        }
    }

    #[test]
    fn only_what_is_missing_is_added() {
        let mut bare = users(&[json!({"name": "email", "type": "email"})]);
        assert!(missing(&mut bare).unwrap());
        assert_eq!(bare.fields[1]["hidden"], true);
        assert_eq!(bare.fields[2]["name"], FEATURE_FLAGS);
        assert_eq!(bare.indexes, [INDEX]);
        assert_eq!(bare.create_rule.as_deref(), Some(FLAGS_STAY));
        assert_eq!(bare.update_rule, None, "superusers alone");
        assert!(!missing(&mut bare).unwrap());
    }

    #[test]
    fn a_field_of_another_kind_is_left_alone() {
        for field in [
            json!({"name": "zitadel_sub", "type": "text", "hidden": false}),
            json!({"name": "zitadel_sub", "type": "number", "hidden": true}),
            json!({"name": "feature_flags", "type": "text"}),
        ] {
            let mut users = users(&[field]);
            assert!(missing(&mut users).is_err());
        }
    }

    #[test]
    fn a_rule_is_kept_and_guarded_once() {
        let mut rule = Some("id = @request.auth.id || @request.auth.admin = true".to_owned());
        assert!(guard(&mut rule));
        let guarded =
            format!("(id = @request.auth.id || @request.auth.admin = true) && {FLAGS_STAY}");
        assert_eq!(rule.as_deref(), Some(&*guarded));
        assert!(!guard(&mut rule));
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
