//! Breakers: an instance that did not answer several times in a row is left alone for a moment.
//! Nobody waits then for what will not come, and it is not kept busy while it comes back.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::instance::InstanceId;

/// So many calls in a row without an answer open the breaker.
const FAILURES: u32 = 5;

/// How long the instance is left alone; then one call tries whether it is back.
const PAUSE: Duration = Duration::from_secs(2);

/// One breaker for each instance that does not answer.
#[derive(Default)]
pub struct Breakers(Mutex<HashMap<InstanceId, Silence>>);

/// An instance's.
struct Silence {
    failures: u32,
    until: Instant,
}

impl Breakers {
    /// Whether `instance` may be called now.
    pub fn lets_through(&self, instance: &InstanceId, now: Instant) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(silence) = all.get_mut(instance) else { return true };
        if silence.failures < FAILURES {
            return true;
        }
        if now < silence.until {
            return false;
        }
        // This call is the one that tries.
        silence.until = now + PAUSE;
        true
    }

    /// `instance` was called, and `answered`, whatever it said, or did not.
    pub fn heard(&self, instance: &InstanceId, answered: bool, now: Instant) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            all.remove(instance);
            return;
        }
        let silence =
            all.entry(instance.clone()).or_insert(Silence { failures: 0, until: now + PAUSE });
        silence.failures = silence.failures.saturating_add(1);
        silence.until = now + PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str) -> InstanceId {
        InstanceId::parse(id).unwrap()
    }

    #[test]
    fn an_instance_that_never_answers_is_tried_by_one_at_a_time() {
        let (breakers, lab, start) = (Breakers::default(), instance("lab"), Instant::now());
        for _ in 0..FAILURES {
            assert!(breakers.lets_through(&lab, start));
            breakers.heard(&lab, false, start);
        }
        assert!(!breakers.lets_through(&lab, start));
        assert!(breakers.lets_through(&instance("other"), start));
        let later = start + PAUSE;
        assert!(breakers.lets_through(&lab, later), "somebody tries");
        assert!(!breakers.lets_through(&lab, later), "and nobody else meanwhile");
        breakers.heard(&lab, false, later);
        assert!(!breakers.lets_through(&lab, later + PAUSE / 2));
        assert!(breakers.lets_through(&lab, later + PAUSE));
    }

    #[test]
    fn one_answer_is_enough() {
        let (breakers, lab, start) = (Breakers::default(), instance("lab"), Instant::now());
        for _ in 0..FAILURES {
            breakers.heard(&lab, false, start);
        }
        assert!(!breakers.lets_through(&lab, start));
        breakers.heard(&lab, true, start);
        assert!(breakers.lets_through(&lab, start));
        breakers.heard(&lab, false, start);
        assert!(breakers.lets_through(&lab, start), "it counts from the beginning");
    }
}
