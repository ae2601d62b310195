//! How long an issuer's keys may be kept; see `keys` in `spec/kombi_gate.schema.json`.

use std::time::Duration;

use serde::Deserialize;

use super::{ConfigError, invalid};

/// For how long keys are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyTerms {
    /// Keys are held to be fresh for at least this long, whatever the issuer says.
    pub min_fresh: Duration,
    /// Keys are held to be fresh for no longer than this, whatever the issuer says.
    pub max_fresh: Duration,
    /// Keys serve this long after they were fetched while they cannot be refreshed: an issuer
    /// that is down must not take every service with it.
    pub usable: Duration,
    /// Kong only: the address, `host:port`, of a server that takes a moment to answer. There a
    /// request waits while another one fetches the keys.
    pub wait_at: Option<String>,
}

impl Default for KeyTerms {
    fn default() -> Self {
        Self {
            min_fresh: Duration::from_secs(60),
            max_fresh: Duration::from_secs(60 * 60),
            usable: Duration::from_secs(24 * 60 * 60),
            wait_at: None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKeys {
    min_fresh_s: Option<u64>,
    max_fresh_s: Option<u64>,
    usable_s: Option<u64>,
    wait_at: Option<String>,
}

impl RawKeys {
    pub(super) fn parse(self) -> Result<KeyTerms, ConfigError> {
        let default = KeyTerms::default();
        let seconds = |given: Option<u64>, default| given.map_or(default, Duration::from_secs);
        let terms = KeyTerms {
            min_fresh: seconds(self.min_fresh_s, default.min_fresh),
            max_fresh: seconds(self.max_fresh_s, default.max_fresh),
            usable: seconds(self.usable_s, default.usable),
            wait_at: self.wait_at,
        };
        if terms.min_fresh < Duration::from_secs(10) {
            return Err(invalid("keys.min_fresh_s", "expected at least 10"));
        }
        if terms.max_fresh < terms.min_fresh {
            return Err(invalid("keys.max_fresh_s", "expected at least keys.min_fresh_s"));
        }
        if terms.usable < terms.max_fresh {
            return Err(invalid("keys.usable_s", "expected at least keys.max_fresh_s"));
        }
        if terms.usable > Duration::from_secs(7 * 24 * 60 * 60) {
            return Err(invalid("keys.usable_s", "expected at most 604800"));
        }
        if let Some(address) = &terms.wait_at {
            let (host, port) = address.rsplit_once(':').unwrap_or_default();
            // An empty address is not passed on: on Kong, a call to one is a trap.
            if host.is_empty() || port.parse::<u16>().is_err() {
                return Err(invalid("keys.wait_at", "expected host:port"));
            }
        }
        Ok(terms)
    }
}
