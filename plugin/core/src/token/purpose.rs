//! Telling access tokens from everything else that an issuer signs with the same keys
//! (RFC 8725 section 3.12).
//!
//! Zitadel's access tokens and ID tokens both say `typ: JWT` and may share audience and roles, so
//! only their claims tell them apart.

use kombi_spec::code::Code;
use serde_json::{Map, Value};

use crate::refusal::Refusal;

/// Claims that ID tokens have and access tokens do not (OpenID Connect Core 1.0 sections 2,
/// 3.1.3.6 and 3.3.2.11).
const OF_ID_TOKENS: &[&str] = &["nonce", "at_hash", "c_hash", "s_hash"];

/// Claims about a login. An access token may have them as well (RFC 9068 section 2.2.1).
const OF_A_LOGIN: &[&str] = &["azp", "auth_time", "amr", "acr", "sid"];

/// Claims that no ID token of an issuer we know has. Zitadel's access tokens always have `jti`
/// and `nbf`, other issuers' `scope` or `scp`.
const OF_ACCESS_TOKENS: &[&str] = &["jti", "nbf", "scope", "scp"];

/// Refuses tokens that are for another purpose. `declared` is whether `typ` says that this is an
/// access token; then its claims need not be asked.
///
/// An ID token without any hash or nonce (from a token exchange, say) is known by speaking of a
/// login and having nothing of an access token.
pub(super) fn refuse_other_purposes(
    claims: &Map<String, Value>,
    declared: bool,
) -> Result<(), Refusal> {
    let any_of = |names: &[&str]| {
        names.iter().any(|name| claims.get(*name).is_some_and(|value| !value.is_null()))
    };
    if any_of(&["events"]) {
        return Err(refused("the token reports an event (RFC 8417), such as a logout"));
    }
    if declared {
        return Ok(());
    }
    if any_of(OF_ID_TOKENS) || (any_of(OF_A_LOGIN) && !any_of(OF_ACCESS_TOKENS)) {
        return Err(refused("the token is an ID token"));
    }
    Ok(())
}

/// Refuses tokens that are bound to a key (`cnf`, RFC 7800): they are not good in the hands of
/// whoever holds them, and proof of the key is not asked for here.
pub(super) fn refuse_bound(claims: &Map<String, Value>) -> Result<(), Refusal> {
    if claims.get("cnf").is_some_and(|value| !value.is_null()) {
        return Err(refused(
            "the token is bound to a key (cnf, RFC 7800), so it is no bearer token",
        ));
    }
    Ok(())
}

fn refused(detail: &str) -> Refusal {
    Refusal::new(Code::NotAnAccessToken, detail)
}
