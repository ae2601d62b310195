//! Where the exchange is; see `exchange` in `spec/kombi_gate.schema.json`.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, HttpUrl, given, invalid};
use crate::{assertion::SigningKey, exchange::Exchange};

/// How long a call may take, unless the configuration says otherwise. The exchange gives up on
/// an issuer after 2 s.
const DEFAULT_TIMEOUT_MS: u64 = 3_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawExchange {
    url: String,
    signing_key: String,
    #[serde(default, deserialize_with = "given")]
    timeout_ms: Option<u64>,
}

impl RawExchange {
    pub(super) fn parse(self) -> Result<Exchange, ConfigError> {
        let url = HttpUrl::parse(&self.url).map_err(|error| invalid("exchange.url", error))?;
        if url.path != "/" || self.url.ends_with('/') {
            // An assertion is bound to a path as the exchange sees it.
            return Err(invalid("exchange.url", "expected a URL without a path"));
        }
        let timeout_ms = self.timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
        if !(100..=10_000).contains(&timeout_ms) {
            return Err(invalid("exchange.timeout_ms", "expected between 100 and 10000"));
        }
        let key = SigningKey::new(&self.signing_key)
            .map_err(|error| invalid("exchange.signing_key", error.to_string()))?;
        Ok(Exchange::new(url, Duration::from_millis(timeout_ms), key))
    }
}
