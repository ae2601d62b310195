//! The roles that a route needs.

use std::collections::{BTreeMap, BTreeSet};

use kombi_spec::code::Code;

use super::{Grants, Hierarchy};
use crate::refusal::Refusal;

/// What the methods of a route need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleRules {
    /// For methods without a demand of their own. If there is none, those methods are refused.
    pub general: Option<Demand>,
    /// In place of the general demand. Methods are case-sensitive (RFC 9110 section 9.1).
    pub by_method: BTreeMap<String, Demand>,
}

/// Roles needed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    /// One of these is enough; if empty, none is needed.
    pub any_of: Vec<Need>,
    /// Each of these is needed.
    pub all_of: Vec<Need>,
}

/// One role needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// As it was configured.
    text: String,
    /// The organisation that must have granted it, if one must.
    organisation: Option<String>,
    /// The roles that will do.
    sufficient: BTreeSet<String>,
}

/// The text is neither `ROLE` nor `ROLE@ORGANISATION`.
#[derive(Debug, thiserror::Error)]
#[error("expected ROLE or ROLE@ORGANISATION, found {0:?}")]
pub struct NeedError(String);

impl Need {
    /// Reads `ROLE`, or `ROLE@ORGANISATION` for a role that this organisation must have granted.
    /// The last `@` separates, so a role may contain one if its organisation is named. A role
    /// that implies the needed one must come from that organisation just the same.
    pub fn parse(text: &str, hierarchy: &Hierarchy) -> Result<Self, NeedError> {
        let (role, organisation) = match text.rsplit_once('@') {
            Some((role, organisation)) => (role, Some(organisation)),
            None => (text, None),
        };
        if role.is_empty() || organisation.is_some_and(str::is_empty) {
            return Err(NeedError(text.to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            organisation: organisation.map(str::to_owned),
            sufficient: hierarchy.as_good_as(role),
        })
    }

    fn is_met_by(&self, grants: &Grants) -> bool {
        self.sufficient.iter().any(|role| grants.hold(role, self.organisation.as_deref()))
    }
}

impl RoleRules {
    /// Refuses a user without the roles that `method` needs. Which these are is told only here,
    /// after the token was verified.
    pub fn check(&self, method: &str, grants: &Grants) -> Result<(), Refusal> {
        let demand = self.demand(method).ok_or_else(|| {
            Refusal::new(
                Code::RoleMissing,
                format!("no role allows the method {} here", method.escape_default()),
            )
        })?;
        demand.check(grants)
    }

    /// HEAD is GET without a body (RFC 9110 section 9.3.2), so it needs the same.
    fn demand(&self, method: &str) -> Option<&Demand> {
        let own = |method| self.by_method.get(method);
        own(method)
            .or_else(|| if method == "HEAD" { own("GET") } else { None })
            .or(self.general.as_ref())
    }
}

impl Demand {
    fn check(&self, grants: &Grants) -> Result<(), Refusal> {
        let missing: Vec<&Need> =
            self.all_of.iter().filter(|need| !need.is_met_by(grants)).collect();
        let one_will_do =
            self.any_of.is_empty() || self.any_of.iter().any(|need| need.is_met_by(grants));
        let mut needed = Vec::new();
        if !missing.is_empty() {
            needed.push(format!("all of the roles {}", list(&self.all_of)));
        }
        if !one_will_do {
            needed.push(format!("one of the roles {}", list(&self.any_of)));
        }
        if needed.is_empty() {
            return Ok(());
        }
        let needed = needed.join(" and ");
        Err(if grants.asserted() {
            let detail = format!("{needed} needed, and the token does not carry them");
            Refusal::new(Code::RoleMissing, detail)
        } else {
            Refusal::new(
                Code::RolesNotAsserted,
                format!("{needed} needed, and the token has no claim about roles"),
            )
        })
    }
}

fn list(needs: &[Need]) -> String {
    needs.iter().map(|need| need.text.as_str()).collect::<Vec<_>>().join(", ")
}
