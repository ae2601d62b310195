//! The JOSE header of a token (RFC 7515 section 4).

use kombi_spec::code::Code;
use serde_json::{Map, Value};

use super::{Algorithm, malformed};
use crate::refusal::Refusal;

/// What the header says that matters here.
///
/// Keys that a token brings along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at: the key comes
/// from the issuer, by `kid`, so they cannot matter (RFC 8725 section 3.10).
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: String,
    /// Whether `typ` says that this is an access token (RFC 9068 section 2.1).
    pub(super) declared_access_token: bool,
}

impl Header {
    pub(super) fn read(header: &Map<String, Value>) -> Result<Self, Refusal> {
        if header.contains_key("enc") {
            return Err(malformed("the token is encrypted (JWE), but only signed ones are read"));
        }
        if header.contains_key("crit") {
            // We understand no extension, so each critical one must be refused (section 4.1.11).
            return Err(malformed("the token demands an extension (crit) that is not supported"));
        }
        if header.contains_key("b64") {
            // RFC 7797 section 7: not in a JWT.
            return Err(malformed("the token's header has b64, which a JWT must not use"));
        }
        let declared_access_token = read_type(header.get("typ"))?;
        let Some(Value::String(alg)) = header.get("alg") else {
            return Err(malformed("the token has no alg"));
        };
        let algorithm = asymmetric(alg)?;
        match header.get("kid") {
            Some(Value::String(kid)) if !kid.is_empty() => {
                Ok(Self { algorithm, key_id: kid.clone(), declared_access_token })
            }
            _ => Err(malformed("the token has no kid")),
        }
    }
}

/// Whether the token calls itself an access token. Zitadel's say JWT or nothing; those of
/// RFC 9068 `at+jwt`. Everything else is for another purpose (RFC 8725 section 3.11).
fn read_type(typ: Option<&Value>) -> Result<bool, Refusal> {
    let Some(typ) = typ else { return Ok(false) };
    let name = typ.as_str().unwrap_or_default().to_ascii_lowercase();
    match name.strip_prefix("application/").unwrap_or(&name) {
        "jwt" => Ok(false),
        "at+jwt" => Ok(true),
        _ => Err(malformed("the token's typ is neither JWT nor at+jwt")),
    }
}

/// A shared secret is told apart from what is merely not supported: it is an attack, or a grave
/// mistake (RFC 8725 section 2.1).
fn asymmetric(alg: &str) -> Result<Algorithm, Refusal> {
    alg.parse().map_err(|_| {
        let detail = match alg {
            "HS256" | "HS384" | "HS512" => {
                "the token is signed with a shared secret (HMAC), which is never accepted"
            }
            _ => "the token's alg is none or not supported",
        };
        Refusal::new(Code::AlgorithmRefused, detail)
    })
}
