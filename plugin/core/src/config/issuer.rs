//! An accepted issuer.

use serde::Deserialize;

use super::{ConfigError, HttpUrl, given, invalid, list::List, names};
use crate::{plan::PlanSource, roles::RoleSource, token::Algorithm};

/// An accepted issuer.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its identifier, which `iss` must equal to the letter.
    pub url: HttpUrl,
    /// The accepted audiences; never empty.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms; never empty.
    pub algorithms: Vec<Algorithm>,
    /// Where its tokens tell the roles.
    pub roles: RoleSource,
    /// Where its tokens tell the plan, if they do.
    pub plan: Option<PlanSource>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIssuer {
    issuer: String,
    audiences: List<String>,
    algorithms: List<String>,
    #[serde(default, deserialize_with = "given")]
    project: Option<String>,
    #[serde(default, deserialize_with = "given")]
    roles_claim: Option<String>,
    #[serde(default, deserialize_with = "given")]
    plan: Option<RawPlan>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    #[serde(default, deserialize_with = "given")]
    role_prefix: Option<String>,
    #[serde(default, deserialize_with = "given")]
    claim: Option<String>,
}

impl RawIssuer {
    pub(super) fn parse(self, at: &str) -> Result<Issuer, ConfigError> {
        let field = |name: &str| format!("{at}.{name}");
        let url = HttpUrl::parse(&self.issuer).map_err(|e| invalid(field("issuer"), e))?;
        if self.issuer.contains('?') {
            // OpenID Connect Discovery 1.0 section 3.
            return Err(invalid(field("issuer"), "expected a URL without a query"));
        }
        let roles = match (self.project, self.roles_claim) {
            (Some(_), Some(_)) => {
                let problem = "makes no sense beside project: roles are read from one place";
                return Err(invalid(field("roles_claim"), problem));
            }
            (None, Some(claim)) => RoleSource::Claim(name(field("roles_claim"), claim)?),
            (project, None) => {
                let project = project.map(|id| name(field("project"), id)).transpose()?;
                RoleSource::Zitadel { project }
            }
        };
        Ok(Issuer {
            url,
            audiences: names(field("audiences"), self.audiences)?,
            algorithms: algorithms(field("algorithms"), self.algorithms)?,
            roles,
            plan: self.plan.map(|plan| plan.parse(field("plan"))).transpose()?,
        })
    }
}

impl RawPlan {
    fn parse(self, at: String) -> Result<PlanSource, ConfigError> {
        match (self.role_prefix, self.claim) {
            (Some(prefix), None) => Ok(PlanSource::RolePrefix(name(at, prefix)?)),
            (None, Some(claim)) => Ok(PlanSource::Claim(name(at, claim)?)),
            _ => Err(invalid(at, "expected either role_prefix or claim")),
        }
    }
}

fn name(field: String, text: String) -> Result<String, ConfigError> {
    if text.is_empty() { Err(invalid(field, "expected a name, found nothing")) } else { Ok(text) }
}

fn algorithms(field: String, list: List<String>) -> Result<Vec<Algorithm>, ConfigError> {
    let names = names(field.clone(), list)?;
    names
        .iter()
        .map(|name| {
            name.parse().map_err(|_| {
                let problem = format!("expected asymmetric JWS algorithms, found {name:?}");
                invalid(field.clone(), problem)
            })
        })
        .collect()
}

#[cfg(test)]
impl Issuer {
    /// An issuer as a configuration would name it.
    pub(crate) fn for_tests(url: &str, audiences: &[&str], algorithms: &[Algorithm]) -> Self {
        Self {
            url: HttpUrl::parse(url).unwrap(),
            audiences: audiences.iter().map(ToString::to_string).collect(),
            algorithms: algorithms.to_vec(),
            roles: RoleSource::Zitadel { project: None },
            plan: None,
        }
    }
}
