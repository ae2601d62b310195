//! What became of the limits in one worker, until it is published.

use std::collections::BTreeMap;

use super::counters::Fault;

/// What a rule said to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It may pass, and was counted.
    Admitted,
    /// It may not.
    Denied,
    /// In a dry run: it would not.
    WouldDeny,
    /// It could not be counted, and may pass.
    UncountedAdmitted,
    /// It could not be counted, and may not pass.
    UncountedDenied,
}

impl Outcome {
    /// The outcome as a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Denied => "denied",
            Self::WouldDeny => "would_deny",
            Self::UncountedAdmitted => "uncounted_admitted",
            Self::UncountedDenied => "uncounted_denied",
        }
    }
}

/// All outcomes, in their order.
const OUTCOMES: [Outcome; 5] = [
    Outcome::Admitted,
    Outcome::Denied,
    Outcome::WouldDeny,
    Outcome::UncountedAdmitted,
    Outcome::UncountedDenied,
];

/// What went wrong with counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The zone forgot counters that were in use: it was wiped, or others fill it.
    Lost,
    /// Counters that were little used made room for others.
    Displaced,
    /// Nothing could be counted, for this reason.
    Uncounted(Fault),
}

impl Trouble {
    /// The trouble as a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Displaced => "displaced",
            Self::Uncounted(fault) => fault.as_str(),
        }
    }

    /// What the operator can do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Lost => {
                "the zone was wiped, or is too small for all that lies in it: \
                 raise nginx_wasm_shm_kv, and $kombi_zone with it"
            }
            Self::Displaced | Self::Uncounted(Fault::NoRoom) => {
                "there are more callers than places: raise nginx_wasm_shm_kv, and $kombi_zone \
                 with it"
            }
            Self::Uncounted(Fault::NoZone) => {
                "there is no zone, or it is too small: set nginx_wasm_shm_kv and $kombi_zone"
            }
            Self::Uncounted(Fault::NotWritten) => "the zone takes no change",
            Self::Uncounted(Fault::NoKey) => "the host does not tell where requests come from",
            Self::Uncounted(Fault::NoWord) => "the exchange does not answer: see its log",
        }
    }
}

impl Fault {
    /// The fault as a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoZone => "no_zone",
            Self::NoRoom => "no_room",
            Self::NotWritten => "not_written",
            Self::NoKey => "no_key",
            Self::NoWord => "no_word",
        }
    }
}

/// What has happened since it was published last.
#[derive(Default)]
pub struct Tally {
    outcomes: BTreeMap<Box<str>, [u64; OUTCOMES.len()]>,
    troubles: BTreeMap<Trouble, u64>,
    /// Kinds of trouble that were told.
    told: Vec<Trouble>,
}

/// What is to be published.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// How often each rule had each outcome.
    pub outcomes: Vec<(Box<str>, Outcome, u64)>,
    /// How often each trouble was met.
    pub troubles: Vec<(Trouble, u64)>,
    /// The troubles that this worker meets for the first time: they belong into the log.
    pub news: Vec<Trouble>,
}

impl Tally {
    /// The rule called `name` has decided.
    pub(super) fn decided(&mut self, name: &str, outcome: Outcome) {
        let counts = match self.outcomes.get_mut(name) {
            Some(counts) => counts,
            None => self.outcomes.entry(name.into()).or_default(),
        };
        if let Some(count) = counts.get_mut(outcome as usize) {
            *count += 1;
        }
    }

    /// Something went wrong, `times` times.
    pub(super) fn trouble(&mut self, trouble: Trouble, times: u64) {
        *self.troubles.entry(trouble).or_default() += times;
    }

    /// What happened since this was asked last.
    pub fn take(&mut self) -> Counts {
        let mut counts = Counts::default();
        for (name, outcomes) in &mut self.outcomes {
            let met = OUTCOMES.into_iter().zip(std::mem::take(outcomes)).filter(|(_, n)| *n > 0);
            counts.outcomes.extend(met.map(|(outcome, n)| (name.clone(), outcome, n)));
        }
        for (trouble, times) in std::mem::take(&mut self.troubles) {
            if !self.told.contains(&trouble) {
                self.told.push(trouble);
                counts.news.push(trouble);
            }
            counts.troubles.push((trouble, times));
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted_and_trouble_is_news_once() {
        let mut tally = Tally::default();
        tally.decided("a", Outcome::Admitted);
        tally.decided("a", Outcome::Admitted);
        tally.decided("b", Outcome::Denied);
        tally.trouble(Trouble::Lost, 2);
        let counts = tally.take();
        let expected = [("a".into(), Outcome::Admitted, 2), ("b".into(), Outcome::Denied, 1)];
        assert_eq!(counts.outcomes, expected);
        assert_eq!(counts.troubles, [(Trouble::Lost, 2)]);
        assert_eq!(counts.news, [Trouble::Lost]);
        assert_eq!(tally.take(), Counts::default());
        tally.trouble(Trouble::Lost, 1);
        assert_eq!(tally.take().news, []);
    }
}
