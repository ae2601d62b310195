//! Reports of usage: `GET /me/usage` for everybody about themselves, and `GET /admin/usage` for
//! those with the role [`ADMIN_ROLE`] about everybody.
//!
//! The query says which calls: `from` and `to` (days, `to` not included; this month without
//! them), and, for admins, `subject`, `org`, `plan`, `provider` and `model`. `by` is a list of
//! what to tell apart, separated by commas ([`Dimension`]). The header `Accept` chooses the form:
//! JSON ([`Report`]), `text/csv`, or, for admins, `text/html`, a page with charts.

use serde::{Deserialize, Serialize};

/// Path of everybody's own report.
pub const MINE_PATH: &str = "/me/usage";

/// Path of the report of everybody.
pub const ADMIN_PATH: &str = "/admin/usage";

/// The role that it takes to see it.
pub const ADMIN_ROLE: &str = "admin:billing";

/// The most rows in a report.
pub const MAX_ROWS: usize = 10_000;

/// The most days in a report.
pub const MAX_DAYS: u64 = 400;

/// What calls are told apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    /// The day that they left on (UTC), like `2026-11-24`.
    Day,
    /// The person.
    Subject,
    /// The organisation; empty for those who have none.
    Org,
    /// The plan.
    Plan,
    /// The provider.
    Provider,
    /// The model.
    Model,
}

impl Dimension {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Day, Self::Subject, Self::Org, Self::Plan, Self::Provider, Self::Model];

    /// The dimension as the wire has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Subject => "subject",
            Self::Org => "org",
            Self::Plan => "plan",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The first day.
    pub from: String,
    /// The day after the last.
    pub to: String,
    /// What is told apart.
    pub by: Vec<Dimension>,
    /// The sums, in the order of what is told apart.
    pub rows: Vec<Sums>,
}

/// Sums over calls. Numbers are of settled calls only, except [`open`](Self::open).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// The day, if days are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day: Option<String>,
    /// The person, if people are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The organisation, if they are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The plan, if plans are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The provider, if providers are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The model, if models are told apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What the cost is in. Sums of different currencies are never added up; empty for calls
    /// without a price.
    pub currency: String,
    /// Settled calls to providers.
    pub calls: i64,
    /// Of these, those that a provider answered.
    pub requests: i64,
    /// Tokens of input, the cached ones included.
    pub input_tokens: i64,
    /// Of these, the cached ones.
    pub cached_tokens: i64,
    /// Tokens of output, the reasoning included.
    pub output_tokens: i64,
    /// Of these, the reasoning.
    pub reasoning_tokens: i64,
    /// Tokens of audio, in and out.
    pub audio_tokens: i64,
    /// What it cost, in billionths of the currency's unit.
    pub cost_nano: i64,
    /// Settled calls whose numbers are not the provider's.
    pub estimated: i64,
    /// Calls that are not settled yet.
    pub open: i64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dimension_is_written_as_its_text() {
        for dimension in Dimension::ALL {
            assert_eq!(json!(dimension), json!(dimension.as_str()));
        }
    }

    #[test]
    fn a_row_has_what_is_told_apart_and_no_more() {
        let sums = Sums {
            day: Some("2026-11-24".to_owned()),
            currency: "USD".to_owned(),
            ..Sums::default()
        };
        let wire = json!({
            "day": "2026-11-24", "currency": "USD", "calls": 0, "requests": 0, "input_tokens": 0,
            "cached_tokens": 0, "output_tokens": 0, "reasoning_tokens": 0, "audio_tokens": 0,
            "cost_nano": 0, "estimated": 0, "open": 0,
        });
        assert_eq!(json!(sums), wire);
    }
}
