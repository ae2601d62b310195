//! The roles that a Zitadel token grants, and the roles that a route needs.

use std::collections::BTreeSet;

use kombi_spec::code::Code;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// Zitadel's claim with the roles of the project that the client belongs to.
const ROLES_CLAIM: &str = "urn:zitadel:iam:org:project:roles";

/// The roles that a verified token grants in `project`.
///
/// The claim of the project itself, where it is there, is the whole truth: the general claim
/// speaks of the project of whatever client asked for the token. A claim of another shape grants
/// nothing.
#[must_use]
pub fn granted(claims: &Map<String, Value>, project: Option<&str>) -> BTreeSet<String> {
    let scoped = project
        .map(|id| format!("urn:zitadel:iam:org:project:{id}:roles"))
        .and_then(|name| claims.get(&name));
    match scoped.or_else(|| claims.get(ROLES_CLAIM)) {
        // {role: {organisation: domain}}: a role that no organisation granted is none.
        Some(Value::Object(roles)) => roles
            .iter()
            .filter(|(_, granted_by)| granted_by.as_object().is_some_and(|by| !by.is_empty()))
            .map(|(role, _)| role.clone())
            .collect(),
        Some(Value::Array(roles)) => {
            roles.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => BTreeSet::new(),
    }
}

/// The roles that a route needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRule {
    /// One of these is enough; never empty.
    pub any_of: Vec<String>,
}

impl RoleRule {
    /// Refuses a user without the roles. Which were needed is told only here, after the token
    /// was verified.
    pub fn check(&self, granted: &BTreeSet<String>) -> Result<(), Refusal> {
        if self.any_of.iter().any(|role| granted.contains(role)) {
            return Ok(());
        }
        let needed = self.any_of.join(", ");
        let detail = if granted.is_empty() {
            format!(
                "one of the roles {needed} is needed, but the token carries no roles; \
                 the project setting \"Assert Roles on Authentication\" may be off"
            )
        } else {
            format!("one of the roles {needed} is needed, and the token carries none of them")
        };
        Err(Refusal::new(Code::RoleMissing, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn roles(claims: Value, project: Option<&str>) -> Vec<String> {
        granted(claims.as_object().unwrap(), project).into_iter().collect()
    }

    const SCOPED: &str = "urn:zitadel:iam:org:project:7:roles";

    #[test]
    fn roles_are_read_from_objects_and_arrays() {
        for claim in [
            json!({"admin:tools": {"1": "a.example"}, "user.x": {"2": "b.example"}}),
            json!(["admin:tools", "user.x"]),
        ] {
            assert_eq!(roles(json!({ ROLES_CLAIM: claim }), None), ["admin:tools", "user.x"]);
            assert_eq!(roles(json!({ SCOPED: claim }), Some("7")), ["admin:tools", "user.x"]);
        }
    }

    #[test]
    fn the_projects_own_claim_wins_over_the_general_one() {
        let claims = json!({ROLES_CLAIM: ["admin"], SCOPED: ["user"]});
        assert_eq!(roles(claims.clone(), Some("7")), ["user"]);
        assert_eq!(roles(claims.clone(), Some("8")), ["admin"]);
        assert_eq!(roles(claims, None), ["admin"]);
        assert!(roles(json!({ROLES_CLAIM: ["admin"], SCOPED: {}}), Some("7")).is_empty());
    }

    #[test]
    fn claims_of_another_shape_grant_nothing() {
        for claim in [
            json!(null),
            json!("admin"),
            json!(1),
            json!({}),
            json!([]),
            json!([["admin"], {"admin": {}}, null]),
            json!({"admin": {}, "b": null, "c": "x", "d": true, "e": ["1"]}),
        ] {
            assert!(roles(json!({ ROLES_CLAIM: claim }), None).is_empty(), "{claim}");
        }
        assert!(roles(json!({}), Some("7")).is_empty());
    }

    #[test]
    fn one_of_the_needed_roles_is_enough() {
        let rule = RoleRule { any_of: vec!["a".into(), "b".into()] };
        assert!(rule.check(&["b".to_owned()].into()).is_ok());
        for granted in [BTreeSet::new(), ["c".to_owned()].into(), ["A".to_owned()].into()] {
            assert_eq!(rule.check(&granted).unwrap_err().code, Code::RoleMissing);
        }
    }
}
