//! The plan that a user has booked, as far as the token tells.

use serde_json::{Map, Value};

use crate::roles::Grants;

/// Where an issuer's tokens tell the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlanSource {
    /// In the role that begins with this prefix; the rest of its name is the plan.
    RolePrefix(String),
    /// In the claim of this name.
    Claim(String),
}

impl PlanSource {
    /// The plan of a verified token. With two plans there is no telling which one counts, so
    /// there is none.
    #[must_use]
    pub fn plan(&self, claims: &Map<String, Value>, grants: &Grants) -> Option<String> {
        let plan = match self {
            Self::Claim(name) => claims.get(name)?.as_str()?,
            Self::RolePrefix(prefix) => {
                let mut plans =
                    grants.names().filter_map(|role| role.strip_prefix(prefix.as_str()));
                plans.next().filter(|_| plans.next().is_none())?
            }
        };
        Some(plan.to_owned()).filter(|plan| !plan.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn plan(source: &PlanSource, roles: &[&str], claims: Value) -> Option<String> {
        let grants = roles.iter().map(ToString::to_string).collect();
        source.plan(claims.as_object().unwrap(), &grants)
    }

    #[test]
    fn the_plan_is_the_rest_of_the_one_role_with_the_prefix() {
        let source = PlanSource::RolePrefix("plan:".to_owned());
        for (roles, expected) in [
            (&["plan:pro", "user"][..], Some("pro")),
            (&["plan:a.b:c"], Some("a.b:c")),
            (&["user", "Plan:pro", "my-plan:pro"], None),
            (&["plan:"], None),
            (&["plan:free", "plan:pro"], None),
            (&[], None),
        ] {
            assert_eq!(
                plan(&source, roles, json!({"plan:": "x"})).as_deref(),
                expected,
                "{roles:?}"
            );
        }
    }

    #[test]
    fn or_what_the_claim_says() {
        let source = PlanSource::Claim("plan".to_owned());
        assert_eq!(plan(&source, &[], json!({"plan": "pro"})).as_deref(), Some("pro"));
        for claim in [json!(""), json!(null), json!(1), json!(["pro"])] {
            assert_eq!(plan(&source, &["plan:pro"], json!({ "plan": claim })), None);
        }
    }
}
