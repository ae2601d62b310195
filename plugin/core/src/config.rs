//! The filter's configuration: parsed once, at the edge, into types that cannot be wrong.
//!
//! Its JSON Schema, which Kong checks first, is `spec/kombi_gate.schema.json`; hosts without
//! schema checks get the same strictness from here.

mod ai;
mod exchange;
mod issuer;
mod keys;
mod limits;
mod list;
mod raw;
mod roles;
mod url;

use std::rc::Rc;

use serde::{Deserialize, Deserializer};

use crate::{
    assertion::Signer, authorize::Demands, exchange::Exchange, limit::Limits, token::Validity,
};
pub use issuer::Issuer;
pub use keys::KeyTerms;
use list::List;
use raw::{RawAccess, RawPolicy};
pub use url::HttpUrl;

/// What a route demands.
pub enum Policy {
    /// Anybody passes, as often as the limits allow; reserved headers are still refused.
    Public(Box<Limits>),
    /// A valid token is needed.
    Authenticated(Box<Rules>),
}

/// What an authenticated route demands.
pub struct Rules {
    /// The accepted issuers; never empty.
    pub issuers: Vec<Issuer>,
    /// Longest token accepted, in bytes.
    pub max_token_bytes: usize,
    /// What is demanded of a token's dates.
    pub validity: Validity,
    /// What is demanded of the people who call.
    pub demands: Demands,
    /// How much callers may use.
    pub limits: Limits,
    /// For how long the issuers' keys are used.
    pub keys: KeyTerms,
    /// Signs an assertion for the upstream, if it wants one.
    pub signer: Option<Signer>,
    /// The exchange, where the gate itself may call it.
    pub exchange: Option<Rc<Exchange>>,
    /// Who says what opaque tokens mean, if they are accepted.
    pub introspection: Option<Introspection>,
    /// What there is to call, where the route leads to AI models.
    pub ai: Option<crate::ai::Rules>,
    /// Whether to let pass, and only tell, what would be refused.
    pub shadow: bool,
}

/// Who says what opaque tokens mean.
pub struct Introspection {
    /// Whose tokens they are.
    pub issuer: Issuer,
    /// Who asks that issuer.
    pub exchange: Rc<Exchange>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// Where in the configuration.
    pub field: String,
    /// What was expected there and what was found; never a secret.
    pub problem: String,
}

impl Policy {
    /// Parses the configuration of one route.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        let raw: RawPolicy =
            serde_path_to_error::deserialize(&mut deserializer).map_err(misshapen)?;
        deserializer.end().map_err(|_| invalid(".", "expected nothing after the object"))?;
        raw.check_name()?;
        match raw.access {
            RawAccess::Authenticated => Ok(Self::Authenticated(Box::new(raw.try_into()?))),
            RawAccess::Public => {
                raw.refuse_rules()?;
                Ok(Self::Public(Box::new(raw.public_limits()?)))
            }
        }
    }

    /// The issuers whose keys this route needs.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        match self {
            Self::Public(_) => &[],
            Self::Authenticated(rules) => &rules.issuers,
        }
    }

    /// How much callers may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        match self {
            Self::Public(limits) => limits,
            Self::Authenticated(rules) => &rules.limits,
        }
    }

    /// Whether the route's clients speak OpenAI's API.
    #[must_use]
    pub fn is_ai(&self) -> bool {
        matches!(self, Self::Authenticated(rules) if rules.ai.is_some())
    }

    /// Whether refusals of this route are told but not carried out.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        matches!(self, Self::Authenticated(rules) if rules.shadow)
    }
}

/// What the route is called in logs and metrics. Also where the rest of the configuration cannot
/// be used: then it is needed most.
pub(crate) fn name_of(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let named: Result<Named, _> = serde_json::from_slice(bytes);
    named.map(|named| named.name).ok().filter(|name| is_label(name)).unwrap_or_default()
}

/// Whether `text` can be part of a metric's name on every host.
fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// Reads a field that may be left out, but is not `null`: a rule without a value is a mistake,
/// not the wish for no rule.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

fn non_empty<T>(field: impl Into<String>, values: Vec<T>) -> Result<Vec<T>, ConfigError> {
    if values.is_empty() { Err(invalid(field, "expected at least one")) } else { Ok(values) }
}

/// At least one text, none of them empty.
fn names(field: impl Into<String>, list: List<String>) -> Result<Vec<String>, ConfigError> {
    let field = field.into();
    let names = non_empty(field.clone(), list.0)?;
    if names.iter().any(String::is_empty) {
        return Err(invalid(field, "expected names, found an empty one"));
    }
    Ok(names)
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError { field: field.into(), problem: problem.into() }
}

/// The error of a value that does not have its field's shape. Such an error quotes what was
/// found, which below `assertion` and `exchange` may be the signing key.
fn misshapen(error: serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let field = error.path().to_string();
    if field.starts_with("assertion") || field.starts_with("exchange") {
        invalid(field, "is not of the shape that the schema describes")
    } else {
        invalid(field, error.into_inner().to_string())
    }
}

#[cfg(test)]
mod tests;
