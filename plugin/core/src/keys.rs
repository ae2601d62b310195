//! The issuers' keys that one worker holds, and when to ask for them anew.
//!
//! All workers of a node agree through the zone on who asks: a claim is a compare-and-swap, and
//! whoever loses it waits for the winner. Where there is no zone, or somebody else's cell lies in
//! ours, each worker keeps to the same rules by itself.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc, time::Duration};

use crate::{
    config::KeyTerms,
    fetch::{FetchError, Fetched},
    jwks::KeySet,
    time::UnixTime,
    zone::{Mark, Zone},
};
use document::Shared;
use plan::Plan;

mod document;
mod plan;

/// Longest key id that a fetch is handed over with, in bytes.
const LONGEST_ORPHAN: usize = 256;

/// How long a fetch can take: two calls of 2 s, and a tick between them.
const FETCH_MS: u64 = 5_500;

/// How long to leave the issuer alone after a fetch that failed or did not bring the key asked
/// for. A client can make up as many `kid`s as it likes.
const COOLDOWN_MS: u64 = 10_000;

/// The same while there are no keys and the issuer did not even answer: it may just be starting.
const RETRY_MS: u64 = 1_000;

/// The longest of the pauses, and some tolerance for clocks.
const LONGEST_PAUSE_MS: u64 = COOLDOWN_MS + 1_000;

/// Freshness of keys whose issuer says nothing about it.
const FRESH_BY_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// The keys of all issuers, as far as this worker knows them.
#[derive(Default)]
pub struct KeyStore {
    issuers: BTreeMap<String, IssuerKeys>,
    counts: KeyCounts,
}

/// What happened to keys since the counts were taken last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Fetches that brought keys.
    pub fetched: u64,
    /// Fetches that did not.
    pub failed: u64,
    /// Tokens judged by keys that should have been refreshed by then.
    pub served_stale: u64,
}

/// What the store knows of a key.
pub enum Lookup {
    /// It is in this set.
    Found(Held),
    /// The issuer has no such key, as far as can be told now.
    Unknown,
    /// The caller must ask the issuer, and settle the claim.
    Fetch(Claim),
    /// Somebody asks the issuer at this moment.
    Busy,
    /// There are no keys, and the issuer was asked in vain a moment ago.
    Unavailable,
}

/// A key set, and which of the worker's editions of it.
#[derive(Clone)]
pub struct Held {
    /// The keys.
    pub keys: Rc<KeySet>,
    /// The edition.
    pub edition: Edition,
}

/// Which keys of an issuer a worker held at a time. Another document is another edition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edition(u64);

/// The duty to fetch the keys of an issuer: nobody else does until it is settled or has lapsed.
#[derive(Debug, Clone)]
pub struct Claim {
    issuer: String,
    /// The key that a request asked for; none in the background.
    key_id: Option<String>,
    at: UnixTime,
}

impl Claim {
    /// The issuer to ask.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }
}

/// How often to try to change a plan that others change as well.
const ATTEMPTS: usize = 4;

#[derive(Default)]
struct IssuerKeys {
    held: Option<Document>,
    editions: u64,
    /// The plan, as far as this worker knows it.
    plan: Plan,
    /// The keys in the zone that were looked at last, good or bad.
    seen: u64,
    /// No fetch in the background by this worker before this moment.
    rest_until: u64,
}

/// A key set and the document that it was read from.
struct Document {
    held: Held,
    bytes: Vec<u8>,
    fetched_at: u64,
    fresh_until: u64,
}

impl KeyStore {
    /// Looks for the key `key_id` of `issuer`.
    #[must_use]
    pub fn find(
        &mut self,
        issuer: &str,
        key_id: &str,
        terms: &KeyTerms,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) -> Lookup {
        let keys = self.issuers.entry(issuer.to_owned()).or_default();
        for look_at_zone in [false, true] {
            if look_at_zone {
                keys.take_over(issuer, zone, now);
            }
            let usable = keys.usable(terms, now);
            if let Some(document) = usable.filter(|d| d.held.keys.get(key_id).is_some()) {
                self.counts.served_stale += u64::from(document.is_stale(now));
                return Lookup::Found(document.held.clone());
            }
        }
        let ms = now.as_millis();
        let claimed = keys.change_plan(issuer, zone, now, |plan| {
            if ms < plan.busy_until || ms < plan.quiet_until {
                return false;
            }
            plan.busy_until = ms.saturating_add(FETCH_MS);
            plan.orphaned = None;
            // Holds as well if this fetch never comes to an end.
            plan.quiet_until = ms.saturating_add(COOLDOWN_MS);
            true
        });
        if claimed {
            let key_id = Some(key_id.to_owned());
            Lookup::Fetch(Claim { issuer: issuer.to_owned(), key_id, at: now })
        } else if ms < keys.plan.busy_until {
            Lookup::Busy
        } else if keys.usable(terms, now).is_some() && !keys.plan.unanswered {
            Lookup::Unknown
        } else {
            Lookup::Unavailable
        }
    }

