//! A limit that several nodes share: see [`kombi_spec::lease`].
//!
//! A request spends from what its node holds on lease, in a cell of the zone that all workers of
//! the node share, and never waits for the network. On the tick one worker reports what was used
//! of a quota and asks for more; it claims that by compare-and-swap, so the others need not.
//!
//! A node that has not heard of a quota yet, or has used up a lease while more is left, guesses:
//! it admits [`Terms::guess`] units, which the next report charges. If the exchange is silent the
//! node goes on with what it holds for [`Terms::grace`]; from then on nothing is known, and the
//! rule says what follows.

mod cell;
mod news;
mod node;
mod place;
mod terms;

use std::{collections::BTreeMap, time::Duration};

use kombi_spec::lease::{LeaseAnswer, LeaseReport, MAX_HOLDINGS, Share};

use super::seed::Seed;
use crate::{time::UnixTime, zone::Zone};
use cell::Cell;
pub use news::{LeaseCounts, News};
use node::Node;
use terms::Name;
pub use terms::{Quota, Taken, Terms};

/// How often a cell is tried that others keep changing.
const ATTEMPTS: usize = 16;

/// Most quotas that one worker reports about; a lease of one beyond ends by itself.
const MOST_QUOTAS: usize = 4_096;

/// What is reported is not reported again for this long: a little less than a tick.
const REST: Duration = Duration::from_millis(200);

/// How long an answer may take before the report is held to be lost.
const PATIENCE: Duration = Duration::from_secs(3);

/// The leases that one worker knows of.
#[derive(Default)]
pub struct Leases {
    /// The node's seed, if it has none.
    chance: u64,
    /// What decides where cells lie.
    places: Option<Seed>,
    /// Cells that made room for others since this was asked last.
    displaced: u64,
    active: BTreeMap<Name, Active>,
    /// The last quota that was reported about; the next report begins after it.
    turn: Option<Name>,
    /// When the report was sent that is under way.
    under_way: Option<UnixTime>,
    /// What the node's id is made of, the first time: a request's id, which is random.
    seed: String,
    counts: LeaseCounts,
    silent: bool,
}

#[derive(Clone, Copy)]
struct Active {
    terms: Terms,
    /// When it was last asked for.
    wanted_at: UnixTime,
}

/// A report that was sent, to be answered.
pub struct Sent {
    at: UnixTime,
    quotas: Vec<(Name, Terms)>,
}

impl Leases {
    /// The leases of a worker that has just begun; nobody can guess `chance`.
    #[must_use]
    pub fn with_chance(chance: u64) -> Self {
        Self { chance, ..Self::default() }
    }

    /// Looks after the node's seed; to be called from time to time.
    pub fn tend(&mut self, zone: Option<&dyn Zone>) {
        let known = zone.zip(self.places);
        // Where there is another, leases that lie elsewhere end by themselves.
        self.places = known.and_then(|(zone, known)| Seed::of(zone, known.number()));
    }

    /// How many quotas made room for others since this was asked last.
    pub(super) fn take_displaced(&mut self) -> u64 {
        std::mem::take(&mut self.displaced)
    }

    fn places(&mut self, zone: &dyn Zone) -> Option<Seed> {
        if self.places.is_none() {
            self.places = Seed::of(zone, self.chance);
        }
        self.places
    }

    /// Takes `cost` units of `quota`; of none, says whether there is one.
    pub fn take(
        &mut self,
        quota: Quota<'_>,
        cost: u64,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) -> Taken {
        let Some((zone, seed)) = zone.and_then(|zone| Some((zone, self.places(zone)?))) else {
            return Taken::Unknown;
        };
        let name = quota.name();
        for _ in 0..ATTEMPTS {
            let known = Cell::known(zone, seed, &name).map(|(cell, place)| (cell, place, false));
            let found = known.or_else(|| Cell::begin(zone, seed, &name, now));
            let Some((mut cell, place, displaces)) = found else { return Taken::NoRoom };
            let silent = || Node::read(zone).is_some_and(|node| node.is_silent(&quota.terms, now));
            let taken = cell.take(cost, &quota.terms, now, silent);
            if cell.write(zone, &name, place).is_ok() {
                self.note(&name, quota.terms, now);
                self.displaced += u64::from(displaces);
                return taken;
            }
        }
        Taken::Unknown
    }

    /// Gives back `cost` units that were taken for a request that did not go on.
    pub fn give_back(&mut self, quota: Quota<'_>, cost: u64, zone: Option<&dyn Zone>) {
        self.change(quota, zone, |cell| cell.used = cell.used.saturating_sub(cost));
    }

