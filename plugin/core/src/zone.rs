//! Memory that all workers of a node share: small cells under names, changed by compare-and-swap.
//!
//! A zone is a convenience, never the truth. Kong tells cells apart by the CRC32 of their name
//! alone, evicts them silently, and has no zone at all unless it is configured; so whoever reads
//! a cell must find its full name in the value, and must be able to do without.

/// What was read, and the mark that a later write must name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// The bytes.
    pub value: Vec<u8>,
    /// The mark of this version of the cell.
    pub mark: Mark,
}

/// One version of a cell. The default is that of a cell that does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark(pub Option<u32>);

impl Mark {
    /// The mark of the version that a write over this one makes, if the host counts on by one. A
    /// cell's marks only grow, so it is the mark of that version or of none.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0?.checked_add(1).map(|next| Self(Some(next)))
    }
}

/// The cell is no longer the version that was read, or the zone does not take the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotWritten;

/// The zone.
pub trait Zone {
    /// The cell called `name`, if there is one.
    fn read(&self, name: &str) -> Option<Cell>;

    /// Writes the cell called `name`, unless it is no longer the version `mark`.
    fn write(&self, name: &str, value: &[u8], mark: Mark) -> Result<(), NotWritten>;

    /// How much fits into the zone, in bytes; `None` if it has no end.
    fn size_bytes(&self) -> Option<u64>;
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use super::{Cell, Mark, NotWritten, Zone};

    /// A zone as Kong has it: a write names the version that it replaces.
    #[derive(Default)]
    pub(crate) struct TestZone {
        cells: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
        clock: RefCell<u32>,
        /// How often a cell was read.
        pub(crate) reads: std::cell::Cell<usize>,
        /// Every name is one and the same cell.
        pub(crate) collide: bool,
        /// Takes no write.
        pub(crate) full: bool,
    }

    impl TestZone {
        fn cell_of<'a>(&self, name: &'a str) -> &'a str {
            if self.collide { "" } else { name }
        }

        /// Puts `value` into every cell there is.
        pub(crate) fn overwrite_all(&self, value: &[u8]) {
            for cell in self.cells.borrow_mut().values_mut() {
                cell.0 = value.to_vec();
                cell.1 += 1_000;
            }
        }

        /// Puts `value` into the cell called `name`.
        pub(crate) fn put(&self, name: &str, value: &[u8]) {
            let mark = self.read(name).map(|cell| cell.mark).unwrap_or_default();
            self.write(name, value, mark).unwrap();
        }

        /// Evicts everything.
        pub(crate) fn wipe(&self) {
            self.cells.borrow_mut().clear();
        }

        /// All names.
        pub(crate) fn names(&self) -> Vec<String> {
            self.cells.borrow().keys().cloned().collect()
        }
    }

    impl Zone for TestZone {
        fn read(&self, name: &str) -> Option<Cell> {
            self.reads.update(|reads| reads + 1);
            let cells = self.cells.borrow();
            let (value, version) = cells.get(self.cell_of(name))?;
            Some(Cell { value: value.clone(), mark: Mark(Some(*version)) })
        }

        fn write(&self, name: &str, value: &[u8], mark: Mark) -> Result<(), NotWritten> {
            let mut cells = self.cells.borrow_mut();
            let found = cells.get(self.cell_of(name)).map(|(_, version)| *version);
            if self.full || found != mark.0 {
                return Err(NotWritten);
            }
            *self.clock.borrow_mut() += 1;
            let version = *self.clock.borrow();
            cells.insert(self.cell_of(name).to_owned(), (value.to_vec(), version));
            Ok(())
        }

        fn size_bytes(&self) -> Option<u64> {
            None
        }
    }
}
