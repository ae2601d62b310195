//! How a budget is used up and comes back: the generic cell rate algorithm (GCRA, ITU-T I.371).
//!
//! All that is kept of a budget is one moment: when it will be whole again if nobody takes more.
//! Units come back one by one, evenly, so there is no window and no edge at which two budgets
//! could be spent at once; and taking a unit back is as exact as taking it.

use std::time::Duration;

use crate::time::UnixTime;

/// The longest time that clocks of one node may differ. A budget that seems to be whole later
/// than any use of it explains was written by a clock that has been set back since.
const SKEW_NS: u64 = 5_000_000_000;

/// Over which time an amount is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
    /// 24 hours, whenever they begin: no midnight, so no time zone.
    Day,
    /// 30 days, whenever they begin.
    Month,
}

impl Period {
    /// How long it is, in seconds.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
        }
    }
}

/// The most units that an amount or a burst can have.
pub const MOST_UNITS: u64 = 1_000_000_000;

/// A budget: `amount` units per `period`, of which `burst` can be used at once.
///
/// In any stretch of time, however chosen, no more than `burst` units are admitted and those
/// that come back meanwhile: `burst + amount × stretch / period`. A budget that was left alone
/// admits exactly `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    amount: u64,
    period: Period,
    burst: u64,
    /// How long one unit takes to come back, rounded up: never more than the amount comes back.
    interval_ns: u64,
}

/// The moment when a budget is whole again, in nanoseconds since 1970; zero for one that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct WholeAt(pub u64);

/// There are not that many units left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// How long it takes until there are, if nobody takes others.
    pub wait: Duration,
}

impl Pace {
    /// `amount` and `burst` units of at least one and at most [`MOST_UNITS`]; what is beyond is
    /// taken for the nearest.
    #[must_use]
    pub fn new(amount: u64, period: Period, burst: u64) -> Self {
        let amount = amount.clamp(1, MOST_UNITS);
        let period_ns = period.seconds().saturating_mul(1_000_000_000);
        // A year of any budget at once would be no limit any more, and this keeps all sums far
        // from the end of a u64.
        let burst = burst.clamp(1, MOST_UNITS).min(amount.saturating_mul(100));
        Self { amount, period, burst, interval_ns: period_ns.div_ceil(amount) }
    }

    /// Units that come back per period.
    #[must_use]
    pub const fn amount(&self) -> u64 {
        self.amount
    }

    /// The period.
    #[must_use]
    pub const fn period(&self) -> Period {
        self.period
    }

    /// Units that can be used at once.
    #[must_use]
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// How long a budget that is used up takes to be whole again, in nanoseconds.
    #[must_use]
    pub const fn whole_after_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(self.burst)
    }

    /// Takes `units`, if there are that many. Returns when the budget is whole again.
    pub fn take(&self, whole_at: WholeAt, units: u64, now: UnixTime) -> Result<WholeAt, UsedUp> {
        let taken = self.take_anyway(whole_at, units, now);
        let debt_ns = taken.0.saturating_sub(nanoseconds(now));
        match debt_ns.checked_sub(self.whole_after_ns()) {
            None | Some(0) => Ok(taken),
            Some(excess_ns) => Err(UsedUp { wait: Duration::from_nanos(excess_ns) }),
        }
    }

    /// Takes `units` whether they are there or not: what was used is used. The budget can be
    /// overdrawn by as much as it holds, no more: nobody is locked out for longer than that.
    #[must_use]
    pub fn take_anyway(&self, whole_at: WholeAt, units: u64, now: UnixTime) -> WholeAt {
        let now_ns = nanoseconds(now);
        let used_ns = self.interval_ns.saturating_mul(units);
        let from_ns = whole_at.0.max(now_ns);
        let most_ns = now_ns.saturating_add(self.whole_after_ns().saturating_mul(2));
        WholeAt(from_ns.saturating_add(used_ns).min(most_ns.max(from_ns)))
    }

    /// Gives `units` back that were taken before.
    #[must_use]
    pub const fn give_back(&self, whole_at: WholeAt, units: u64) -> WholeAt {
        WholeAt(whole_at.0.saturating_sub(self.interval_ns.saturating_mul(units)))
    }

    /// The units that can be used at once now.
    #[must_use]
    pub fn left(&self, whole_at: WholeAt, now: UnixTime) -> u64 {
        let debt_ns = whole_at.0.saturating_sub(nanoseconds(now));
        self.whole_after_ns().saturating_sub(debt_ns) / self.interval_ns
    }

    /// How long it takes until one unit more is left than now.
    #[must_use]
    pub fn next_after(&self, whole_at: WholeAt, now: UnixTime) -> Duration {
        let more = self.left(whole_at, now).saturating_add(1);
        whole_at.after(now).saturating_sub(self.whole_after(more))
    }

    /// How long a budget of which `left` units are left takes to be whole.
    #[must_use]
    pub fn whole_after(&self, left: u64) -> Duration {
        let used = self.burst.saturating_sub(left);
        Duration::from_nanos(self.interval_ns.saturating_mul(used))
    }

    /// What a clock that was set back leaves of a budget: if it seems to be whole later than any
    /// use explains, it counts as used up now.
    #[must_use]
    pub fn plausible(&self, whole_at: WholeAt, now: UnixTime) -> WholeAt {
        let now_ns = nanoseconds(now);
        let full_ns = now_ns.saturating_add(self.whole_after_ns());
        let latest_ns = full_ns.saturating_add(self.whole_after_ns()).saturating_add(SKEW_NS);
        if whole_at.0 > latest_ns { WholeAt(full_ns) } else { whole_at }
    }
}

impl WholeAt {
    /// How long until then.
    #[must_use]
    pub fn after(self, now: UnixTime) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(nanoseconds(now)))
    }

    /// Whether the budget is whole, so that nothing has to be kept of it.
    #[must_use]
    pub fn is_past(self, now: UnixTime) -> bool {
        self.0 <= nanoseconds(now)
    }
}

fn nanoseconds(time: UnixTime) -> u64 {
    time.as_millis().saturating_mul(1_000_000)
}

#[cfg(test)]
mod tests;
