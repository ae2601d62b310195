//! The hand-off of a login to an instance that the gateway does not serve: how the instance's own
//! page comes to a session, without a token in any URL.
//!
//! 1. The page makes a `code_verifier` and a `state`, and sends the browser to the portal with the
//!    verifier's S256 challenge (RFC 7636 section 4.2).
//! 2. The portal, which holds the person's token, asks `POST /sso/instances/{id}/code` with
//!    [`CodeRequest`] and gets [`Code`]: 256 bits, good once and for [`LIFETIME_S`].
//! 3. It sends the browser back to the page with code and state in the fragment, which no server
//!    sees. The page compares the state and forgets the fragment.
//! 4. The page redeems the code: `POST` [`REDEEM_PATH`] with a form of [`field::CODE`],
//!    [`field::CODE_VERIFIER`] and [`field::REDIRECT_URI`], from its own origin. It gets PocketBase's
//!    `{token, record}`.
//!
//! A code is bound to person, instance, page and challenge. It is spent by the first redemption,
//! whatever comes of it. Should somebody redeem it again, it got into wrong hands: the sessions of
//! that person in that instance are ended.

use serde::{Deserialize, Serialize};

/// Where a code is redeemed. No assertion is asked for: code and verifier speak.
pub const REDEEM_PATH: &str = "/sso/redeem";

/// How long a code is good, in seconds.
pub const LIFETIME_S: u64 = 30;

/// The only [`CodeRequest::code_challenge_method`].
pub const S256: &str = "S256";

/// The fields of the form that redeems a code.
pub mod field {
    /// The code.
    pub const CODE: &str = "code";
    /// The verifier that the page made (RFC 7636 section 4.1).
    pub const CODE_VERIFIER: &str = "code_verifier";
    /// The page.
    pub const REDIRECT_URI: &str = "redirect_uri";
}

/// Asks for a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeRequest {
    /// The page that will redeem it: the one that the instance is registered with.
    pub redirect_uri: String,
    /// The S256 challenge: 43 characters of base64url.
    pub code_challenge: String,
    /// [`S256`].
    pub code_challenge_method: String,
}

/// A code. It has no `Debug`, because it must not get into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// 43 characters of base64url.
    pub code: String,
    /// [`LIFETIME_S`].
    pub expires_in: u64,
}
