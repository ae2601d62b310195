//! A report as a call to the exchange, and what the operator should hear of how it went.

use kombi_spec::lease::{LeaseAnswer, PATH};

use super::{Leases, Sent};
use crate::{
    exchange::Exchange,
    step::{HttpCall, HttpOutcome},
    time::UnixTime,
    zone::Zone,
};

/// Largest answer accepted: a full one has some 40 KB.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

/// What became of reports since the counts were taken last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaseCounts {
    /// Reports that were answered.
    pub answered: u64,
    /// Reports that were not.
    pub unanswered: u64,
}

/// What is worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Nothing: it is as it was.
    None,
    /// The exchange does not answer any more, for this reason.
    Silent(String),
    /// It answers again.
    Back,
}

impl Leases {
    /// The call that reports what there is to report now. It ends in [`settle`](Self::settle).
    pub fn call(
        &mut self,
        exchange: &Exchange,
        zone: Option<&dyn Zone>,
        now: UnixTime,
    ) -> Option<(HttpCall, Sent)> {
        let (report, sent) = self.report(zone, now)?;
        let body = serde_json::to_vec(&report).ok()?;
        let id = format!("lease-{}-{}", report.node, now.as_millis());
        Some((exchange.tell(PATH, body, &id, now)?, sent))
    }

    /// The call for what was `sent` has ended.
    pub fn settle(&mut self, sent: &Sent, outcome: HttpOutcome, zone: Option<&dyn Zone>) -> News {
        match read(outcome) {
            Ok(answer) => {
                self.answered(sent, &answer, zone);
                self.counts.answered += 1;
                if std::mem::take(&mut self.silent) { News::Back } else { News::None }
            }
            Err(reason) => {
                self.unanswered();
                self.counts.unanswered += 1;
                let told = std::mem::replace(&mut self.silent, true);
                if told { News::None } else { News::Silent(reason) }
            }
        }
    }

    /// What became of reports since the last time.
    pub fn take_counts(&mut self) -> LeaseCounts {
        std::mem::take(&mut self.counts)
    }
}

fn read(outcome: HttpOutcome) -> Result<LeaseAnswer, String> {
    match outcome {
        HttpOutcome::Answer { status: 200, body, .. } if body.len() <= MAX_ANSWER_BYTES => {
            serde_json::from_slice(&body).map_err(|error| format!("not a lease answer: {error}"))
        }
        HttpOutcome::Answer { status: 200, .. } => Err("the answer is too large".to_owned()),
        HttpOutcome::Answer { status, .. } => Err(format!("status {status}")),
        HttpOutcome::Failure(reason) => Err(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> HttpOutcome {
        HttpOutcome::Answer { status, cache_control: None, body: body.into() }
    }

    #[test]
    fn silence_is_told_once_and_so_is_its_end() {
        let mut leases = Leases::default();
        let sent = Sent { at: UnixTime::from_secs(1), quotas: Vec::new() };
        let good = r#"{"memory":"m","shares":[]}"#;
        let large = format!("{good}{}", " ".repeat(MAX_ANSWER_BYTES));
        for (outcome, expected) in [
            (answer(200, good), News::None),
            (HttpOutcome::Failure("timeout".to_owned()), News::Silent("timeout".to_owned())),
            (answer(503, ""), News::None),
            (answer(200, good), News::Back),
            (answer(200, &large), News::Silent("the answer is too large".to_owned())),
            (answer(200, good), News::Back),
            (answer(404, good), News::Silent("status 404".to_owned())),
        ] {
            assert_eq!(leases.settle(&sent, outcome, None), expected);
        }
        assert_eq!(leases.take_counts(), LeaseCounts { answered: 3, unanswered: 4 });
        assert_eq!(leases.take_counts(), LeaseCounts::default());
        let News::None = leases.settle(&sent, answer(200, "{}"), None) else {
            panic!("it was silent already")
        };
    }
}
