//! How many refusals of strangers are recorded.

use std::sync::{Mutex, PoisonError};

use crate::time::UnixTime;

/// How many in a minute; what comes on top is in the log only.
const A_MINUTE: u32 = 60;

/// How many there were in the minute that began at this moment.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<(u64, u32)>);

impl Strangers {
    /// Whether one more is recorded.
    pub(super) fn admit(&self, now: UnixTime) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (minute, count) = &mut *seen;
        let this = now.as_secs() / 60;
        if *minute != this {
            (*minute, *count) = (this, 0);
        }
        *count = count.saturating_add(1);
        if *count == A_MINUTE + 1 {
            tracing::warn!("more refusals of strangers this minute are not in the audit");
        }
        *count <= A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_so_many_records_a_minute() {
        let strangers = Strangers::default();
        for minute in [100, 101] {
            let now = UnixTime::from_secs(minute * 60);
            let admitted = (0..200).filter(|_| strangers.admit(now)).count();
            assert_eq!(admitted, 60);
        }
    }
}
