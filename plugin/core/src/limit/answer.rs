//! How a client is told that a limit keeps its request out.

use kombi_spec::code::Code;

use super::{
    headers::{Families, Header, headers, whole_seconds},
    rule::{Cost, Rule},
    verdict::{Refused, Verdict},
};
use crate::refusal::Refusal;

/// What a client is told of limits that are used up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The names of their rules.
    pub violated: Vec<String>,
    /// `Retry-After`, and how all budgets stand.
    pub headers: Vec<Header>,
}

impl Verdict {
    /// Why the request may not pass, if it may not.
    #[must_use]
    pub fn refusal(&self, families: Families) -> Option<Refusal> {
        self.refused.as_ref().map(|refused| self.refusal_for(refused, families))
    }

    /// In a dry run: why it would not.
    #[must_use]
    pub fn would_be_refusal(&self, families: Families) -> Option<Refusal> {
        self.would_refuse.as_ref().map(|refused| self.refusal_for(refused, families))
    }

    fn refusal_for(&self, refused: &Refused, families: Families) -> Refusal {
        match refused {
            Refused::Uncounted { rule, fault } => Refusal::new(
                Code::LimitUnavailable,
                format!("the request cannot be counted by the limit {}", rule.name),
            )
            .because(Some(fault.as_str())),
            Refused::UsedUp { rules, wait } => {
                let retry_after_s = whole_seconds(*wait);
                let mut told = vec![("retry-after", retry_after_s.to_string())];
                told.extend(headers(&self.standings, families));
                let violated: Vec<String> = rules.iter().map(|r| r.name.to_string()).collect();
                let limit = rules.first().map_or("", |rule| unit(rule));
                let detail = format!(
                    "the limit of {limit} is used up ({}); there is more in {retry_after_s} s",
                    violated.join(", "),
                );
                let limits = Some(Box::new(Told { violated, headers: told }));
                Refusal { limits, ..Refusal::new(Code::LimitExceeded, detail) }
            }
        }
    }
}

/// What a rule counts.
const fn unit(rule: &Rule) -> &'static str {
    match rule.cost {
        Cost::Request => "requests",
        Cost::Tokens => "tokens",
        Cost::FailedToken => "refused tokens",
    }
}
