//! What the exchange orders of the KombiSphere hook about one user of an instance, besides
//! sessions: see [`crate::session`], whose way of signing is the same.
//!
//! The exchange sends `POST /api/kombisphere/account` with an [`AccountRequest`]; its audience is
//! another ([`account_audience`]), so no request is good for another's path. The hook answers 200
//! with [`Done`], or with [`Checked`] to [`Ask::Check`]; or with a refusal in `data.code`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Path of the hook.
pub const ACCOUNT_PATH: &str = "/api/kombisphere/account";

/// The version of this contract; what [`Checked`] tells.
pub const VERSION: u32 = 1;

/// How many feature flags a user may have.
pub const MAX_FLAGS: usize = 64;

/// Longest text of a flag, in bytes.
pub const MAX_FLAG_BYTES: usize = 255;

/// Largest version of flags: integers beyond it are not exact in JavaScript.
pub const MAX_FLAGS_VERSION: u64 = (1 << 53) - 1;

/// `aud` of such a request to `instance`.
#[must_use]
pub fn account_audience(instance: &str) -> String {
    format!("{instance}#account")
}

/// Orders something, or asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRequest<What> {
    /// Always [`REQUEST_ISSUER`](crate::session::REQUEST_ISSUER).
    pub iss: String,
    /// [`account_audience`] of the instance's id.
    pub aud: String,
    /// Issued at, in seconds since 1970.
    pub iat: u64,
    /// Expires at, in seconds since 1970.
    pub exp: u64,
    /// Unique; the hook takes each one once.
    pub jti: String,
    /// The user's Zitadel id; where nobody is meant, the issuer again.
    pub sub: String,
    /// What is ordered or asked.
    #[serde(flatten)]
    pub what: What,
}

/// What is ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Order {
    /// The user's feature flags become these. An older version than what is there is refused.
    SetFlags {
        /// From 1 on.
        version: u64,
        /// All of them.
        flags: Flags,
    },
    /// The user with this id is the one that `sub` enters as.
    Link {
        /// The id of the user's record.
        record: String,
    },
    /// The user is nobody's any more, and is signed out.
    Unlink,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Ask {
    /// Whether everything is in place.
    Check,
}

/// Feature flags by name.
pub type Flags = BTreeMap<String, Flag>;

/// A feature flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Flag {
    /// On or off.
    Switch(bool),
    /// One of several.
    Variant(String),
}

/// The hook's answer to an [`Order`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The id of the user's record; none if nobody is linked to `sub`.
    pub record: Option<String>,
    /// Whether anything is otherwise than before.
    pub changed: bool,
}

/// The hook's answer to [`Ask::Check`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Which version of this contract it knows.
    pub version: u32,
    /// What the migrations have added and is not there.
    pub missing: Vec<String>,
}
