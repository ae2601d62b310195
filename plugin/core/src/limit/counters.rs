//! The counters of a node: buckets in the zone, found by a key's hash and changed by
//! compare-and-swap.

use super::{
    bucket::{Bucket, Entry, Record},
    kept::Kept,
    key::Key,
    lease::Leases,
    rule::RuleId,
    seed::Seed,
    tally::{Tally, Trouble},
};
use crate::{
    time::UnixTime,
    zone::{Mark, Zone},
};

/// How often a change is tried that others keep getting in the way of. Each of them has made
/// progress by then.
const ATTEMPTS: usize = 32;

/// Names that a bucket can have: the next one is used where a cell of somebody else lies under the
/// one before. Names of one kind never collide with each other, even where only their CRC32
/// counts: they differ within 32 bits, which that tells apart.
const KINDS: [u8; 3] = *b"abc";

/// What a bucket can take in the zone, in bytes.
const PLACE: u64 = 1024;

/// Buckets where the zone has no end.
const WITHOUT_END: u32 = 16_384;

/// What a worker remembers of the counters, so that it notices when the zone loses some.
#[derive(Default)]
pub(super) struct Memory {
    /// The node's seed, if it has none.
    chance: u64,
    seed: Option<Seed>,
    buckets: Vec<Seen>,
    kept: Kept,
}

/// The state in which a worker left a bucket.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    made_at: u32,
    /// Some budget in it is not whole before this moment, in seconds.
    live_until: u32,
}

/// The counters at one moment.
pub(super) struct Counters<'a> {
    pub(super) zone: Option<&'a dyn Zone>,
    pub(super) memory: &'a mut Memory,
    pub(super) leases: &'a mut Leases,
    pub(super) tally: &'a mut Tally,
    pub(super) now: UnixTime,
}

/// The budgets of a key, as they were found.
pub(super) struct Found {
    number: u32,
    name: Name,
    mark: Mark,
    bucket: Bucket,
    entry: Option<Entry>,
    /// Whether it was not found in the zone, but in this worker's memory.
    recalled: bool,
}

/// Why nothing can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The workers share no memory.
    NoZone,
    /// The zone has no place for the counter.
    NoRoom,
    /// The zone takes no change.
    NotWritten,
    /// There is nothing to tell the caller by.
    NoKey,
    /// The exchange, through which nodes share the budget, was silent for too long.
    NoWord,
}

/// The change did not take place, and what was found is no longer so.
pub(super) struct Outdated;

/// The name of a cell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name([u8; 10]);

impl Counters<'_> {
    /// The budgets of `key`.
    pub(super) fn find(&mut self, key: &Key) -> Result<Found, Fault> {
        let zone = self.zone.ok_or(Fault::NoZone)?;
        let buckets = buckets(zone.size_bytes());
        let seed = self.memory.seed(zone).ok_or(Fault::NotWritten)?;
        let number = seed.bucket(key.hash(), buckets);
        for kind in KINDS {
            let name = Name::of(kind, number);
            let cell = zone.read(name.as_str());
            let mark = cell.as_ref().map(|cell| cell.mark).unwrap_or_default();
            let bucket = match cell.map(|cell| Bucket::read(cell.value, number)) {
                // What lies there is somebody else's.
                Some(None) => continue,
                Some(bucket) => bucket,
                None => None,
            };
            if self.memory.misses(number, bucket.as_ref(), self.now) {
                self.tally.trouble(Trouble::Lost, 1);
            }
            let bucket = bucket.unwrap_or_else(|| Bucket::new(number, self.now));
            let entry = bucket.find(key);
            return Ok(Found { number, name, mark, bucket, entry, recalled: false });
        }
        Err(Fault::NoRoom)
    }

    /// The budgets of `key` as this worker left them a moment ago, if it did: whether they are still
    /// so, only a write tells.
    pub(super) fn recall(&mut self, key: &Key) -> Option<Found> {
        let buckets = buckets(self.zone?.size_bytes());
        let number = self.memory.seed?.bucket(key.hash(), buckets);
        let (name, mark, bucket) = self.memory.kept.take(number, self.now)?;
        let entry = bucket.find(key);
        Some(Found { number, name, mark, bucket, entry, recalled: true })
    }

    /// Changes the budgets of `key` that were `found`.
    pub(super) fn write(
        &mut self,
        mut found: Found,
        key: &Key,
        records: &[Record],
    ) -> Result<Result<(), Outdated>, Fault> {
        let zone = self.zone.ok_or(Fault::NoZone)?;
        let displaced = found.bucket.put(key, records, self.now).map_err(|_| Fault::NoRoom)?;
        if zone.write(found.name.as_str(), found.bucket.bytes(), found.mark).is_err() {
            if found.recalled {
                self.memory.kept.in_vain();
            }
            return Ok(Err(Outdated));
        }
        if displaced > 0 {
            self.tally.trouble(Trouble::Displaced, displaced);
        }
        self.memory.note(buckets(zone.size_bytes()), found.number, &found.bucket, records);
        let Found { number, name, mark, bucket, .. } = found;
        self.memory.kept.put(number, (name, mark, bucket), self.now);
        Ok(Ok(()))
    }

    /// Changes the budgets of `key` as `change` says, which sees what is found: nothing if it
    /// returns nothing.
    pub(super) fn change(
        &mut self,
        key: &Key,
        mut change: impl FnMut(&Found) -> Vec<Record>,
    ) -> Result<(), Fault> {
        for _ in 0..ATTEMPTS {
            let found = self.find(key)?;
            let records = change(&found);
            if records.is_empty() || self.write(found, key, &records)?.is_ok() {
                return Ok(());
            }
        }
        Err(Fault::NotWritten)
    }

    /// The attempts that a change has.
    pub(super) fn attempts() -> std::ops::Range<usize> {
        0..ATTEMPTS
    }
}

