//! What a decision may draw on besides the request: the memory of its worker, the memory of its
//! node, and the time.

use std::rc::Rc;

use crate::{
    ai::{health::Health, outbox::Outbox},
    cache::{Recalled, TokenCache},
    config::KeyTerms,
    fetch::{FetchError, Fetched},
    gate::Gate,
    introspect::Verdicts,
    keys::{Claim, KeyStore, Lookup},
    limit::{self, lease::Leases},
    time::UnixTime,
    zone::Zone,
};

/// Most requests of one worker that may wait for keys at a time. Whoever makes up key ids must
/// not fill the worker with requests that wait.
const SEATS: usize = 512;

/// What one worker remembers, for all of its routes.
#[derive(Default)]
pub struct Worker {
    /// The issuers' keys.
    pub keys: KeyStore,
    /// Tokens that were verified.
    pub tokens: TokenCache,
    /// What the node holds of limits that nodes share.
    pub leases: Leases,
    /// What opaque tokens mean.
    pub verdicts: Verdicts,
    /// What it knows of the node's limits.
    pub limits: limit::Local,
    /// What the ledger is still to be told.
    pub outbox: Outbox,
    /// Which providers of models fail.
    pub health: Health,
    /// Every request that waits for keys holds a copy.
    seats: Rc<()>,
}

impl Worker {
    /// One that has just begun. Nobody outside may be able to guess `chance`.
    #[must_use]
    pub fn with_chance(chance: u64) -> Self {
        Self {
            limits: limit::Local::with_chance(chance),
            leases: Leases::with_chance(chance),
            ..Self::default()
        }
    }

    /// A seat for a request that waits, if one is free. Dropping it frees it.
    #[must_use]
    pub fn seat(&self) -> Option<Rc<()>> {
        (Rc::strong_count(&self.seats) <= SEATS).then(|| Rc::clone(&self.seats))
    }

    /// How many requests wait for keys.
    #[must_use]
    pub fn waiting(&self) -> usize {
        Rc::strong_count(&self.seats).saturating_sub(1)
    }
}

/// The worker at one moment.
pub struct Moment<'a> {
    /// What the worker remembers.
    pub worker: &'a mut Worker,
    /// What all workers of the node share, where there is such a thing.
    pub zone: Option<&'a dyn Zone>,
    /// The time.
    pub now: UnixTime,
}

impl Moment<'_> {
    /// What this worker knows of the token `raw`, which came to `gate` with a request of
    /// `method`, if it verified it with keys that still stand.
    pub fn recall(
        &mut self,
        raw: &[u8],
        gate: &Rc<Gate>,
        method: &str,
        terms: &KeyTerms,
    ) -> Option<Recalled> {
        let Worker { keys, tokens, .. } = &mut *self.worker;
        tokens.recall(raw, gate, method, self.now, |verified| {
            keys.holds(&verified.issuer, verified.edition, terms, self.now)
        })
    }

    /// Looks for the key `key_id` of `issuer`.
    #[must_use]
    pub fn find(&mut self, issuer: &str, key_id: &str, terms: &KeyTerms) -> Lookup {
        self.worker.keys.find(issuer, key_id, terms, self.zone, self.now)
    }

    /// Notes how the fetch for `claim` ended.
    pub fn settle(
        &mut self,
        claim: &Claim,
        outcome: Result<Fetched, &FetchError>,
        terms: &KeyTerms,
    ) {
        self.worker.keys.settle(claim, outcome, terms, self.zone, self.now);
    }
}
