//! The assertion: what the gate vouches for, as a JWT (RFC 7519) that it signs with Ed25519
//! (`alg` "EdDSA", RFC 8037) and sends in [`header::ASSERTION`](crate::header::ASSERTION).
//!
//! The JOSE header is `{"alg":"EdDSA","typ":"kombi-assertion+jwt","kid":…}`. Its own `typ` keeps
//! an assertion from passing for an access token and the other way round (RFC 8725 section 3.11);
//! `kid` is the key's thumbprint (RFC 7638, RFC 8037 appendix A.3).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// `typ` of the JOSE header.
pub const TYP: &str = "kombi-assertion+jwt";

/// `iss` of every assertion.
pub const ISSUER: &str = "kombi-gate";

/// `aud` of an assertion for the exchange.
pub const EXCHANGE_AUDIENCE: &str = "kombi-exchange";

/// How long an assertion lives, in seconds.
pub const LIFETIME_S: u64 = 30;

/// Roles, each with the organisations that granted it.
pub type GrantedBy = BTreeMap<String, BTreeSet<String>>;

/// The claims of an assertion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assertion {
    /// Always [`ISSUER`].
    pub iss: String,
    /// The upstream this assertion is for.
    pub aud: String,
    /// The user's Zitadel id.
    pub sub: String,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
    /// Expires at, in seconds since 1970.
    pub exp: u64,
    /// Unique; the gateway's request id.
    pub jti: String,
    /// The request's method, where the assertion is bound to one request (named as in RFC 9449).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htm: Option<String>,
    /// The request's path without the query, where the assertion is bound to one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub htp: Option<String>,
    /// The organisation that owns the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The roles granted in the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// Which organisations granted which of these; an issuer other than Zitadel does not tell.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub granted_by: GrantedBy,
    /// The user's e-mail address, if the token carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the issuer verified that address.
    #[serde(default)]
    pub email_verified: bool,
    /// The user's display name, if the token carries it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}