impl Found {
    /// When the budget of `rule` is whole again.
    pub(super) fn whole_at(&self, rule: RuleId) -> super::pace::WholeAt {
        let entry = self.entry.as_ref();
        entry.and_then(|entry| self.bucket.whole_at(entry, rule)).unwrap_or_default()
    }

    /// Whether there is, or can be made, a place for `records` of `key`.
    pub(super) fn has_room(&self, key: &Key, records: &[Record], now: UnixTime) -> bool {
        self.bucket.has_room(key, records, now)
    }
}

impl Memory {
    /// One whose `chance` nobody can guess.
    pub(super) fn with_chance(chance: u64) -> Self {
        Self { chance, ..Self::default() }
    }

    /// The node's seed.
    fn seed(&mut self, zone: &dyn Zone) -> Option<Seed> {
        if self.seed.is_none() {
            self.seed = Seed::of(zone, self.chance);
        }
        self.seed
    }

    /// Looks after the node's seed, so that the zone finds it last used when it needs room, and so
    /// that workers agree again when the zone has lost it. Says whether this worker had another.
    pub(super) fn tend(&mut self, zone: &dyn Zone) -> bool {
        let Some(known) = self.seed else { return false };
        let Some(found) = Seed::of(zone, known.number()).filter(|found| *found != known) else {
            return false;
        };
        *self = Self { seed: Some(found), ..Self::with_chance(self.chance) };
        true
    }

    /// Whether the bucket is not the one that this worker wrote to, although budgets in that one
    /// were not whole. It is told once.
    fn misses(&mut self, number: u32, bucket: Option<&Bucket>, now: UnixTime) -> bool {
        let Some(seen) = self.seen(number) else { return false };
        let lost = u64::from(seen.live_until) > now.as_secs()
            && bucket.is_none_or(|bucket| bucket.made_at() != seen.made_at);
        if lost {
            *seen = Seen::default();
        }
        lost
    }

    fn note(&mut self, buckets: u32, number: u32, bucket: &Bucket, records: &[Record]) {
        if self.buckets.is_empty() {
            self.buckets = vec![Seen::default(); usize::try_from(buckets).unwrap_or_default()];
        }
        let Some(seen) = self.seen(number) else { return };
        let made_at = bucket.made_at();
        let latest = records.iter().map(|record| record.whole_at.0 / 1_000_000_000).max();
        let latest = u32::try_from(latest.unwrap_or_default()).unwrap_or(u32::MAX);
        let before = if seen.made_at == made_at { seen.live_until } else { 0 };
        *seen = Seen { made_at, live_until: before.max(latest) };
    }

    fn seen(&mut self, number: u32) -> Option<&mut Seen> {
        self.buckets.get_mut(usize::try_from(number).ok()?)
    }
}

impl Name {
    fn of(kind: u8, number: u32) -> Self {
        let digit = |shift: u32| {
            let digit = char::from_digit(number >> shift & 0xf, 16).unwrap_or('0');
            u8::try_from(digit).unwrap_or(b'0')
        };
        Self([b'l', b'i', b'm', b'i', b't', kind, digit(12), digit(8), digit(4), digit(0)])
    }

    fn as_str(&self) -> &str {
        // All of it is ASCII.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// How many buckets a zone of so many bytes has: a power of two, and no more than half of the zone
/// if all of them are full, so that it need not evict any.
fn buckets(size_bytes: Option<u64>) -> u32 {
    let Some(bytes) = size_bytes else { return WITHOUT_END };
    let most = (bytes / 2 / PLACE).clamp(64, 65_536);
    u32::try_from(1_u64 << most.ilog2()).unwrap_or(WITHOUT_END)
}

#[cfg(test)]
mod tests;
