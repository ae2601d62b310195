//! The issuers' keys that one worker holds, and when to ask for them anew.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    jwks::{KeySet, VerifyingKey},
    time::UnixTime,
};

/// Age at which keys are fetched anew in the background.
const REFRESH_AFTER: Duration = Duration::from_secs(5 * 60);

/// Age until which keys serve although they cannot be refreshed: an issuer that is down must not
/// take every service with it.
const USABLE_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How long to leave the issuer alone after a fetch that failed or did not bring the key asked
/// for. A client can make up as many `kid`s as it likes.
const COOLDOWN: Duration = Duration::from_secs(10);

/// How long to wait after a failed fetch while there are no keys at all.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The keys of all issuers, as far as this worker knows them.
#[derive(Default)]
pub struct KeyStore {
    issuers: BTreeMap<String, IssuerKeys>,
}

#[derive(Default)]
struct IssuerKeys {
    current: Option<(KeySet, UnixTime)>,
    /// No fetch on behalf of a request before this moment.
    quiet_until: Option<UnixTime>,
    /// No fetch in the background before this moment.
    refresh_at: Option<UnixTime>,
}

/// What the store knows of a key.
pub enum Lookup<'a> {
    /// The key.
    Found(&'a VerifyingKey),
    /// The issuer has no such key, as far as can be told now.
    Unknown,
    /// The issuer must be asked.
    Fetch,
    /// There are no keys, and the issuer was asked in vain a moment ago.
    Unavailable,
}

impl KeyStore {
    /// Looks for the key `kid` of `issuer`.
    #[must_use]
    pub fn find(&self, issuer: &str, kid: &str, now: UnixTime) -> Lookup<'_> {
        let Some(keys) = self.issuers.get(issuer) else {
            return Lookup::Fetch;
        };
        let usable = keys.current.as_ref().filter(|(_, at)| now.since(*at) < USABLE_FOR);
        if let Some(key) = usable.and_then(|(set, _)| set.get(kid)) {
            return Lookup::Found(key);
        }
        match (keys.quiet_until.is_some_and(|until| now < until), usable) {
            (false, _) => Lookup::Fetch,
            (true, Some(_)) => Lookup::Unknown,
            (true, None) => Lookup::Unavailable,
        }
    }

    /// Whether it is time to fetch the keys of `issuer` in the background; if so, the caller
    /// fetches and reports with [`accept`](Self::accept) or [`fetch_failed`](Self::fetch_failed).
    pub fn claim_refresh(&mut self, issuer: &str, now: UnixTime) -> bool {
        let keys = self.issuers.entry(issuer.to_owned()).or_default();
        let due = keys.refresh_at.is_none_or(|at| now >= at);
        if due {
            // Nobody else in this worker asks until this attempt must have ended.
            keys.refresh_at = Some(now.plus(COOLDOWN));
        }
        due
    }

    /// Takes a freshly fetched key set.
    pub fn accept(&mut self, issuer: &str, set: KeySet, now: UnixTime) {
        let keys = self.issuers.entry(issuer.to_owned()).or_default();
        keys.current = Some((set, now));
        keys.refresh_at = Some(now.plus(REFRESH_AFTER));
    }

    /// Notes that the keys could not be fetched.
    pub fn fetch_failed(&mut self, issuer: &str, now: UnixTime) {
        let keys = self.issuers.entry(issuer.to_owned()).or_default();
        let pause = if keys.current.is_some() { COOLDOWN } else { RETRY_AFTER };
        keys.quiet_until = Some(now.plus(pause));
        keys.refresh_at = Some(now.plus(pause));
    }

    /// Notes that a fetch did not bring the key that a request asked for.
    pub fn fetch_was_fruitless(&mut self, issuer: &str, now: UnixTime) {
        let keys = self.issuers.entry(issuer.to_owned()).or_default();
        keys.quiet_until = Some(now.plus(COOLDOWN));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://id.example";

    fn set(kid: &str) -> KeySet {
        let jwks = format!(
            r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        );
        KeySet::parse(jwks.as_bytes()).unwrap()
    }

    fn at(s: u64) -> UnixTime {
        UnixTime::from_secs(s)
    }

    #[test]
    fn keys_serve_for_a_day_after_the_issuer_was_last_reached() {
        let mut store = KeyStore::default();
        assert!(matches!(store.find(ISSUER, "a", at(0)), Lookup::Fetch));
        store.accept(ISSUER, set("a"), at(0));
        store.fetch_failed(ISSUER, at(86_390));
        assert!(matches!(store.find(ISSUER, "a", at(86_399)), Lookup::Found(_)));
        assert!(matches!(store.find(ISSUER, "a", at(86_399 + 60)), Lookup::Fetch));
    }

    #[test]
    fn made_up_key_ids_cause_one_fetch_in_ten_seconds() {
        let mut store = KeyStore::default();
        store.accept(ISSUER, set("a"), at(100));
        assert!(matches!(store.find(ISSUER, "made-up", at(100)), Lookup::Fetch));
        store.fetch_was_fruitless(ISSUER, at(100));
        assert!(matches!(store.find(ISSUER, "made-up", at(109)), Lookup::Unknown));
        assert!(matches!(store.find(ISSUER, "a", at(109)), Lookup::Found(_)));
        assert!(matches!(store.find(ISSUER, "made-up", at(110)), Lookup::Fetch));
    }

    #[test]
    fn without_any_keys_the_issuer_is_asked_again_after_a_second() {
        let mut store = KeyStore::default();
        store.fetch_failed(ISSUER, at(100));
        assert!(matches!(store.find(ISSUER, "a", at(100)), Lookup::Unavailable));
        assert!(matches!(store.find(ISSUER, "a", at(101)), Lookup::Fetch));
    }

    #[test]
    fn one_caller_at_a_time_refreshes_in_the_background() {
        let mut store = KeyStore::default();
        assert!(store.claim_refresh(ISSUER, at(0)));
        assert!(!store.claim_refresh(ISSUER, at(1)));
        store.accept(ISSUER, set("a"), at(1));
        assert!(!store.claim_refresh(ISSUER, at(300)));
        assert!(store.claim_refresh(ISSUER, at(301)));
        store.fetch_failed(ISSUER, at(303));
        assert!(!store.claim_refresh(ISSUER, at(312)));
        assert!(store.claim_refresh(ISSUER, at(313)));
    }
}
