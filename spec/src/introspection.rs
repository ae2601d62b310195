//! What the gate asks the exchange about a token that it cannot read itself (an opaque one, like
//! Zitadel's personal access tokens), and what it is told.
//!
//! The gate sends `POST /gate/introspect` with [`IntrospectionRequest`] in
//! [`header::QUESTION`](crate::header::QUESTION) and, as every caller of the exchange, an [assertion](crate::assertion) in [`header::ASSERTION`](crate::header::ASSERTION):
//! `aud` the exchange, `htm` and `htp` this request, and `sub` [`SUBJECT`], because here nobody but
//! the gate itself asks. The exchange answers 200 with [`IntrospectionAnswer`], or refuses:
//! `introspection_not_configured` (501), `introspection_unavailable` (503), or a code that any
//! other request may meet. Only `"active": true` lets anybody pass.
//!
//! An assertion with this subject may be used for any number of introspections until it expires,
//! while every other one is good once. Asking changes nothing, and it tells about a token only
//! what the issuer's own userinfo endpoint tells whoever holds it. So the gate can sign once in a
//! while, and no question waits for a disk. The token is in the question and never in the assertion.

use serde::{Deserialize, Serialize};

/// Path of the question.
pub const PATH: &str = "/gate/introspect";

/// `sub` of the assertion: the gate itself. A user's assertion is refused here.
pub const SUBJECT: &str = "kombi-gate";

/// The largest [`IntrospectionRequest`], in bytes of JSON.
pub const MAX_BYTES: usize = 12 * 1024;

/// The longest token, in bytes; Zitadel's opaque tokens have some hundred.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The largest [`IntrospectionAnswer::claims`], in bytes of JSON.
pub const MAX_CLAIMS_BYTES: usize = 32 * 1024;

/// The largest [`IntrospectionAnswer::cache_for_s`] of an active token.
pub const ACTIVE_CACHE_S: u64 = 60;

/// The largest [`IntrospectionAnswer::cache_for_s`] of any other token.
pub const INACTIVE_CACHE_S: u64 = 10;

/// Asks about one token. It has no `Debug`, because the token must not get into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IntrospectionRequest {
    /// The issuer that the token is said to be from, exactly as it names itself (`iss`).
    pub issuer: String,
    /// The token as the client sent it: a `b64token` (RFC 6750 section 2.1).
    pub token: String,
}

/// What the issuer says about the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntrospectionAnswer<Claims> {
    /// Whether the token is good.
    pub active: bool,
    /// The members of the issuer's answer (RFC 7662 section 2.2) without `active`; there exactly if
    /// the token is active. They are for the gate to judge as it judges the claims of a JWT:
    /// audience, time and roles are not checked by the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claims: Option<Claims>,
    /// How long this may be relied on, in whole seconds; at 0 it holds for one request. Never
    /// beyond the token's `exp`.
    pub cache_for_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_wire_is_as_documented() {
        let answer = IntrospectionAnswer {
            active: true,
            claims: Some(json!({"sub": "1"})),
            cache_for_s: 60,
        };
        let active = json!({"active": true, "claims": {"sub": "1"}, "cache_for_s": 60});
        assert_eq!(serde_json::to_value(&answer).unwrap(), active);
        let inactive = json!({"active": false, "cache_for_s": 10});
        let answer: IntrospectionAnswer<Value> = serde_json::from_value(inactive.clone()).unwrap();
        assert_eq!(answer.claims, None);
        assert_eq!(serde_json::to_value(&answer).unwrap(), inactive);
    }

    #[test]
    fn a_request_has_these_members_and_no_others() {
        for (request, fits) in [
            (json!({"issuer": "https://id.example", "token": "t"}), true),
            (json!({"issuer": "https://id.example"}), false),
            (json!({"token": "t"}), false),
            (json!({"issuer": "https://id.example", "token": 1}), false),
            (json!({"issuer": "https://id.example", "token": "t", "hint": "x"}), false),
        ] {
            let read = serde_json::from_value::<IntrospectionRequest>(request.clone());
            assert_eq!(read.is_ok(), fits, "{request}");
        }
    }
}