    /// Whether `edition` of the keys of `issuer` is what this worker goes by.
    #[must_use]
    pub fn holds(
        &mut self,
        issuer: &str,
        edition: Edition,
        terms: &KeyTerms,
        now: UnixTime,
    ) -> bool {
        let usable = self.issuers.get(issuer).and_then(|keys| keys.usable(terms, now));
        let Some(document) = usable.filter(|document| document.held.edition == edition) else {
            return false;
        };
        self.counts.served_stale += u64::from(document.is_stale(now));
        true
    }

    /// Learns what other workers fetched, and whether it is time to fetch the keys of `issuer`
    /// in the background; if so, the caller does.
    #[must_use]
    pub fn tend(&mut self, issuer: &str, zone: Option<&dyn Zone>, now: UnixTime) -> Option<Claim> {
        let keys = self.issuers.entry(issuer.to_owned()).or_default();
        keys.take_over(issuer, zone, now);
        keys.hand_on(issuer, zone, now);
        let ms = now.as_millis();
        let due_here = ms >= keys.rest_until && keys.is_behind() && keys.is_stale(now);
        let wanted = RefCell::new(None);
        let claimed = keys.change_plan(issuer, zone, now, |plan| {
            let due = ms >= plan.busy_until && (ms >= plan.rest_until || due_here);
            if !due && plan.orphaned.is_none() {
                return false;
            }
            wanted.replace(plan.orphaned.take());
            plan.busy_until = ms.saturating_add(FETCH_MS);
            plan.rest_until = plan.rest_until.max(ms.saturating_add(COOLDOWN_MS));
            true
        });
        claimed.then(|| {
            keys.rest_until = ms.saturating_add(COOLDOWN_MS);
            Claim { issuer: issuer.to_owned(), key_id: wanted.take(), at: now }
        })
    }

    /// Notes how the fetch for `claim` ended.
    pub fn settle(
        &mut self,
        claim: &Claim,
        outcome: Result<Fetched, &FetchError>,
        terms: &KeyTerms,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) {
        let keys = self.issuers.entry(claim.issuer.clone()).or_default();
        match outcome {
            Ok(fetched) => {
                self.counts.fetched += 1;
                keys.accept(claim, fetched, terms, zone, now);
            }
            Err(error) => {
                self.counts.failed += 1;
                keys.fetch_failed(claim, error, terms, zone, now);
            }
        }
    }

    /// Notes that nobody goes on with the fetch for `claim`: its request is gone. Whoever waits for
    /// it goes on waiting, and the next tick takes it over; a client that leaves must not keep
    /// the keys from the others, nor have the issuer asked more often.
    pub fn orphan(&mut self, claim: &Claim, zone: Option<&dyn Zone>, now: UnixTime) {
        let keys = self.issuers.entry(claim.issuer.clone()).or_default();
        keys.change_plan(&claim.issuer, zone, now, |plan| {
            // A key id can be as long as a token; the zone is not for such.
            let key_id = claim.key_id.clone().filter(|key_id| key_id.len() <= LONGEST_ORPHAN);
            plan.orphaned = Some(key_id.unwrap_or_default());
            true
        });
    }

    /// Gives `claim` back: no fetch is needed after all.
    pub fn release(&mut self, claim: &Claim, zone: Option<&dyn Zone>, now: UnixTime) {
        let keys = self.issuers.entry(claim.issuer.clone()).or_default();
        keys.change_plan(&claim.issuer, zone, now, |plan| {
            plan.busy_until = 0;
            true
        });
    }

    /// The age of the keys of each issuer.
    pub fn ages(&self, now: UnixTime) -> impl Iterator<Item = (&str, Duration)> {
        self.issuers.iter().filter_map(move |(issuer, keys)| {
            let fetched_at = UnixTime::from_millis(keys.held.as_ref()?.fetched_at);
            Some((issuer.as_str(), now.since(fetched_at)))
        })
    }

    /// What happened since this was asked last.
    pub fn take_counts(&mut self) -> KeyCounts {
        std::mem::take(&mut self.counts)
    }
}

impl IssuerKeys {
    fn usable(&self, terms: &KeyTerms, now: UnixTime) -> Option<&Document> {
        let age = |document: &Document| now.since(UnixTime::from_millis(document.fetched_at));
        self.held.as_ref().filter(|document| age(document) < terms.usable)
    }

    fn is_stale(&self, now: UnixTime) -> bool {
        self.held.as_ref().is_none_or(|document| document.is_stale(now))
    }

    /// Whether others speak of keys that this worker could not get from them.
    fn is_behind(&self) -> bool {
        self.held.as_ref().map_or(0, |document| document.fetched_at) < self.plan.fetched_at
    }

    /// The plan as it stands, and the mark to change it by. After the clock was set back, what this
    /// worker remembers is no better than what it finds.
    fn plan(&self, issuer: &str, zone: Option<&dyn Zone>, now: UnixTime) -> (Plan, Mark) {
        let (shared, mark) =
            zone.map_or((None, Mark::default()), |zone| Plan::read(zone, issuer, now));
        let own = || Some(self.plan.clone()).filter(|plan| plan.is_plausible(now));
        (shared.or_else(own).unwrap_or_default(), mark)
    }

