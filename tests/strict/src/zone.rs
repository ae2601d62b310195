//! Shared data: what all workers of a node share, with the surprises of Kong's.

use std::collections::{BTreeMap, HashMap};

use crate::host::Host;

/// What a cell needs beyond its key and value, in bytes.
const CELL_OVERHEAD: usize = 64;

/// The page of nginx's slab allocator, in bytes.
const PAGE: usize = 4096;

/// The node's shared data.
///
/// On Kong a key is looked up by its CRC32 alone, so colliding keys are one cell; a full zone
/// drops the cell that was used least recently, without a word.
#[derive(Debug)]
pub struct Zone {
    host: Host,
    /// Bytes that the cells may take; none on Envoy.
    capacity: Option<usize>,
    used: usize,
    cells: HashMap<Vec<u8>, Cell>,
    /// The cells' ids by the moment of their last use.
    by_age: BTreeMap<u64, Vec<u8>>,
    uses: u64,
    last_cas: u32,
    evictions: u64,
}

#[derive(Debug)]
struct Cell {
    value: Vec<u8>,
    cas: u32,
    size: usize,
    used_at: u64,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is done.
    Done,
    /// Somebody else was faster, or `cas` was not given for a key that exists.
    Mismatch,
    /// It could not fit even into an empty zone.
    TooLarge,
}

impl Zone {
    /// An empty zone; `bytes` is what the operator configured.
    #[must_use]
    pub fn new(host: Host, bytes: usize) -> Self {
        Self {
            host,
            capacity: (host == Host::Kong).then_some(bytes),
            used: 0,
            cells: HashMap::new(),
            by_age: BTreeMap::new(),
            uses: 0,
            last_cas: 0,
            evictions: 0,
        }
    }

    /// The value in the cell of `key`, and its cas.
    pub fn read(&mut self, key: &[u8]) -> Option<(Vec<u8>, u32)> {
        let id = self.id(key);
        self.touch(&id);
        self.cells.get(&id).map(|cell| (cell.value.clone(), cell.cas))
    }

    /// Writes the cell of `key`; no value deletes it. `cas` 0 means: must not exist yet (Kong),
    /// or: whatever is there (Envoy).
    pub fn write(&mut self, key: &[u8], value: Option<&[u8]>, cas: u32) -> Written {
        let id = self.id(key);
        let found = self.cells.get(&id).map_or(0, |cell| cell.cas);
        let expected = match self.host {
            Host::Kong => cas == found,
            Host::Envoy => cas == 0 || found == 0 || cas == found,
        };
        if !expected {
            return Written::Mismatch;
        }
        let size = slab_size(key.len() + value.map_or(0, <[u8]>::len) + CELL_OVERHEAD);
        if value.is_some() && self.capacity.is_some_and(|capacity| size > capacity) {
            return Written::TooLarge;
        }
        self.forget(&id);
        let Some(value) = value else { return Written::Done };
        while self.capacity.is_some_and(|capacity| self.used + size > capacity) {
            let Some(oldest) = self.by_age.values().next().cloned() else { break };
            self.forget(&oldest);
            self.evictions += 1;
        }
        // On Kong a cell that was deleted or evicted starts again at 1, so an old cas can match.
        self.last_cas = self.last_cas.wrapping_add(1).max(1);
        let cas = match self.host {
            Host::Kong => found.wrapping_add(1).max(1),
            Host::Envoy => self.last_cas,
        };
        self.uses += 1;
        self.used += size;
        self.by_age.insert(self.uses, id.clone());
        self.cells.insert(id, Cell { value: value.to_vec(), cas, size, used_at: self.uses });
        Written::Done
    }

    /// How many cells there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How many cells had to make room for others so far.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Forgets everything, as a restart does.
    pub fn wipe(&mut self) {
        self.cells.clear();
        self.by_age.clear();
        self.used = 0;
    }

    fn id(&self, key: &[u8]) -> Vec<u8> {
        match self.host {
            Host::Kong => crc32(key).to_le_bytes().to_vec(),
            Host::Envoy => key.to_vec(),
        }
    }

    fn touch(&mut self, id: &[u8]) {
        if let Some(cell) = self.cells.get_mut(id) {
            self.uses += 1;
            self.by_age.remove(&cell.used_at);
            cell.used_at = self.uses;
            self.by_age.insert(self.uses, id.to_vec());
        }
    }

    fn forget(&mut self, id: &[u8]) {
        if let Some(cell) = self.cells.remove(id) {
            self.by_age.remove(&cell.used_at);
            self.used -= cell.size;
        }
    }
}

/// What nginx's slab allocator takes for `bytes`: a power of two, or whole pages.
fn slab_size(bytes: usize) -> usize {
    if bytes > PAGE / 2 { bytes.next_multiple_of(PAGE) } else { bytes.next_power_of_two() }
}

/// The CRC32 of nginx (`ngx_crc32_long`), which is that of zlib.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kong(bytes: usize) -> Zone {
        Zone::new(Host::Kong, bytes)
    }

    #[test]
    fn the_crc_is_the_one_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn keys_with_the_same_crc_are_one_cell_on_kong_and_two_on_envoy() {
        let (a, b) = (b"rl:user:29685295", b"rl:user:32060020");
        let mut zone = kong(1 << 20);
        assert_eq!(zone.write(a, Some(b"1"), 0), Written::Done);
        assert_eq!(zone.read(b), Some((b"1".to_vec(), 1)));
        assert_eq!(zone.write(b, Some(b"2"), 0), Written::Mismatch);
        let mut zone = Zone::new(Host::Envoy, 0);
        assert_eq!(zone.write(a, Some(b"1"), 0), Written::Done);
        assert_eq!(zone.read(b), None);
    }

    #[test]
    fn no_cas_means_must_not_exist_on_kong_and_anything_on_envoy() {
        let mut zone = kong(1 << 20);
        assert_eq!(zone.write(b"k", Some(b"1"), 7), Written::Mismatch);
        assert_eq!(zone.write(b"k", Some(b"1"), 0), Written::Done);
        assert_eq!(zone.write(b"k", Some(b"2"), 0), Written::Mismatch);
        assert_eq!(zone.write(b"k", None, 0), Written::Mismatch);
        assert_eq!(zone.write(b"k", Some(b"2"), 1), Written::Done);
        assert_eq!(zone.read(b"k"), Some((b"2".to_vec(), 2)));
        assert_eq!(zone.write(b"k", None, 2), Written::Done);
        assert_eq!(zone.read(b"k"), None);
        let mut zone = Zone::new(Host::Envoy, 0);
        assert_eq!(zone.write(b"k", Some(b"1"), 0), Written::Done);
        assert_eq!(zone.write(b"k", Some(b"2"), 0), Written::Done);
        assert_eq!(zone.write(b"k", Some(b"3"), 1), Written::Mismatch);
    }

    #[test]
    fn a_full_zone_drops_what_was_used_least_recently() {
        let mut zone = kong(4 * 128);
        for key in [b"a", b"b", b"c", b"d"] {
            assert_eq!(zone.write(key, Some(&[0; 60]), 0), Written::Done);
        }
        assert!(zone.read(b"a").is_some());
        assert_eq!(zone.write(b"e", Some(&[0; 60]), 0), Written::Done);
        assert_eq!(zone.evictions(), 1);
        assert!(zone.read(b"b").is_none());
        assert!(zone.read(b"a").is_some());
        assert_eq!(zone.write(b"f", Some(&[0; 600]), 0), Written::TooLarge);
        assert_eq!(zone.len(), 4);
    }
}
