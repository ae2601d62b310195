//! Time as an argument.

use std::time::{Duration, SystemTime};

/// A moment in whole seconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixTime(u64);

impl UnixTime {
    /// What the machine's clock says.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self(since.map_or(0, |since| since.as_secs()))
    }

    /// The moment `s` seconds after 1970.
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s)
    }

    /// The moment that SQLite kept; 1970 if it is earlier.
    #[must_use]
    pub fn from_sql(s: i64) -> Self {
        Self(u64::try_from(s).unwrap_or_default())
    }

    /// Seconds since 1970.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    /// The moment as SQLite keeps it; the end of its time if there is none.
    #[must_use]
    pub fn as_sql(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The moment `duration` later, in whole seconds.
    #[must_use]
    pub const fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// How long after `earlier` it is; no time if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }

    /// The moment `duration` earlier, in whole seconds; not before 1970.
    #[must_use]
    pub const fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_secs()))
    }
}
