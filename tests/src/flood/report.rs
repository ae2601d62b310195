//! What a flood did.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{Forgery, Settings, known::Seen, senders::Answers};
use crate::host::HostKind;

/// For how long one fruitless question keeps the issuer from another.
const COOLDOWN: Duration = Duration::from_secs(10);

/// What a flood did.
#[derive(Debug)]
pub struct Report {
    pub(super) host: HostKind,
    pub(super) settings: Settings,
    pub(super) took: Duration,
    pub(super) answers: Answers,
    pub(super) known: Seen,
    /// How often the issuer was asked for its keys.
    pub(super) asked: u64,
}

impl Report {
    /// How many made-up tokens were answered.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.answers.values().sum()
    }

    /// How many a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let sent = self.sent() as f64;
        sent / self.took.as_secs_f64()
    }

    /// How often the issuer may have been asked: once for every ten seconds begun, and once by a
    /// refresh that fell due meanwhile.
    #[must_use]
    pub fn may_ask(&self) -> u64 {
        self.took.as_secs() / COOLDOWN.as_secs() + 2
    }

    /// The answers that a made-up token must not get. One that names no known key may wait for the
    /// keys, and where too many wait already, be told to come again.
    fn wrong(&self) -> impl Iterator<Item = (&str, u64)> {
        let right: &[&str] = match self.settings.with {
            Forgery::MadeUpKeys => &["401 key_unknown", "503 keys_unavailable"],
            Forgery::BrokenSignatures => &["401 signature_invalid"],
        };
        let answers = self.answers.iter().map(|(answer, count)| (answer.as_str(), *count));
        answers.filter(|(answer, _)| !right.contains(answer))
    }

    /// Whether nobody with a good token was refused, nobody with a made-up one got in, and the issuer
    /// was left in peace. How fast all this was says nothing about the gateway alone.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.sent() > 0
            && !self.known.took.is_empty()
            && self.known.refused.is_empty()
            && self.wrong().next().is_none()
            && self.asked <= self.may_ask()
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "host": self.host.to_string(),
            "seconds": self.took.as_secs_f64(),
            "rate_wanted": self.settings.rate,
            "rate": self.rate(),
            "sent": self.sent(),
            "answers": self.answers,
            "key_set_requests": self.asked,
            "key_set_requests_allowed": self.may_ask(),
            "known": {
                "sent": self.known.took.len(),
                "refused": self.known.refused,
                "p50_ms": ms(self.known.within(0.5)),
                "p99_ms": ms(self.known.within(0.99)),
            },
            "well": self.is_well(),
        })
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, seconds) = (self.sent(), self.took.as_secs_f64());
        writeln!(
            f,
            "{}: {sent} made-up tokens in {seconds:.1} s, {:.0}/s",
            self.host,
            self.rate()
        )?;
        for (answer, count) in &self.answers {
            writeln!(f, "  {count:>8}  {answer}")?;
        }
        for (answer, count) in self.wrong() {
            writeln!(f, "wrong: {count} were answered {answer}")?;
        }
        writeln!(
            f,
            "the issuer was asked for its keys {} times, of at most {}",
            self.asked,
            self.may_ask()
        )?;
        let (p50, p99) = (ms(self.known.within(0.5)), ms(self.known.within(0.99)));
        writeln!(
            f,
            "{} requests with good tokens, half of them within {p50:.1} ms, 99 % within {p99:.1} ms; \
             refused: {:?}",
            self.known.took.len(),
            self.known.refused
        )?;
        f.write_str(if self.is_well() { "all is well" } else { "NOT as it must be" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(with: Forgery) -> Report {
        let settings = Settings { json: true, seconds: 10, rate: 100, connections: 1, with };
        Report {
            host: HostKind::Envoy,
            settings,
            took: Duration::from_millis(10_200),
            answers: Answers::from([("401 key_unknown".to_owned(), 1020)]),
            known: Seen { took: vec![Duration::from_millis(2)], ..Seen::default() },
            asked: 3,
        }
    }

    #[test]
    fn a_flood_that_nobody_noticed_is_well() {
        let report = report(Forgery::MadeUpKeys);
        assert!(report.is_well(), "{report}");
        let json = report.json();
        assert_eq!(json["rate"], 100.0);
        assert_eq!((&json["well"], &json["known"]["p99_ms"]), (&json!(true), &json!(2.0)));
    }

    #[test]
    fn one_good_request_refused_or_bad_one_let_in_or_question_too_many_is_not() {
        let with = Forgery::MadeUpKeys;
        let refused =
            || Seen { refused: [("401 key_unknown".to_owned(), 1)].into(), ..report(with).known };
        let answered = |answer: &str| Answers::from([(answer.to_owned(), 1)]);
        for wrong in [
            Report { known: refused(), ..report(with) },
            Report { known: Seen::default(), ..report(with) },
            Report { answers: answered("200"), ..report(with) },
            Report { answers: answered("500"), ..report(with) },
            Report { answers: answered("no answer: unexpected end of file"), ..report(with) },
            Report { answers: Answers::new(), ..report(with) },
            Report { asked: 4, ..report(with) },
            report(Forgery::BrokenSignatures),
        ] {
            assert!(!wrong.is_well(), "{wrong}");
            assert!(wrong.to_string().ends_with("NOT as it must be"));
        }
    }
}
