//! The cells of the zone that counters lie in.
//!
//! There is a fixed number of buckets, so that counters can neither fill the zone nor, where it
//! has no end, the machine. A bucket is one cell with the budgets of several callers; whatever
//! happens in it is one compare-and-swap. Budgets that are whole need no place. When a bucket is
//! full all the same, the least used budget in it makes room, but none of which half or more is
//! used: whoever comes with a million keys cannot have the hot ones forgotten.
//!
//! ```text
//! bucket  "KoL1", its number (u32), when it was made (u32), then entries
//! entry   low half of the key's hash (u32), key's length (u8), number of records (u8), key, records
//! record  rule (u64), whole at (u64, ns since 1970), whole after (u64, ns)
//! ```
//!
//! All numbers are little-endian.

use std::ops::Range;

use super::{key::Key, pace::WholeAt, rule::RuleId};
use crate::time::UnixTime;

/// The format, and that a cell is a bucket at all.
const MAGIC: [u8; 4] = *b"KoL1";

const HEAD: usize = 12;
const ENTRY_HEAD: usize = 6;
const RECORD: usize = 24;

/// Largest bucket in bytes. With what the zone adds to it, it fits into 1,024.
pub(super) const LARGEST: usize = 896;

/// Budgets of which this much is used keep their place, in thousandths.
const HOT: u64 = 500;

/// A bucket, as it was read or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    bytes: Vec<u8>,
}

/// Where the budgets of one caller are in a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    hash: u32,
    key: Range<usize>,
    records: Range<usize>,
}

/// A budget as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record {
    /// Whose rule.
    pub(super) rule: RuleId,
    /// When it is whole again.
    pub(super) whole_at: WholeAt,
    /// How long a budget that is used up takes to be whole.
    pub(super) whole_after_ns: u64,
}

