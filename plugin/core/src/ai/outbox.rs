//! Settlements on their way to the ledger. They leave on the tick and are kept until the exchange
//! has them on disk.
//!
//! A worker keeps its own in memory. Each has a copy in the zone that the node's workers share, so
//! that another worker can send it should this one die. Sending one twice does no harm.

use std::{collections::VecDeque, time::Duration};

use kombi_spec::usage::settle::{self, MAX_SETTLEMENTS, SettleRequest, Settlement};
use serde::{Deserialize, Serialize};

use super::tally::Tally;
use crate::{
    exchange::Exchange,
    step::{HttpCall, HttpOutcome},
    time::UnixTime,
    zone::{Mark, Zone},
};

/// Most settlements that one worker keeps. Beyond that only the gateway's log has them.
const MOST: usize = 4_096;

/// Most copies in the zone, about a megabyte in all.
const SLOTS: usize = 1_024;

/// How many slots are tried for a copy. If none is free, the log and the memory have to do.
const TRIES: usize = 8;

/// How long a copy lies before another worker takes it for an orphan.
const ORPHANED_AFTER: Duration = Duration::from_secs(30);

/// How often a worker looks for orphans, and at how many slots each time.
const SEARCH_EVERY: Duration = Duration::from_secs(1);
const SEARCHED: usize = 64;

/// Pauses after failures, from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The settlements of one worker.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Entry>,
    /// How many of those in front are on their way.
    sent: usize,
    pause: Option<(UnixTime, Duration)>,
    next_slot: usize,
    searched_at: Option<UnixTime>,
    search_from: usize,
    tally: Tally,
}

#[derive(Debug)]
struct Entry {
    settlement: Settlement,
    /// Where in the zone the copy is.
    slot: Option<usize>,
}

/// A copy in the zone, with its slot: cells can be mixed up.
#[derive(Serialize, Deserialize)]
struct Copy {
    slot: usize,
    at_ms: u64,
    settlement: Settlement,
}

/// What the other workers tell the ledger if this one is not heard of any more.
#[derive(Debug)]
pub struct Will {
    settlement: Settlement,
    slot: usize,
}

impl Will {
    /// The worker lives, and something else is true.
    pub fn revoke(self, zone: Option<&dyn Zone>) {
        if let Some(zone) = zone {
            clear(zone, self.slot, &self.settlement);
        }
    }
}

impl Outbox {
    /// Leaves word of what is to be told if this worker dies: of a call that was reserved and has
    /// not left, nobody else would know that it never did.
    pub fn bequeath(
        &mut self,
        settlement: Settlement,
        zone: &dyn Zone,
        now: UnixTime,
    ) -> Option<Will> {
        self.copy(&settlement, zone, now).map(|slot| Will { settlement, slot })
    }

    /// One more settlement.
    pub fn put(&mut self, settlement: Settlement, zone: Option<&dyn Zone>, now: UnixTime) {
        self.tally.add(&settlement);
        if self.waiting.len() >= MOST {
            self.tally.dropped = self.tally.dropped.saturating_add(1);
            return;
        }
        let slot = zone.and_then(|zone| self.copy(&settlement, zone, now));
        self.waiting.push_back(Entry { settlement, slot });
    }

