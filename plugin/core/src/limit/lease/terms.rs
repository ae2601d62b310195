//! What a shared rule allows whom, and what it says to one who asks.

use std::time::Duration;

use super::millis;

/// What a shared rule says of one caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Units that the quota gains per period; at least 1.
    pub amount: u64,
    /// The period; at least one second.
    pub period: Duration,
    /// Units that the quota holds at most; at least 1.
    pub burst: u64,
    /// How long the node goes on without word from the exchange, which is how long a lease lives.
    pub grace: Duration,
}

impl Terms {
    /// Units that a node may admit on its own account until it hears of the quota: half a
    /// hundredth, so that three nodes stay below two hundredths; of small quotas a few.
    #[must_use]
    pub fn guess(&self) -> u64 {
        let size = self.burst;
        (size / 200).max((size / 10).clamp(1, 5))
    }

    pub(super) fn period_ms(&self) -> u64 {
        millis(self.period)
    }
}

/// Whom a quota is for.
#[derive(Debug, Clone, Copy)]
pub struct Quota<'a> {
    /// The rule's name.
    pub rule: &'a str,
    /// The caller, as the rule tells callers apart.
    pub key: &'a [u8],
    /// What the rule says of them.
    pub terms: Terms,
}

/// Whether units were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They were.
    Granted {
        /// What is left of the quota, as far as this node knows.
        left: u64,
    },
    /// There are not that many; try again after this long.
    Exhausted(Duration),
    /// Nothing is known: no zone, or no word from the exchange for longer than the rule's grace.
    Unknown,
    /// The zone has no place for it.
    NoRoom,
}

impl Quota<'_> {
    pub(super) fn name(&self) -> Name {
        Name { rule: self.rule.to_owned(), key: self.key.to_owned() }
    }
}

/// Rule and key of a quota.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Name {
    pub(super) rule: String,
    pub(super) key: Vec<u8>,
}