/// Every budget in the bucket is hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Bucket {
    /// An empty bucket.
    pub(super) fn new(number: u32, now: UnixTime) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(MAGIC);
        bytes.extend(number.to_le_bytes());
        bytes.extend(low_half(now.as_millis()).to_le_bytes());
        Self { bytes }
    }

    /// The bucket with this number, if that is what `bytes` are.
    pub(super) fn read(bytes: Vec<u8>, number: u32) -> Option<Self> {
        let ours = bytes.starts_with(&MAGIC) && number_at(&bytes, 4)? == number;
        let bucket = Self { bytes };
        let mut at = HEAD;
        while at < bucket.bytes.len() {
            at = bucket.entry_at(at)?.records.end;
        }
        (ours && at == bucket.bytes.len()).then_some(bucket)
    }

    /// The bytes to keep.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// When it was made, in milliseconds, as far as they fit. Tells it from an earlier one that
    /// the zone has lost.
    pub(super) fn made_at(&self) -> u32 {
        number_at(&self.bytes, 8).unwrap_or_default()
    }

    /// The budgets of `key`.
    pub(super) fn find(&self, key: &Key) -> Option<Entry> {
        let hash = low_half(key.hash());
        self.entries().find(|entry| {
            entry.hash == hash && self.bytes.get(entry.key.clone()) == Some(key.bytes())
        })
    }

    /// The budget of `rule` among those of `entry`.
    pub(super) fn whole_at(&self, entry: &Entry, rule: RuleId) -> Option<WholeAt> {
        self.records(entry).find(|record| record.rule == rule).map(|record| record.whole_at)
    }

    /// Puts `changed` budgets of `key` in place of what they were, and forgets what is whole by
    /// now. Returns how many callers' budgets that are not had to make room.
    pub(super) fn put(
        &mut self,
        key: &Key,
        changed: &[Record],
        now: UnixTime,
    ) -> Result<u64, NoRoom> {
        let entry = self.find(key);
        if let Some(entry) = &entry
            && changed.iter().all(|record| self.overwrite(entry, record))
        {
            return Ok(0);
        }
        let kept = entry.iter().flat_map(|entry| self.records(entry)).filter(|record| {
            !record.whole_at.is_past(now) && changed.iter().all(|new| new.rule != record.rule)
        });
        let own: Vec<Record> = kept.chain(changed.iter().copied()).collect();
        let mut others: Vec<(u64, Entry)> = self
            .entries()
            .filter(|other| Some(other) != entry.as_ref())
            .map(|other| (self.heat(&other, now), other))
            .filter(|(heat, _)| *heat > 0)
            .collect();
        let size = |entry: &Entry| ENTRY_HEAD + entry.key.len() + entry.records.len();
        let mut total = HEAD + ENTRY_HEAD + key.bytes().len() + own.len() * RECORD;
        total += others.iter().map(|(_, entry)| size(entry)).sum::<usize>();
        let mut displaced = 0;
        while total > LARGEST {
            let coldest = others.iter().enumerate().min_by_key(|(_, (heat, _))| *heat);
            let (index, heat) = coldest.map(|(index, (heat, _))| (index, *heat)).ok_or(NoRoom)?;
            if heat >= HOT {
                return Err(NoRoom);
            }
            let (_, entry) = others.swap_remove(index);
            total -= size(&entry);
            displaced += 1;
        }
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(self.bytes.get(..HEAD).unwrap_or_default());
        push_entry(&mut bytes, key, &own).ok_or(NoRoom)?;
        for (_, entry) in &others {
            let start = entry.key.start - ENTRY_HEAD;
            bytes.extend(self.bytes.get(start..entry.records.end).unwrap_or_default());
        }
        self.bytes = bytes;
        Ok(displaced)
    }

    /// Whether [`put`](Self::put) finds a place for `changed` budgets of `key`.
    pub(super) fn has_room(&self, key: &Key, changed: &[Record], now: UnixTime) -> bool {
        let most = ENTRY_HEAD + key.bytes().len() + changed.len() * RECORD;
        self.bytes.len() + most <= LARGEST || self.clone().put(key, changed, now).is_ok()
    }

    /// How much of its most used budget `entry` has used, in thousandths; nothing if all of them
    /// are whole.
    fn heat(&self, entry: &Entry, now: UnixTime) -> u64 {
        let heat = |record: Record| {
            let left_ns = u64::try_from(record.whole_at.after(now).as_nanos()).unwrap_or(u64::MAX);
            if left_ns == 0 { 0 } else { left_ns / (record.whole_after_ns / 1_000).max(1) + 1 }
        };
        self.records(entry).map(heat).max().unwrap_or_default()
    }

    /// Writes `record` over the one of its rule, if there is one.
    fn overwrite(&mut self, entry: &Entry, record: &Record) -> bool {
        let found = self.records(entry).position(|found| found.rule == record.rule);
        let Some(position) = found else { return false };
        let start = entry.records.start + position * RECORD;
        let place = self.bytes.get_mut(start..).and_then(<[u8]>::first_chunk_mut::<RECORD>);
        place.is_some_and(|place| {
            *place = record.to_bytes();
            true
        })
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let mut at = HEAD;
        std::iter::from_fn(move || {
            let entry = self.entry_at(at)?;
            at = entry.records.end;
            Some(entry)
        })
    }

    /// The entry that begins at `at`, if a whole one does.
    fn entry_at(&self, at: usize) -> Option<Entry> {
        let (head, rest) = self.bytes.get(at..)?.split_first_chunk::<ENTRY_HEAD>()?;
        let [a, b, c, d, key_length, records] = *head;
        let (key_length, records) = (usize::from(key_length), usize::from(records));
        if rest.len() < key_length + records * RECORD {
            return None;
        }
        let key = at + ENTRY_HEAD..at + ENTRY_HEAD + key_length;
        let records = key.end..key.end + records * RECORD;
        Some(Entry { hash: u32::from_le_bytes([a, b, c, d]), key, records })
    }

    fn records(&self, entry: &Entry) -> impl Iterator<Item = Record> {
        let bytes = self.bytes.get(entry.records.clone()).unwrap_or_default();
        bytes.as_chunks::<RECORD>().0.iter().map(Record::from_bytes)
    }
}

impl Record {
    fn to_bytes(self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let words = [self.rule.0, self.whole_at.0, self.whole_after_ns];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; RECORD]) -> Self {
        let mut words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        Self { rule: RuleId(next()), whole_at: WholeAt(next()), whole_after_ns: next() }
    }
}

/// `None` if the key or the records are too many for the format.
fn push_entry(bytes: &mut Vec<u8>, key: &Key, records: &[Record]) -> Option<()> {
    bytes.extend(low_half(key.hash()).to_le_bytes());
    bytes.push(u8::try_from(key.bytes().len()).ok()?);
    bytes.push(u8::try_from(records.len()).ok()?);
    bytes.extend(key.bytes());
    for record in records {
        bytes.extend(record.to_bytes());
    }
    Some(())
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|number| u32::from_le_bytes(*number))
}

fn low_half(number: u64) -> u32 {
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
