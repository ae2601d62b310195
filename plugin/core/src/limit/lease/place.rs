//! Where the cells of leases lie in the zone.
//!
//! There is a fixed number of places, so that cells can fill neither the zone nor, where it has no
//! end, the machine. Each quota has a few that its cell may lie in; which ones, nobody outside can
//! tell. Where all are taken, what is needed least makes room.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Name, cell::Cell};
use crate::{
    limit::seed::Seed,
    time::UnixTime,
    zone::{Mark, NotWritten, Zone},
};

/// Kinds of places: a cell lies in one place of any of them. Names of one kind never collide with
/// each other, even where only their CRC32 counts: they differ within 32 bits.
const KINDS: [char; 4] = ['a', 'b', 'c', 'd'];

/// What a cell can take in the zone, in bytes.
const PLACE: u64 = 512;

/// Places of each kind where the zone has no end.
const WITHOUT_END: u64 = 4_096;

/// Where a cell lies, to write it again.
pub(super) struct Place {
    at: String,
    mark: Mark,
}

/// How much a cell is needed; the least needed makes room for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// There is none.
    Empty,
    /// Nothing is held by it, and nothing of it untold.
    Over,
    /// It has had no more than what a node admits by guess.
    New,
}

impl Cell {
    /// The cell for `name`, if there is one.
    pub(super) fn known(zone: &dyn Zone, seed: Seed, name: &Name) -> Option<(Self, Place)> {
        places(zone, seed, name).find_map(|at| {
            let found = zone.read(&at)?;
            let cell = Self::decode(&found.value).filter(|(_, owner)| name.is(owner))?.0;
            Some((cell, Place { at, mark: found.mark }))
        })
    }

    /// A new cell for `name`, in the place of the one that is needed least, and whether there was
    /// one; none, if all are needed.
    pub(super) fn begin(
        zone: &dyn Zone,
        seed: Seed,
        name: &Name,
        now: UnixTime,
    ) -> Option<(Self, Place, bool)> {
        let free = places(zone, seed, name).filter_map(|at| {
            let Some(found) = zone.read(&at) else {
                return Some((Need::Empty, Place { at, mark: Mark::default() }));
            };
            // What cannot be read is somebody else's.
            let need = Self::decode(&found.value)?.0.need(now)?;
            Some((need, Place { at, mark: found.mark }))
        });
        let (need, place) = free.min_by_key(|(need, _)| *need)?;
        Some((Self::new(now), place, need == Need::New))
    }

    /// Writes it where it lay.
    pub(super) fn write(
        &self,
        zone: &dyn Zone,
        name: &Name,
        place: Place,
    ) -> Result<(), NotWritten> {
        zone.write(&place.at, &self.encode(name), place.mark)
    }
}

impl Name {
    /// Whether a cell of `owner` is its cell. A rule's name has no zero byte in it.
    fn is(&self, owner: &[u8]) -> bool {
        let key = owner.strip_prefix(self.rule.as_bytes()).and_then(|rest| rest.strip_prefix(&[0]));
        key == Some(self.key.as_slice())
    }
}

/// The places where the cell for `name` may lie.
fn places(zone: &dyn Zone, seed: Seed, name: &Name) -> impl Iterator<Item = String> {
    let mut hasher = DefaultHasher::new();
    seed.number().hash(&mut hasher);
    name.hash(&mut hasher);
    let hash = hasher.finish();
    let last = places_of_a_kind(zone.size_bytes()) - 1;
    (0..).step_by(16).zip(KINDS).map(move |(shift, kind)| {
        let number = hash >> shift & last;
        format!("lease{kind}{number:04x}")
    })
}

/// A power of two, and no more than a quarter of the zone for all kinds together.
fn places_of_a_kind(size_bytes: Option<u64>) -> u64 {
    let kinds = KINDS.len() as u64;
    let most = size_bytes.map(|bytes| (bytes / 4 / PLACE / kinds).clamp(16, 16_384));
    1 << most.unwrap_or(WITHOUT_END).ilog2()
}
