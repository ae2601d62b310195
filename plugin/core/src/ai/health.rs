//! Which providers fail, so that the next call goes to the model's next one. A worker knows what it
//! saw itself.

use std::{collections::BTreeMap, time::Duration};

use kombi_spec::usage::settle::{EndReason, Settlement};

use crate::time::UnixTime;

/// How long a model is not asked for where it failed, if it can be had elsewhere.
const AVOIDED_FOR: Duration = Duration::from_secs(15);

/// Most models that are remembered: clients can make up names of those that are known by their
/// beginning.
const MOST: usize = 256;

/// Models that failed, by provider and name there, and when.
#[derive(Debug, Default)]
pub struct Health(BTreeMap<(String, String), UnixTime>);

impl Health {
    /// Whether another provider is better asked.
    pub(super) fn avoids(&self, provider: &str, model: &str, now: UnixTime) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let failed = self.0.get(&(provider.to_owned(), model.to_owned()));
        failed.is_some_and(|at| now.since(*at) < AVOIDED_FOR)
    }

    /// A call has ended.
    pub fn note(&mut self, settlement: &Settlement, now: UnixTime) {
        let key = || (settlement.call.provider.clone(), settlement.call.model.clone());
        let fails = match settlement.end_reason {
            EndReason::Completed if self.0.is_empty() => return,
            EndReason::Completed => false,
            EndReason::ProviderUnreachable => true,
            // What else it says is about the request, and another would say the same.
            EndReason::ProviderError => match settlement.status {
                // Where no status is told, the call went on to another provider because of it.
                None | Some(429 | 500..) => true,
                _ => return,
            },
            _ => return,
        };
        if !fails {
            self.0.remove(&key());
            return;
        }
        self.0.retain(|_, at| now.since(*at) < AVOIDED_FOR);
        if self.0.len() < MOST {
            self.0.insert(key(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::sample, *};

    fn ended(model: &str, end_reason: EndReason, status: Option<u16>) -> Settlement {
        let mut ended = Settlement { end_reason, status, ..sample::settlement() };
        ended.call.model = model.to_owned();
        ended
    }

    fn at(s: u64) -> UnixTime {
        UnixTime::from_secs(1_000 + s)
    }

    #[test]
    fn a_model_is_avoided_for_a_while_where_it_failed_and_nowhere_else() {
        for (end, status, avoided) in [
            (EndReason::ProviderUnreachable, None, true),
            (EndReason::ProviderError, Some(429), true),
            (EndReason::ProviderError, Some(503), true),
            (EndReason::ProviderError, None, true),
            (EndReason::ProviderError, Some(400), false),
            (EndReason::ClientLeft, Some(200), false),
            (EndReason::NotSent, None, false),
            (EndReason::Completed, Some(200), false),
        ] {
            let mut health = Health::default();
            health.note(&ended("a", end, status), at(0));
            assert_eq!(health.avoids("openai", "a", at(14)), avoided, "{end:?} {status:?}");
            assert!(!health.avoids("openai", "b", at(14)) && !health.avoids("gemini", "a", at(14)));
            assert!(!health.avoids("openai", "a", at(15)), "{end:?} {status:?}");
        }
    }

    #[test]
    fn an_answer_ends_it_and_memory_is_bounded() {
        let mut health = Health::default();
        health.note(&ended("a", EndReason::ProviderUnreachable, None), at(0));
        health.note(&ended("a", EndReason::Completed, Some(200)), at(1));
        assert!(!health.avoids("openai", "a", at(1)));
        for model in 0..2 * MOST {
            let failed = ended(&model.to_string(), EndReason::ProviderUnreachable, None);
            health.note(&failed, at(2));
        }
        assert_eq!(health.0.len(), MOST);
        health.note(&ended("late", EndReason::ProviderUnreachable, None), at(60));
        assert_eq!(health.0.len(), 1, "the others are forgotten");
    }
}