    /// How many wait or are on their way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none wait.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What happened since the last time.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::take(&mut self.tally)
    }

    /// The call that brings the next ones to `exchange`, if it is time.
    pub fn send(
        &mut self,
        exchange: &Exchange,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) -> Option<HttpCall> {
        if let Some(zone) = zone {
            self.search(zone, now);
        }
        let paused = self.pause.is_some_and(|(since, pause)| now.since(since) < pause);
        if self.sent > 0 || self.waiting.is_empty() || paused {
            return None;
        }
        let settlements: Vec<_> =
            self.waiting.iter().take(MAX_SETTLEMENTS).map(|entry| &entry.settlement).collect();
        self.sent = settlements.len();
        let id = settlements.first().map(|first| first.request_id.clone()).unwrap_or_default();
        let body = serde_json::to_vec(&SettleRequest { settlements }).ok();
        let call = body.and_then(|body| exchange.tell(settle::PATH, body, &id, now));
        if call.is_none() {
            self.failed(now);
        }
        call
    }

    /// How the call ended. Returns why it failed, if it did.
    pub fn sent(
        &mut self,
        outcome: HttpOutcome,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) -> Result<(), String> {
        let problem = match outcome {
            HttpOutcome::Answer { status: 200, .. } => {
                for entry in self.waiting.drain(..self.sent.min(self.waiting.len())) {
                    if let (Some(zone), Some(slot)) = (zone, entry.slot) {
                        clear(zone, slot, &entry.settlement);
                    }
                }
                (self.sent, self.pause) = (0, None);
                self.tally.told = self.tally.told.saturating_add(1);
                return Ok(());
            }
            HttpOutcome::Answer { status, .. } => format!("status {status}"),
            HttpOutcome::Failure(reason) => reason,
        };
        self.failed(now);
        Err(problem)
    }

    fn failed(&mut self, now: UnixTime) {
        self.sent = 0;
        self.tally.failed = self.tally.failed.saturating_add(1);
        let pause = match self.pause {
            Some((_, pause)) => pause.saturating_mul(2).min(LONGEST_PAUSE),
            None => FIRST_PAUSE,
        };
        self.pause = Some((now, pause));
    }

    /// Puts a copy into the zone.
    fn copy(&mut self, settlement: &Settlement, zone: &dyn Zone, now: UnixTime) -> Option<usize> {
        for _ in 0..TRIES {
            let slot = self.next_slot % SLOTS;
            // Workers that begin alike must not meet at every slot.
            self.next_slot = self.next_slot.wrapping_add(1 + spread(settlement));
            let found = zone.read(&name(slot));
            if found.as_ref().is_some_and(|cell| !cell.value.is_empty()) {
                continue;
            }
            let copy = Copy { slot, at_ms: now.as_millis(), settlement: settlement.clone() };
            let value = serde_json::to_vec(&copy).ok()?;
            let mark = found.map_or(Mark::default(), |cell| cell.mark);
            if zone.write(&name(slot), &value, mark).is_ok() {
                return Some(slot);
            }
        }
        None
    }

    /// Takes in copies that nobody sends.
    fn search(&mut self, zone: &dyn Zone, now: UnixTime) {
        if self.searched_at.is_some_and(|at| now.since(at) < SEARCH_EVERY) {
            return;
        }
        self.searched_at = Some(now);
        for _ in 0..SEARCHED {
            let slot = self.search_from % SLOTS;
            self.search_from = self.search_from.wrapping_add(1);
            let Some(cell) = zone.read(&name(slot)).filter(|cell| !cell.value.is_empty()) else {
                continue;
            };
            let Some(copy) = read(&cell.value, slot) else { continue };
            let age = now.since(UnixTime::from_millis(copy.at_ms));
            if age < ORPHANED_AFTER || self.waiting.len() >= MOST {
                continue;
            }
            // Whoever renews it sends it.
            let renewed = Copy { at_ms: now.as_millis(), ..copy };
            let Ok(value) = serde_json::to_vec(&renewed) else { continue };
            if zone.write(&name(slot), &value, cell.mark).is_ok()
                && !self.waiting.iter().any(|entry| entry.slot == Some(slot))
            {
                self.waiting.push_back(Entry { settlement: renewed.settlement, slot: Some(slot) });
            }
        }
    }
}

/// Frees the slot, if it still has this settlement.
fn clear(zone: &dyn Zone, slot: usize, settlement: &Settlement) {
    if let Some(cell) = zone.read(&name(slot))
        && read(&cell.value, slot).is_some_and(|copy| copy.settlement == *settlement)
    {
        // Someone else's change wins.
        let _ = zone.write(&name(slot), b"", cell.mark);
    }
}

fn read(value: &[u8], slot: usize) -> Option<Copy> {
    serde_json::from_slice::<Copy>(value).ok().filter(|copy| copy.slot == slot)
}

fn name(slot: usize) -> String {
    format!("usage:{slot}")
}

/// A number that differs from request to request.
fn spread(settlement: &Settlement) -> usize {
    settlement
        .request_id
        .bytes()
        .fold(0, |sum, byte| usize::from(byte).wrapping_add(usize::wrapping_mul(sum, 31)))
        % SLOTS
}

#[cfg(test)]
mod tests;
