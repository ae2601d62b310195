//! The clock of a node: it stands still unless the test moves it.

use std::{cell::Cell, rc::Rc};

/// Where every clock starts, in milliseconds since 1970: an ordinary day in 2025.
pub const START_MS: u64 = 1_750_000_000_000;

/// Time that moves in whole milliseconds, and never within a callback. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct Clock(Rc<Cell<u64>>);

impl Default for Clock {
    fn default() -> Self {
        Self(Rc::new(Cell::new(START_MS)))
    }
}

impl Clock {
    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.0.get()
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.0.get() / 1000
    }

    /// Sets the clock, also backwards: machines do that.
    pub(crate) fn set(&self, ms: u64) {
        self.0.set(ms);
    }
}
