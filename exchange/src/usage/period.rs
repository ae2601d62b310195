//! Periods of budgets: from one full minute, hour, day or month (UTC) to the next.

use kombi_spec::usage::reserve::Period;
use time::{Date, OffsetDateTime};

use crate::time::UnixTime;

/// One period of time, from its start to just before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) starts_at: UnixTime,
    pub(super) ends_at: UnixTime,
}

impl Window {
    /// The `period` that `at` is in.
    pub(super) fn of(period: Period, at: UnixTime) -> Self {
        match period {
            Period::Minute => Self::of_length(60, at),
            Period::Hour => Self::of_length(3_600, at),
            Period::Day => Self::of_length(86_400, at),
            Period::Month => Self::of_month(at),
        }
    }

    fn of_length(s: u64, at: UnixTime) -> Self {
        let start = at.as_secs() / s * s;
        Self { starts_at: UnixTime::from_secs(start), ends_at: UnixTime::from_secs(start + s) }
    }

    fn of_month(at: UnixTime) -> Self {
        let first = day(at).replace_day(1).unwrap_or(Date::MIN);
        let month_after = first.month().next();
        let year_after = first.year() + i32::from(first.month() == time::Month::December);
        let next = Date::from_calendar_date(year_after, month_after, 1).unwrap_or(Date::MAX);
        Self { starts_at: midnight(first), ends_at: midnight(next) }
    }
}

/// The day that `at` is in.
pub(super) fn day(at: UnixTime) -> Date {
    OffsetDateTime::from_unix_timestamp(at.as_sql()).map_or(Date::MAX, OffsetDateTime::date)
}

/// When `day` begins; what is before 1970 begins then.
pub(super) fn midnight(day: Date) -> UnixTime {
    let s = day.midnight().assume_utc().unix_timestamp();
    UnixTime::from_secs(u64::try_from(s).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_its_start_and_not_its_end() {
        // 2026-12-31T23:59:59Z and the second after it.
        let (last, first) = (1_798_761_599, 1_798_761_600);
        for (period, at, starts_at, ends_at) in [
            (Period::Minute, last, last - 59, first),
            (Period::Minute, first, first, first + 60),
            (Period::Hour, last, first - 3_600, first),
            (Period::Day, last, first - 86_400, first),
            (Period::Day, first, first, first + 86_400),
            (Period::Month, last, first - 31 * 86_400, first),
            (Period::Month, first, first, first + 31 * 86_400),
            // 2028-02-29 is a day.
            (Period::Month, 1_835_395_200, 1_832_976_000, 1_832_976_000 + 29 * 86_400),
            (Period::Month, 0, 0, 31 * 86_400),
        ] {
            let window = Window::of(period, UnixTime::from_secs(at));
            let seconds = (window.starts_at.as_secs(), window.ends_at.as_secs());
            assert_eq!(seconds, (starts_at, ends_at), "{period:?} {at}");
        }
    }

    #[test]
    fn the_end_of_all_time_is_in_some_window_too() {
        for period in [Period::Minute, Period::Hour, Period::Day, Period::Month] {
            Window::of(period, UnixTime::from_secs(u64::from(u32::MAX)));
        }
        assert_eq!(day(UnixTime::from_secs(u64::MAX)), Date::MAX);
    }
}
