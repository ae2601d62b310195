//! What a token says, wherever it is read from: a JWT's payload (RFC 7519), or the issuer's answer
//! about an opaque token (RFC 7662). The same rules hold for both.

use std::ops::Deref;

use kombi_spec::{code::Code, introspection::SUBJECT};
use serde_json::{Map, Value};

use super::{
    malformed, purpose,
    validity::{self, Validity, Window},
};
use crate::{config::Issuer, refusal::Refusal, time::UnixTime};

/// Longest subject in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUBJECT_BYTES: usize = 255;

/// The claims of a token; read as a map.
#[derive(Debug, Clone)]
pub struct Claims {
    members: Map<String, Value>,
    /// Whether somebody other than the claims says that this is an access token.
    declared_access_token: bool,
}

impl Deref for Claims {
    type Target = Map<String, Value>;

    fn deref(&self) -> &Self::Target {
        &self.members
    }
}

impl Claims {
    /// These claims. `declared_access_token` is whether a JWT's `typ` says what it is for.
    #[must_use]
    pub const fn new(members: Map<String, Value>, declared_access_token: bool) -> Self {
        Self { members, declared_access_token }
    }

    /// The claim `iss`.
    pub fn issuer(&self) -> Result<&str, Refusal> {
        self.string("iss")?.ok_or_else(|| malformed("the token has no iss"))
    }

    /// The claim `sub`.
    pub fn subject(&self) -> Result<&str, Refusal> {
        match self.string("sub")? {
            Some(sub) if sub.len() > MAX_SUBJECT_BYTES => {
                Err(malformed(format!("the token's sub is longer than {MAX_SUBJECT_BYTES} bytes")))
            }
            // In an assertion it would speak for the gate itself.
            Some(SUBJECT) => Err(malformed("the token's sub is the gate's own name")),
            Some(sub) if !sub.is_empty() => Ok(sub),
            _ => Err(malformed("the token has no sub")),
        }
    }

    /// A claim that is a string, if it is there.
    pub fn string(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(format!("the claim {name} is not a string"))),
        }
    }

    /// Checks what `issuer` and the route demand of purpose, audience and dates. Only the dates
    /// would come out otherwise at another moment; they hold as long as the window does.
    pub fn check(
        &self,
        issuer: &Issuer,
        validity: &Validity,
        now: UnixTime,
    ) -> Result<Window, Refusal> {
        purpose::refuse_other_purposes(&self.members, self.declared_access_token)?;
        purpose::refuse_bound(&self.members)?;
        self.check_audience(issuer)?;
        validity.check(&self.members, now)
    }

    /// The moment until which the token may be accepted, skew not counted.
    pub fn expires(&self) -> Result<Option<UnixTime>, Refusal> {
        Ok(validity::date(&self.members, "exp")?.map(|date| date.early))
    }

    /// About how much memory they take.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.members.iter().map(|(name, value)| name.len() + size(value)).sum()
    }

    /// `aud` is a string or an array of strings (RFC 7519 section 4.1.3); one match is enough.
    fn check_audience(&self, issuer: &Issuer) -> Result<(), Refusal> {
        let audiences: Vec<&str> = match self.members.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many
                .iter()
                .map(|value| value.as_str().ok_or_else(|| malformed("aud holds a non-string")))
                .collect::<Result<_, _>>()?,
            None | Some(Value::Null) => Vec::new(),
            Some(_) => return Err(malformed("the claim aud is not a string or an array")),
        };
        if audiences.iter().any(|found| issuer.audiences.iter().any(|wanted| wanted == found)) {
            return Ok(());
        }
        let client =
            ["client_id", "azp"].into_iter().find_map(|name| self.members.get(name)?.as_str());
        Err(if client.is_some_and(|client| audiences.contains(&client)) {
            Refusal::new(
                Code::AudienceScopeMissing,
                "the token's aud names its own application, and none of the audiences accepted here",
            )
        } else {
            Refusal::new(
                Code::AudienceMismatch,
                "the token's aud names none of the audiences accepted here",
            )
        })
    }
}

fn size(value: &Value) -> usize {
    // The value itself, and its share of the tree or array that it is in.
    const NODE: usize = 64;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(name, v)| name.len() + size(v)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
