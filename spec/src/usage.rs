//! The ledger of AI usage: what the gate tells the exchange about every call to a provider.
//!
//! A call is written down in two steps. [`reserve`]: before it leaves, the exchange checks budgets
//! and writes a row with a worst-case estimate. [`settle`]: when it ends, the numbers replace the
//! estimate. What settles twice counts once: a row is known by the gateway's request id and the
//! attempt. A second trace of every settlement goes to the gateway's log ([`trace`]), from where
//! the exchange can read it again; a row that never settles is closed by the exchange's reaper.
//!
//! Both calls need an [assertion](crate::assertion) with the subject [`SUBJECT`], bound to their
//! method and path: nobody but the gate itself keeps the ledger. As with introspection
//! ([`crate::introspection`]), one such assertion is good for any number of calls until it
//! expires: both steps are idempotent, and whoever reads the assertion on its way can read the
//! answer, too. Where no ledger is configured, both answer `usage_not_configured` (501).
//!
//! What is in the ledger is read as a [`report`], and billed from its outbox ([`meter`]).

pub mod meter;
pub mod report;
pub mod reserve;
pub mod settle;
pub mod trace;

use serde::{Deserialize, Serialize};

/// `sub` of the assertion: the gate itself. A user's assertion is refused here.
pub const SUBJECT: &str = crate::introspection::SUBJECT;

/// The longest request id, in bytes; Kong's have 32 characters, Envoy's 36.
pub const MAX_REQUEST_ID_BYTES: usize = 64;
/// The highest attempt; the first is 1.
pub const MAX_ATTEMPT: u32 = 99;
/// The longest `sub`, in bytes. Zitadel's have 18 digits.
pub const MAX_SUBJECT_BYTES: usize = 128;
/// The longest id of an organisation, in bytes.
pub const MAX_ORG_BYTES: usize = 64;
/// The longest name of a plan, in bytes.
pub const MAX_PLAN_BYTES: usize = 32;
/// The longest name of a provider, in bytes: `a-z`, `0-9` and `-`.
pub const MAX_PROVIDER_BYTES: usize = 32;
/// The longest name of a model, in bytes.
pub const MAX_MODEL_BYTES: usize = 128;
/// The longest name of a route, in bytes.
pub const MAX_ROUTE_BYTES: usize = 64;
/// The most tokens of a kind that one call can have.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// What is called, by whom and under which terms. The same in both steps. Every text is 1 to its
/// most bytes of visible ASCII (`!` to `~`), without `"` and `\`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Who calls: the token's `sub`.
    pub subject: String,
    /// The organisation that owns the user, if the token says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<String>,
    /// The user's plan; without one the exchange takes the default of its plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The provider's name, which prices and provider keys are found by.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
    /// What is asked of it.
    pub endpoint: Endpoint,
    /// Whether the answer is a stream of events.
    pub stream: bool,
    /// The name of the gateway's route.
    pub route: String,
}

/// What can be asked of a model; each is a path below `/ai/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/chat/completions`
    ChatCompletions,
    /// `/completions`
    Completions,
    /// `/embeddings`
    Embeddings,
    /// `/responses`
    Responses,
}

impl Endpoint {
    /// The endpoint as the wire has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat_completions",
            Self::Completions => "completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_endpoint_is_written_as_its_text() {
        for endpoint in [
            Endpoint::ChatCompletions,
            Endpoint::Completions,
            Endpoint::Embeddings,
            Endpoint::Responses,
        ] {
            assert_eq!(json!(endpoint), json!(endpoint.as_str()));
        }
    }
}
