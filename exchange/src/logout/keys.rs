//! The issuer whose logouts count, and its keys: by discovery, kept for a while, and looked for
//! again when a token names another.

use std::{collections::BTreeSet, time::Duration};

use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use kombi_spec::code::Code;
use reqwest::Client;
use serde::Deserialize;
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use url::Url;

use super::token::invalid;
use crate::{
    address::Reach,
    introspection::{AddressUnfit, AskError, call, callable, metadata_of},
    outbound::Outbound,
    refusal::Refusal,
};

/// The largest metadata or key set that is read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// How long the keys are relied on; an issuer that takes one back waits so long at most.
const CACHE: Duration = Duration::from_secs(300);

/// How long an unknown key is not looked for again: made-up ones must not flood the issuer.
const QUIET: Duration = Duration::from_secs(10);

/// How long both requests may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// An issuer whose logouts count.
#[derive(Debug, Clone)]
pub struct LogoutIssuer {
    name: String,
    metadata: Url,
    reach: Reach,
    audiences: BTreeSet<String>,
}

impl LogoutIssuer {
    /// The issuer called `name`, which tells `audiences` of logouts: its clients, one of which
    /// people sign in with.
    pub fn new<'a>(
        name: &str,
        reach: Reach,
        audiences: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, AddressUnfit> {
        let audiences = audiences.into_iter().map(str::to_owned).collect();
        Ok(Self { name: name.to_owned(), metadata: metadata_of(name, reach)?, reach, audiences })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_ours(&self, audience: &str) -> bool {
        self.audiences.contains(audience)
    }
}

/// The issuer's keys.
pub(super) struct Keys {
    issuer: LogoutIssuer,
    http: Client,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    keys: Vec<Jwk>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
}

/// The part of the metadata that is read (RFC 8414 section 2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl Keys {
    pub(super) fn new(issuer: LogoutIssuer, outbound: &Outbound) -> Self {
        let http = outbound.client(issuer.reach).clone();
        Self { issuer, http, known: Mutex::default() }
    }

    pub(super) fn issuer(&self) -> &LogoutIssuer {
        &self.issuer
    }

    /// The key called `kid`. While one looks for keys, the others wait.
    pub(super) async fn key(&self, kid: &str) -> Result<Jwk, Refusal> {
        let mut known = self.known.lock().await;
        let now = Instant::now();
        let within = |since: Option<Instant>, time| since.is_some_and(|since| now - since < time);
        let fresh = within(known.fetched, CACHE);
        if let Some(key) = known.called(kid).filter(|_| fresh) {
            return Ok(key);
        }
        if !within(known.tried, QUIET) {
            known.tried = Some(now);
            match timeout(PATIENCE, self.fetch()).await.unwrap_or(Err(AskError::Late)) {
                Ok(keys) => (known.keys, known.fetched) = (keys, Some(now)),
                Err(error) => {
                    let detail = "the issuer's keys could not be read";
                    return Err(Refusal::new(Code::KeysUnavailable, detail).because(error));
                }
            }
        } else if !fresh {
            let detail = "the issuer's keys could not be read a moment ago";
            return Err(Refusal::new(Code::KeysUnavailable, detail));
        }
        known.called(kid).ok_or_else(|| invalid("its key is not among the issuer's"))
    }

    async fn fetch(&self) -> Result<Vec<Jwk>, AskError> {
        let misbehaved = |problem: &str| AskError::Misbehaved(problem.to_owned());
        let metadata = call(self.http.get(self.issuer.metadata.clone()), MAX_BYTES).await?;
        let metadata: Metadata = serde_json::from_slice(&metadata)
            .map_err(|_| misbehaved("its metadata cannot be read"))?;
        if metadata.issuer != self.issuer.name {
            return Err(misbehaved("its metadata is that of another issuer"));
        }
        let at = callable(&metadata.jwks_uri, self.issuer.reach)
            .map_err(|unfit| misbehaved(&format!("its jwks_uri has {unfit}")))?;
        let set = call(self.http.get(at), MAX_BYTES).await?;
        let set: Set =
            serde_json::from_slice(&set).map_err(|_| misbehaved("its keys cannot be read"))?;
        // One key of a kind that is not known here must not hide the others.
        let known = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        let signs =
            |key: &Jwk| !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption));
        Ok(known.filter(signs).collect())
    }
}

/// A key set (RFC 7517 section 5), whose keys are yet to be read.
#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Known {
    fn called(&self, kid: &str) -> Option<Jwk> {
        self.keys.iter().find(|key| key.common.key_id.as_deref() == Some(kid)).cloned()
    }
}
