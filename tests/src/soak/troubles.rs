//! What is broken when, and which failures that explains.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::load::Kind;

/// How long after its end a fault may still be felt: answers under way, and providers of models
/// that are left alone for 15 s are none of them.
const FELT: Duration = Duration::from_secs(6);

/// What is done to the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// The issuer signs with a new key.
    Rotation,
    /// The gateway is reloaded.
    Reload,
    /// The exchange is killed, and started again.
    ExchangeKilled,
    /// An instance keeps its connections and answers nothing.
    InstanceHangs,
}

impl Fault {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Rotation => "the issuer's key was rotated",
            Self::Reload => "the gateway was reloaded",
            Self::ExchangeKilled => "the exchange was killed and started again",
            Self::InstanceHangs => "an instance hung",
        }
    }

    /// Whether it explains that a request of this kind failed; `broken` is one without an answer.
    const fn explains(self, kind: Kind, broken: bool) -> bool {
        match self {
            // A rotation drops nobody.
            Self::Rotation => false,
            // Connections that are kept open end with their worker.
            Self::Reload => broken,
            Self::ExchangeKilled => matches!(kind, Kind::Login | Kind::Stream),
            Self::InstanceHangs => matches!(kind, Kind::Login),
        }
    }
}

struct Trouble {
    fault: Fault,
    from: Instant,
    until: Option<Instant>,
}

/// All that was done so far.
#[derive(Default)]
pub(super) struct Troubles(Mutex<Vec<Option<Trouble>>>);

impl Troubles {
    fn with<T>(&self, what: impl FnOnce(&mut Vec<Option<Trouble>>) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self, fault: Fault) -> usize {
        let trouble = Trouble { fault, from: Instant::now(), until: None };
        self.with(|all| {
            all.push(Some(trouble));
            all.len() - 1
        })
    }

    pub(super) fn end(&self, number: usize) {
        self.with(|all| {
            if let Some(Some(trouble)) = all.get_mut(number) {
                trouble.until = Some(Instant::now());
            }
        });
    }

    /// It did not come to that.
    pub(super) fn forget(&self, number: usize) {
        self.with(|all| {
            if let Some(trouble) = all.get_mut(number) {
                *trouble = None;
            }
        });
    }

    /// Whether something that was broken explains that a request between two moments failed.
    pub(super) fn explain(&self, kind: Kind, broken: bool, from: Instant, until: Instant) -> bool {
        self.with(|all| {
            all.iter().flatten().any(|trouble| {
                let over = trouble.until.map(|until| until + FELT);
                trouble.fault.explains(kind, broken)
                    && trouble.from <= until
                    && over.is_none_or(|over| from <= over)
            })
        })
    }

    pub(super) fn counts(&self) -> BTreeMap<Fault, usize> {
        let mut counts = BTreeMap::new();
        self.with(|all| {
            for trouble in all.iter().flatten() {
                *counts.entry(trouble.fault).or_default() += 1;
            }
        });
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_explained_by_what_was_broken_then_and_by_nothing_else() {
        let troubles = Troubles::default();
        let before = Instant::now();
        let number = troubles.begin(Fault::InstanceHangs);
        let during = Instant::now();
        assert!(troubles.explain(Kind::Login, false, before, during));
        assert!(!troubles.explain(Kind::Call, false, before, during));
        troubles.end(number);
        let long_after = Instant::now() + FELT + Duration::from_secs(1);
        assert!(!troubles.explain(Kind::Login, false, long_after, long_after));
        let reload = troubles.begin(Fault::Reload);
        let now = Instant::now();
        assert!(troubles.explain(Kind::Call, true, now, now));
        assert!(
            !troubles.explain(Kind::Call, false, now, now),
            "an answer is no broken connection"
        );
        troubles.forget(reload);
        assert!(!troubles.explain(Kind::Call, true, now, now));
        assert_eq!(troubles.counts(), [(Fault::InstanceHangs, 1)].into());
    }
}
