//! Where quotas are kept: cells under names, changed by compare-and-swap.

mod local;
mod shared;

use std::{future::Future, pin::Pin, time::Duration};

use super::quota::Ms;

pub use local::Local;
pub use shared::{AddressRefused, Shared};

/// What a store will say.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A store of quotas. Whatever its answer costs, it comes within half a second.
pub trait Store: Send + Sync {
    /// The cells called `names`, and what else there is to know.
    fn read<'a>(&'a self, names: &'a [String]) -> Pending<'a, Reading>;

    /// Makes each of `changes` whose cell is still as it was; says what became of each.
    fn write<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Vec<Written>>;

    /// Notes at `now` that nodes know an earlier memory than `memory`, unless that is noted.
    fn forgot<'a>(&'a self, memory: &'a Memory, now: Ms) -> Pending<'a, ()>;
}

/// Cells at one moment.
#[derive(Debug, Clone)]
pub struct Reading {
    /// The time by the store's clock, which is the same for all who use it.
    pub now: Ms,
    /// The memory that they come from.
    pub memory: Memory,
    /// What is in them.
    pub cells: Vec<Option<Vec<u8>>>,
}

/// A store's memory, from when it was found empty until it is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Its name.
    pub id: String,
    /// When it began, empty.
    pub born_at: Ms,
    /// When it was found out that there was another before.
    pub lost_at: Option<Ms>,
}

/// What a cell should become.
#[derive(Debug, Clone)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What was in it.
    pub before: Option<Vec<u8>>,
    /// What should be in it.
    pub after: Vec<u8>,
    /// For how long.
    pub keep_for: Duration,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is made.
    Made,
    /// The cell was no longer as it had been.
    Outdated,
    /// There is no room for another cell.
    NoRoom,
}

/// The store did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the store did not answer in time")]
    Late,
    /// It could not be reached, or refused.
    #[error("the store failed: {0}")]
    Failed(String),
}

impl StoreError {
    /// The error as a metric's label.
    #[must_use]
    pub const fn as_label(&self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Failed(_) => "failed",
        }
    }
}
