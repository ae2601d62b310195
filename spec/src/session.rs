//! What the exchange and the KombiSphere hook inside a KombiStack instance say to each other.
//!
//! The exchange sends `POST /api/kombisphere/session` with `{"request": JWS}`. The JWS is signed
//! with HS256 and the instance's own key, its header holds `alg` and at most `typ`, and its payload
//! is the whole request, so nothing in it can be exchanged for something else.
//!
//! The hook answers 200 with PocketBase's `{token, record}` and how it came to the user in
//! `meta.kombisphere` ([`Origin`]), which the exchange keeps to itself; or with a refusal
//! ([`HookRefusal`]) in `data.code`; or 503 without a code where its environment is not set.
//!
//! `POST /api/kombisphere/end-sessions` takes an [`EndRequest`], signed in the same way, and ends
//! all sessions of one user; the hook answers 200 with [`Ended`]. Its audience is another
//! ([`end_audience`]), so neither request is good for the other's path.

use serde::{Deserialize, Serialize};

/// Path of the hook inside the instance.
pub const HOOK_PATH: &str = "/api/kombisphere/session";

/// Path of the hook that ends sessions.
pub const END_PATH: &str = "/api/kombisphere/end-sessions";

/// `iss` of the signed request.
pub const REQUEST_ISSUER: &str = "kombi-exchange";

/// How long a signed request lives, in seconds.
pub const REQUEST_LIFETIME_S: u64 = 30;

/// How far the clocks of exchange and instance may differ, in seconds.
pub const CLOCK_SKEW_S: u64 = 5;

/// Longest `jti` and longest `sub`, in characters.
pub const MAX_ID_CHARS: usize = 255;

/// Length of an instance's key, in bytes. It is handed over as base64url without padding, and the
/// HMAC's key is that text (43 ASCII characters), not what it stands for: the hook's JavaScript
/// cannot pass raw bytes on unchanged.
pub const KEY_BYTES: usize = 32;

/// The body of a call to the hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRequest {
    /// [`SessionRequest`] or [`EndRequest`] as a compact JWS.
    pub request: String,
}

/// Asks an instance for a session of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRequest {
    /// Always [`REQUEST_ISSUER`].
    pub iss: String,
    /// The instance's id.
    pub aud: String,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
    /// Expires at, in seconds since 1970.
    pub exp: u64,
    /// Unique; the hook takes each one once.
    pub jti: String,
    /// The user's Zitadel id; what the user is found by.
    pub sub: String,
    /// The user's e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the issuer verified that address.
    #[serde(default)]
    pub email_verified: bool,
    /// The user's display name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Asks an instance to end every session of one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRequest {
    /// Always [`REQUEST_ISSUER`].
    pub iss: String,
    /// [`end_audience`] of the instance's id.
    pub aud: String,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
    /// Expires at, in seconds since 1970.
    pub exp: u64,
    /// Unique; the hook takes each one once.
    pub jti: String,
    /// The user's Zitadel id.
    pub sub: String,
}

/// `aud` of a request that ends sessions in `instance`.
#[must_use]
pub fn end_audience(instance: &str) -> String {
    format!("{instance}#end-sessions")
}

/// The hook's answer to an [`EndRequest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Whether there is such a user.
    pub ended: bool,
}

/// What the person gets: PocketBase's own answer to a sign-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session<Record> {
    /// A refreshable PocketBase token.
    pub token: String,
    /// The user's record.
    pub record: Record,
}

/// How the hook came to the user it returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The user was already linked to this `sub`.
    Found,
    /// An existing local user was linked: same e-mail address, verified on both sides.
    Linked,
    /// A new user was made.
    Created,
}

impl Origin {
    /// The origin as the wire has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Linked => "linked",
            Self::Created => "created",
        }
    }
}

/// Why the hook refused; `data.code` of its error answer. See also [`crate::account`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookRefusal {
    /// 401: the request is malformed, stale, replayed, for another instance, or wrongly signed.
    RequestInvalid,
    /// 404: the instance has no such user.
    AccountUnknown,
    /// 409: a local user has the same e-mail address and may not be taken over; or one of both is
    /// linked to another.
    AccountCollision,
    /// 409: the flags that are there are of a later version.
    FlagsOutdated,
    /// 422: the users collection requires something that the request does not carry.
    AccountIncomplete,
    /// 403: the collection's `authRule`, or a hook of the instance's own, keeps the user out.
    AccountRefused,
}
