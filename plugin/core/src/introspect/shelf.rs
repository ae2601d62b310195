//! A bounded memory: of two things that do not both fit, the older goes.

use std::collections::BTreeMap;

use super::question::Fingerprint;

/// Things by the token that they are about, in the order in which they came.
pub(super) struct Shelf<T> {
    things: BTreeMap<Fingerprint, Placed<T>>,
    /// Who came when.
    order: BTreeMap<u64, Fingerprint>,
    next: u64,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

struct Placed<T> {
    thing: T,
    number: u64,
    bytes: usize,
}

impl<T> Shelf<T> {
    /// A shelf for so many things that together take so many bytes.
    pub(super) const fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            things: BTreeMap::new(),
            order: BTreeMap::new(),
            next: 0,
            bytes: 0,
            most,
            most_bytes,
        }
    }

    pub(super) fn get(&self, fingerprint: &Fingerprint) -> Option<&T> {
        self.things.get(fingerprint).map(|placed| &placed.thing)
    }

    /// Puts a thing of `bytes` bytes there, in place of what was there for this token.
    pub(super) fn put(&mut self, fingerprint: Fingerprint, thing: T, bytes: usize) {
        self.remove(&fingerprint);
        if bytes > self.most_bytes {
            return;
        }
        let is_full = |shelf: &Self| {
            shelf.things.len() >= shelf.most || shelf.bytes.saturating_add(bytes) > shelf.most_bytes
        };
        while is_full(self) {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.remove(&oldest);
        }
        self.order.insert(self.next, fingerprint);
        self.things.insert(fingerprint, Placed { thing, number: self.next, bytes });
        self.next = self.next.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn remove(&mut self, fingerprint: &Fingerprint) {
        if let Some(placed) = self.things.remove(fingerprint) {
            self.order.remove(&placed.number);
            self.bytes = self.bytes.saturating_sub(placed.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(shelf: &Shelf<u8>) -> Vec<u8> {
        (0..10).filter(|n| shelf.get(&[*n; 32]).is_some()).collect()
    }

    #[test]
    fn the_oldest_makes_room_by_number_and_by_size() {
        let mut shelf = Shelf::new(3, 100);
        for n in 0..4 {
            shelf.put([n; 32], n, 10);
        }
        assert_eq!(there(&shelf), [1, 2, 3]);
        shelf.put([1; 32], 1, 10);
        shelf.put([4; 32], 4, 10);
        assert_eq!(there(&shelf), [1, 3, 4], "what was put there again is young");
        shelf.put([5; 32], 5, 95);
        assert_eq!(there(&shelf), [5]);
        shelf.put([6; 32], 6, 101);
        assert_eq!(there(&shelf), [5], "a giant drives nobody out");
        shelf.remove(&[5; 32]);
        assert!(there(&shelf).is_empty() && shelf.order.is_empty() && shelf.bytes == 0);
    }
}
