//! An access token as it arrives: a JWS in compact form (RFC 7515) with JWT claims (RFC 7519),
//! and every check on it that needs no key.

mod algorithm;
mod header;
mod purpose;
mod validity;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::code::Code;
use serde_json::{Map, Value};

use crate::{config::Issuer, json, refusal::Refusal, time::UnixTime};
pub use algorithm::{Algorithm, UnknownAlgorithm};
use header::Header;
pub use validity::{Validity, Window};

/// Longest subject in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUBJECT_BYTES: usize = 255;

/// A token that can be read; nothing in it is trusted until its signature is verified.
#[derive(Debug, Clone)]
pub struct Token {
    raw: String,
    /// The signature's algorithm.
    pub algorithm: Algorithm,
    /// The id of the key that signed, as the token says.
    pub key_id: String,
    /// Whether the token's `typ` says that it is an access token.
    declared_access_token: bool,
    /// The claims, unverified.
    pub claims: Map<String, Value>,
}

impl Token {
    /// Reads a token. There is one way to write it: three parts, each in base64url without
    /// padding, whitespace or stray bits; the first two a JSON object that names nothing twice.
    pub fn parse(raw: &str) -> Result<Self, Refusal> {
        let mut parts = raw.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(match raw.split('.').count() {
                5 => malformed("the token is encrypted (JWE), but only signed ones are read"),
                parts => malformed(format!("the token has {parts} parts, and a JWT has three")),
            });
        };
        let header = Header::read(&object(header, "header")?)?;
        let claims = object(claims, "payload")?;
        // jsonwebtoken decodes the signature itself; its canonical form is checked here.
        decode(signature, "signature")?;
        Ok(Self {
            raw: raw.to_owned(),
            algorithm: header.algorithm,
            key_id: header.key_id,
            declared_access_token: header.declared_access_token,
            claims,
        })
    }

    /// What was signed, and the signature in base64url.
    #[must_use]
    pub fn signed_parts(&self) -> (&str, &str) {
        self.raw.rsplit_once('.').unwrap_or_default()
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
            Some(sub) if !sub.is_empty() => Ok(sub),
            _ => Err(malformed("the token has no sub")),
        }
    }

    /// A claim that is a string, if it is there.
    pub fn string(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(format!("the claim {name} is not a string"))),
        }
    }

    /// Checks what `issuer` and the route demand, short of the signature: these checks are cheap,
    /// and a token that fails one is not worth the arithmetic. Of all of them, only those of the
    /// dates would come out otherwise at another moment; they hold as long as the window does.
    pub fn check(
        &self,
        issuer: &Issuer,
        validity: &Validity,
        now: UnixTime,
    ) -> Result<Window, Refusal> {
        if !issuer.algorithms.contains(&self.algorithm) {
            return Err(Refusal::new(
                Code::AlgorithmRefused,
                format!("the issuer's tokens may not be signed with {}", self.algorithm),
            ));
        }
        purpose::refuse_other_purposes(&self.claims, self.declared_access_token)?;
        self.check_audience(issuer)?;
        validity.check(&self.claims, now)
    }

    /// `aud` is a string or an array of strings (RFC 7519 section 4.1.3); one match is enough.
    fn check_audience(&self, issuer: &Issuer) -> Result<(), Refusal> {
        let audiences: Vec<&str> = match self.claims.get("aud") {
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
        Err(Refusal::new(
            Code::AudienceMismatch,
            "the token's aud names none of the audiences accepted here",
        ))
    }

    /// The moment until which the token may be accepted, skew not counted.
    pub fn expires(&self) -> Result<Option<UnixTime>, Refusal> {
        Ok(validity::date(&self.claims, "exp")?.map(|date| date.early))
    }
}

fn object(part: &str, name: &str) -> Result<Map<String, Value>, Refusal> {
    json::parse_object(&decode(part, name)?)
        .map_err(|_| malformed(format!("the token's {name} is not one JSON object")))
}

/// Strict base64url (RFC 7515 section 2): no padding, no whitespace, no stray bits.
fn decode(part: &str, name: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| malformed(format!("the token's {name} is not canonical base64url")))
}

fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::TokenMalformed, detail)
}

#[cfg(test)]
mod tests;
