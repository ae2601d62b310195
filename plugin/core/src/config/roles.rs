//! The roles that a route needs, as configured.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{ConfigError, given, invalid, list::List, names, non_empty};
use crate::roles::{Demand, Hierarchy, Need, RoleRules};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoles {
    #[serde(default, deserialize_with = "given")]
    any_of: Option<List<String>>,
    #[serde(default, deserialize_with = "given")]
    all_of: Option<List<String>>,
    #[serde(default, deserialize_with = "given")]
    by_method: Option<BTreeMap<String, RawDemand>>,
    #[serde(default, deserialize_with = "given")]
    implies: Option<BTreeMap<String, List<String>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDemand {
    #[serde(default, deserialize_with = "given")]
    any_of: Option<List<String>>,
    #[serde(default, deserialize_with = "given")]
    all_of: Option<List<String>>,
}

impl RawRoles {
    pub(super) fn parse(self) -> Result<RoleRules, ConfigError> {
        let hierarchy = hierarchy(self.implies.unwrap_or_default())?;
        let general = RawDemand { any_of: self.any_of, all_of: self.all_of };
        let general =
            if general.is_empty() { None } else { Some(general.parse("roles", &hierarchy)?) };
        let by_method = self.by_method.map(|raw| by_method(raw, &hierarchy)).transpose()?;
        match (&general, by_method) {
            (None, None) => Err(invalid("roles", "expected any_of, all_of or by_method")),
            (_, by_method) => Ok(RoleRules { general, by_method: by_method.unwrap_or_default() }),
        }
    }
}

impl RawDemand {
    fn is_empty(&self) -> bool {
        self.any_of.is_none() && self.all_of.is_none()
    }

    fn parse(self, at: &str, hierarchy: &Hierarchy) -> Result<Demand, ConfigError> {
        if self.is_empty() {
            return Err(invalid(at, "expected any_of or all_of"));
        }
        let needs = |name: &str, list: Option<List<String>>| {
            let Some(list) = list else { return Ok(Vec::new()) };
            let field = format!("{at}.{name}");
            names(field.clone(), list)?
                .iter()
                .map(|text| {
                    Need::parse(text, hierarchy).map_err(|e| invalid(field.clone(), e.to_string()))
                })
                .collect()
        };
        Ok(Demand { any_of: needs("any_of", self.any_of)?, all_of: needs("all_of", self.all_of)? })
    }
}

fn by_method(
    raw: BTreeMap<String, RawDemand>,
    hierarchy: &Hierarchy,
) -> Result<BTreeMap<String, Demand>, ConfigError> {
    let demands = raw
        .into_iter()
        .map(|(method, demand)| {
            let at = format!("roles.by_method.{method}");
            if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
                return Err(invalid(at, "expected a method in capital letters"));
            }
            Ok((method, demand.parse(&at, hierarchy)?))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(non_empty("roles.by_method", demands)?.into_iter().collect())
}

fn hierarchy(raw: BTreeMap<String, List<String>>) -> Result<Hierarchy, ConfigError> {
    let implies = raw
        .into_iter()
        .map(|(role, implied)| {
            let at = format!("roles.implies.{role}");
            let implied = names(at.clone(), implied)?;
            if implied.iter().chain([&role]).any(|role| role.is_empty() || role.contains('@')) {
                return Err(invalid(at, "expected role names, without an organisation"));
            }
            Ok((role, implied))
        })
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Hierarchy::new(implies))
}
