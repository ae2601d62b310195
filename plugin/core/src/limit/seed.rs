//! What decides, beside its key, in which bucket a budget lies: a number that all workers of a
//! node know and nobody outside. Without it, whoever calls from many addresses could choose those
//! whose budgets lie in one bucket with somebody else's, and leave no room for theirs.

use crate::zone::{Mark, Zone};

/// Names of the cell: the next one is used where a cell of somebody else lies under the one before.
const NAMES: [&str; 3] = ["kombi_gate:seed-a", "kombi_gate:seed-b", "kombi_gate:seed-c"];

/// How often it is tried to write it. Whoever gets in the way has written one.
const ATTEMPTS: usize = 3;

/// The number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seed(u64);

impl Seed {
    /// The seed that lies in the zone; if there is none yet, `own` from now on. `None` if the zone
    /// takes none.
    pub(super) fn of(zone: &dyn Zone, own: u64) -> Option<Self> {
        for name in NAMES {
            for _ in 0..ATTEMPTS {
                let Some(cell) = zone.read(name) else {
                    let value = [name.as_bytes(), &own.to_le_bytes()].concat();
                    if zone.write(name, &value, Mark::default()).is_ok() {
                        return Some(Self(own));
                    }
                    continue;
                };
                match cell.value.strip_prefix(name.as_bytes()).map(<[u8; 8]>::try_from) {
                    Some(Ok(bytes)) => return Some(Self(u64::from_le_bytes(bytes))),
                    _ => break,
                }
            }
        }
        None
    }

    /// As it lies in the zone.
    pub(super) const fn number(self) -> u64 {
        self.0
    }

    /// Which of `buckets`, a power of two, the budgets of the key with `hash` lie in.
    pub(super) fn bucket(self, hash: u64, buckets: u32) -> u32 {
        // Both halves of the product depend on all of the seed.
        let product = u128::from(hash ^ self.0) * u128::from(self.0.rotate_left(32) | 1);
        let (high, low) = (product >> 64, product & u128::from(u64::MAX));
        let folded = u64::try_from(high ^ low).unwrap_or_default();
        let number = (folded ^ folded >> 32) & u64::from(buckets.saturating_sub(1));
        u32::try_from(number).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::zone::tests::TestZone;

    const CHANCE: u64 = 0x9d1c_5e2f_8a34_b7c6;

    #[test]
    fn all_workers_of_a_node_have_the_seed_of_the_first() {
        let zone = TestZone::default();
        assert_eq!(Seed::of(&zone, 1), Some(Seed(1)));
        assert_eq!(Seed::of(&zone, 2), Some(Seed(1)));
        zone.wipe();
        assert_eq!(Seed::of(&zone, 2), Some(Seed(2)));
    }

    #[test]
    fn a_cell_of_somebody_else_is_left_alone_and_another_name_is_used() {
        let zone = TestZone::default();
        for (name, value) in [(NAMES[0], &b"{}"[..]), (NAMES[1], b"kombi_gate:seed-b short")] {
            zone.put(name, value);
            assert_eq!(Seed::of(&zone, 7), Some(Seed(7)));
            assert_eq!(zone.read(name).unwrap().value, value);
        }
        zone.put(NAMES[2], b"");
        assert_eq!(Seed::of(&zone, 7), None);
        let mut full = TestZone::default();
        full.full = true;
        assert_eq!(Seed::of(&full, 7), None);
    }

    #[test]
    fn keys_that_lie_together_by_one_seed_are_spread_by_another() {
        // Neighbours, as an attacker's addresses are, and any.
        for hash in [|n: u64| n, |n: u64| n << 40, |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15)] {
            let mut together: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
            for n in 0..65_536 {
                together.entry(Seed(CHANCE).bucket(hash(n), 1_024)).or_default().push(hash(n));
            }
            let most = together.values().map(Vec::len).max().unwrap();
            assert!(most < 320, "spread evenly it is 64 each: {most}");
            let chosen = together.into_values().next().unwrap();
            let mut elsewhere: Vec<u32> =
                chosen.iter().map(|hash| Seed(!CHANCE ^ 77).bucket(*hash, 1_024)).collect();
            elsewhere.sort_unstable();
            elsewhere.dedup();
            assert!(elsewhere.len() > chosen.len() / 4, "{} of {}", elsewhere.len(), chosen.len());
        }
    }
}
