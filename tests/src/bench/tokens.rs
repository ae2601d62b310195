//! The tokens that are sent, of the issuer that all gates trust.

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::issuer::Issuer;

/// The role that the routes ask for.
pub(super) const ROLE: &str = "admin:tools";

/// Has the role.
const ADMIN: &str = "grace";

/// Has it not.
const USER: &str = "ada";

/// Signatures take the issuer all its time; more at once would not be faster.
const AT_ONCE: usize = 4;

/// Tokens of RS256 with a key of 2048 bits.
pub(super) struct Tokens {
    /// The one that is sent again and again.
    pub(super) one: String,
    /// Different ones, each valid.
    pub(super) many: Vec<String>,
    /// A valid one without the role.
    pub(super) without_role: String,
}

impl Tokens {
    pub(super) async fn mint(issuer: &Issuer, count: u16) -> Result<Self> {
        let many = stream::iter(0..count)
            .map(|_| issuer.token(ADMIN))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        Ok(Self { one: issuer.token(ADMIN).await?, many, without_role: issuer.token(USER).await? })
    }
}