    /// Takes `cost` units whether there are that many or not: they were used already.
    pub fn charge(&mut self, quota: Quota<'_>, cost: u64, zone: Option<&dyn Zone>, now: UnixTime) {
        // Whoever comes to pay has taken before, or looked; if not, there is a cell from here on.
        self.take(quota, 0, zone, now);
        self.change(quota, zone, |cell| cell.charge(cost));
    }

    fn change(&mut self, quota: Quota<'_>, zone: Option<&dyn Zone>, change: impl Fn(&mut Cell)) {
        let Some((zone, seed)) = zone.and_then(|zone| Some((zone, self.places(zone)?))) else {
            return;
        };
        let name = quota.name();
        for _ in 0..ATTEMPTS {
            let Some((mut cell, place)) = Cell::known(zone, seed, &name) else { return };
            change(&mut cell);
            if cell.write(zone, &name, place).is_ok() {
                return;
            }
        }
    }

    /// A request came; where there is no id of the node yet, its id is made of the request's.
    pub fn seed(&mut self, request_id: &str) {
        if self.seed.is_empty() {
            request_id.clone_into(&mut self.seed);
        }
    }

    /// What there is to report now. A report ends in [`answered`](Self::answered) or
    /// [`unanswered`](Self::unanswered).
    pub fn report(
        &mut self,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) -> Option<(LeaseReport, Sent)> {
        let zone = zone?;
        let seed = self.places(zone)?;
        let waits = |sent_at: UnixTime| now >= sent_at && now.since(sent_at) < PATIENCE;
        if self.active.is_empty() || self.under_way.is_some_and(waits) {
            return None;
        }
        let mut holdings = Vec::new();
        let mut quotas = Vec::new();
        for (name, active) in self.in_turn() {
            if holdings.len() == MAX_HOLDINGS {
                break;
            }
            self.turn = Some(name.clone());
            let Some((mut cell, place)) = Cell::known(zone, seed, &name) else {
                // It made room for another.
                self.active.remove(&name);
                continue;
            };
            let idle = now.since(active.wanted_at) > active.terms.grace;
            if idle && cell.is_settled(now) {
                self.active.remove(&name);
            } else if !cell.was_reported(now, REST) {
                let holding = cell.report(&name, &active.terms, idle, now);
                // If another worker changed it, that one or the next tick reports.
                if cell.write(zone, &name, place).is_ok() {
                    holdings.push(holding);
                    quotas.push((name, active.terms));
                }
            }
        }
        if holdings.is_empty() {
            return None;
        }
        let node = Node::asks(zone, &self.seed, now)?;
        self.under_way = Some(now);
        let report = LeaseReport { node: node.id, memory: node.memory, holdings };
        Some((report, Sent { at: now, quotas }))
    }

    /// What was `sent` was answered.
    pub fn answered(&mut self, sent: &Sent, answer: &LeaseAnswer, zone: Option<&dyn Zone>) {
        self.under_way = None;
        let Some((zone, seed)) = zone.zip(self.places) else { return };
        Node::heard(zone, &answer.memory);
        for (name, terms) in &sent.quotas {
            let about =
                |share: &&Share| share.rule == name.rule && fingerprint(&name.key) == share.key;
            if let Some(share) = answer.shares.iter().find(about) {
                heed(zone, seed, name, terms, share, sent.at);
            }
        }
    }

    /// What was sent was not answered, or not as it should be.
    pub fn unanswered(&mut self) {
        self.under_way = None;
    }

    fn note(&mut self, name: &Name, terms: Terms, now: UnixTime) {
        let active = Active { terms, wanted_at: now };
        if let Some(known) = self.active.get_mut(name) {
            *known = active;
        } else if self.active.len() < MOST_QUOTAS {
            self.active.insert(name.clone(), active);
        }
    }

    /// All quotas, those first whose turn it is.
    fn in_turn(&self) -> Vec<(Name, Active)> {
        let all = self.active.iter().map(|(name, active)| (name.clone(), *active));
        let Some(turn) = &self.turn else { return all.collect() };
        let (before, after): (Vec<_>, Vec<_>) = all.partition(|(name, _)| name <= turn);
        after.into_iter().chain(before).collect()
    }
}

fn heed(zone: &dyn Zone, seed: Seed, name: &Name, terms: &Terms, share: &Share, sent_at: UnixTime) {
    for _ in 0..ATTEMPTS {
        let Some((mut cell, place)) = Cell::known(zone, seed, name) else { return };
        if !cell.heed(share, terms, sent_at) || cell.write(zone, name, place).is_ok() {
            return;
        }
    }
}

/// What stands for `key` outside this node.
fn fingerprint(key: &[u8]) -> String {
    let digest = kombi_gate_crypto::sha256(key);
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