    /// Lets `change` change the plan for all workers, unless it returns false.
    fn change_plan(
        &mut self,
        issuer: &str,
        zone: Option<&dyn Zone>,
        now: UnixTime,
        change: impl Fn(&mut Plan) -> bool,
    ) -> bool {
        for _ in 0..ATTEMPTS {
            let (mut plan, mark) = self.plan(issuer, zone, now);
            if !change(&mut plan) {
                self.plan = plan;
                return false;
            }
            let written = zone.map_or(Ok(()), |zone| plan.write(zone, issuer, mark));
            if written.is_ok() {
                self.plan = plan;
                return true;
            }
        }
        // A zone that takes nothing is none.
        change(&mut self.plan)
    }

    /// Takes the keys from the zone if others fetched some since.
    fn take_over(&mut self, issuer: &str, zone: Option<&dyn Zone>, now: UnixTime) {
        let Some(zone) = zone else { return };
        let (plan, _) = self.plan(issuer, Some(zone), now);
        self.plan = plan;
        let fetched_at = self.plan.fetched_at;
        if !self.is_behind() || self.seen == fetched_at {
            return;
        }
        self.seen = fetched_at;
        let shared = Shared::read(zone, issuer).filter(|shared| shared.fetched_at == fetched_at);
        let Some(shared) = shared else { return };
        if let Ok(keys) = KeySet::parse(&shared.document) {
            self.hold(keys, shared.document, shared.fetched_at, shared.fresh_until);
        }
    }

    /// Puts the keys into the zone if it lost them.
    fn hand_on(&mut self, issuer: &str, zone: Option<&dyn Zone>, now: UnixTime) {
        let (Some(zone), Some(document)) = (zone, &self.held) else { return };
        let (None, mark) = Plan::read(zone, issuer, now) else { return };
        document.share(zone, issuer);
        // If it fails, somebody else did the same, or the next tick tries again.
        let _ = self.plan.write(zone, issuer, mark);
    }

    fn accept(
        &mut self,
        claim: &Claim,
        fetched: Fetched,
        terms: &KeyTerms,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) {
        let fresh_for = fetched.fresh_for.unwrap_or(FRESH_BY_DEFAULT);
        let fresh_for = fresh_for.clamp(terms.min_fresh, terms.max_fresh.max(terms.min_fresh));
        let fetched_at = now.as_millis();
        // Before they are stale, with room for a few attempts.
        let rest_until = now.plus(fresh_for.mul_f64(0.75)).as_millis();
        let fruitful = claim.key_id.as_ref().is_some_and(|id| fetched.keys.get(id).is_some());
        let fresh_until = now.plus(fresh_for).as_millis();
        self.hold(fetched.keys, fetched.document, fetched_at, fresh_until);
        if let (Some(zone), Some(document)) = (zone, &self.held) {
            document.share(zone, &claim.issuer);
        }
        self.change_plan(&claim.issuer, zone, now, |plan| {
            plan.busy_until = 0;
            plan.unanswered = false;
            plan.rest_until = rest_until;
            plan.fetched_at = fetched_at;
            if fruitful {
                // Only the issuer can make a key id that is found; the next new one may come now.
                plan.quiet_until = 0;
            }
            true
        });
    }

    fn fetch_failed(
        &mut self,
        claim: &Claim,
        error: &FetchError,
        terms: &KeyTerms,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) {
        let without_keys = self.usable(terms, now).is_none();
        let unreached = matches!(error, FetchError::NoAnswer { .. })
            && now.since(claim.at) < Duration::from_millis(RETRY_MS / 2);
        let pause = if without_keys && unreached { RETRY_MS } else { COOLDOWN_MS };
        let until = now.as_millis().saturating_add(pause);
        self.rest_until = until;
        self.change_plan(&claim.issuer, zone, now, |plan| {
            plan.busy_until = 0;
            plan.unanswered = true;
            plan.rest_until = until;
            if without_keys {
                plan.quiet_until = until;
            }
            true
        });
    }

    fn hold(&mut self, keys: KeySet, bytes: Vec<u8>, fetched_at: u64, fresh_until: u64) {
        let held = match self.held.take() {
            Some(before) if before.bytes == bytes => before.held,
            _ => {
                self.editions = self.editions.wrapping_add(1);
                Held { keys: Rc::new(keys), edition: Edition(self.editions) }
            }
        };
        self.held = Some(Document { held, bytes, fetched_at, fresh_until });
    }
}

impl Document {
    fn is_stale(&self, now: UnixTime) -> bool {
        now.as_millis() >= self.fresh_until
    }

    fn share(&self, zone: &dyn Zone, issuer: &str) {
        let shared = Shared {
            document: self.bytes.clone(),
            fetched_at: self.fetched_at,
            fresh_until: self.fresh_until,
        };
        shared.write(zone, issuer);
    }
}

#[cfg(test)]
mod tests;
