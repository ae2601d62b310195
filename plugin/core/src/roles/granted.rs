//! The roles that a token grants.

use std::collections::{BTreeMap, BTreeSet};

use kombi_spec::assertion::GrantedBy;
use serde_json::{Map, Value};

/// Zitadel's claim with the roles of the project that the client belongs to.
const GENERAL: &str = "urn:zitadel:iam:org:project:roles";

/// What Zitadel's claims with the roles of one named project begin and end with.
const SCOPED: (&str, &str) = ("urn:zitadel:iam:org:project:", ":roles");

/// Where an issuer's tokens tell the roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleSource {
    /// In Zitadel's claims, for this project or, without one, for the client's own.
    Zitadel {
        /// The project's id.
        project: Option<String>,
    },
    /// In a claim of this name alone.
    Claim(String),
}

/// The roles that a token grants, each with the organisations that granted it. Issuers that tell
/// roles as a plain list do not tell organisations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    asserted: bool,
    roles: BTreeMap<String, BTreeSet<String>>,
}

impl Grants {
    /// Reads the roles of a verified token: an object (role → organisation → domain), an array of
    /// role names, or an array of such objects. Anything of another shape grants nothing.
    #[must_use]
    pub fn read(claims: &Map<String, Value>, source: &RoleSource) -> Self {
        let Some(claim) = source.claim(claims) else { return Self::default() };
        let mut grants = Self { asserted: true, roles: BTreeMap::new() };
        match claim {
            Value::Object(roles) => grants.add_all(roles),
            Value::Array(entries) => {
                for entry in entries {
                    match entry {
                        Value::String(role) => grants.add(role, BTreeSet::new()),
                        Value::Object(roles) => grants.add_all(roles),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        grants
    }

    /// Adds Zitadel's {role: {organisation: domain}}; a role that no organisation granted is none.
    fn add_all(&mut self, roles: &Map<String, Value>) {
        for (role, granted_by) in roles {
            let organisations: BTreeSet<String> = granted_by
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(id, domain)| !id.is_empty() && domain.is_string())
                .map(|(id, _)| id.clone())
                .collect();
            if !organisations.is_empty() {
                self.add(role, organisations);
            }
        }
    }

    fn add(&mut self, role: &str, organisations: BTreeSet<String>) {
        if !role.is_empty() {
            self.roles.entry(role.to_owned()).or_default().extend(organisations);
        }
    }

    /// Whether the token says anything about roles. Zitadel leaves the claim out both when the
    /// project does not assert roles and when the user has none.
    #[must_use]
    pub fn asserted(&self) -> bool {
        self.asserted
    }

    /// The roles' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.roles.keys().map(String::as_str)
    }

    /// The roles whose organisations are known, with these.
    #[must_use]
    pub fn by_organisation(&self) -> GrantedBy {
        let known = self.roles.iter().filter(|(_, organisations)| !organisations.is_empty());
        known.map(|(role, organisations)| (role.clone(), organisations.clone())).collect()
    }

    /// Whether `role` is granted, by `organisation` if one is named.
    #[must_use]
    pub fn hold(&self, role: &str, organisation: Option<&str>) -> bool {
        self.roles
            .get(role)
            .is_some_and(|granted_by| organisation.is_none_or(|id| granted_by.contains(id)))
    }
}

/// Roles granted without an organisation.
impl FromIterator<String> for Grants {
    fn from_iter<I: IntoIterator<Item = String>>(roles: I) -> Self {
        let roles = roles.into_iter().map(|role| (role, BTreeSet::new())).collect();
        Self { asserted: true, roles }
    }
}

impl RoleSource {
    /// The claim to read, if the token has it.
    ///
    /// A project's own claim is the whole truth about its roles. The general claim speaks of the
    /// project of whatever client asked for the token: a token may carry our audience and the
    /// roles of a stranger. Zitadel repeats what the general claim says in the claim of the
    /// project meant, so where claims of other projects are there and ours is not, the general
    /// one is not about ours. Where there are none at all (Zitadel before it had them), it counts.
    fn claim<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let present = |name: &str| claims.get(name).filter(|claim| !claim.is_null());
        match self {
            Self::Claim(name) => present(name),
            Self::Zitadel { project: None } => present(GENERAL),
            Self::Zitadel { project: Some(id) } => {
                let (prefix, suffix) = SCOPED;
                present(&format!("{prefix}{id}{suffix}")).or_else(|| {
                    let of_a_project = |name: &str| {
                        name.strip_prefix(prefix).is_some_and(|rest| rest.ends_with(suffix))
                    };
                    let others = claims.iter().any(|(n, v)| of_a_project(n) && !v.is_null());
                    if others { None } else { present(GENERAL) }
                })
            }
        }
    }
}
