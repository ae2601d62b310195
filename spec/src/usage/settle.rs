//! When a call has ended: the gate sends `POST /gate/usage/settle` with [`SettleRequest`].
//!
//! The exchange answers 200 with [`SettleAnswer`] once all of it is on disk; the gate sends
//! everything else again, until then. A settlement for an attempt that was never reserved makes
//! the row, so nothing is lost when the exchange was down and the plan let the call leave.
//!
//! Of two settlements for one attempt the better source wins ([`UsageSource`]); of two of the
//! same source the first.

use serde::{Deserialize, Serialize};

use super::Call;

/// Path of the request.
pub const PATH: &str = "/gate/usage/settle";

/// The most settlements in one request.
pub const MAX_SETTLEMENTS: usize = 100;

/// The largest [`SettleRequest`], in bytes of JSON.
pub const MAX_BYTES: usize = 256 * 1024;

/// The longest [`Settlement::provider_request_id`], in bytes; the gate cuts longer ones.
pub const MAX_PROVIDER_REQUEST_ID_BYTES: usize = 96;

/// The longest time in a settlement, in milliseconds: a day.
pub const MAX_TIME_MS: u64 = 86_400_000;

/// Calls that have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SettleRequest<Entry = Settlement> {
    /// 1 to [`MAX_SETTLEMENTS`] of them, each judged by itself.
    pub settlements: Vec<Entry>,
}

/// What became of one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// The gateway's id of the request, as reserved.
    pub request_id: String,
    /// Which call to a provider this was for that request, as reserved.
    pub attempt: u32,
    /// The call, as reserved.
    pub call: Call,
    /// When the call left, in seconds since 1970.
    pub sent_at: u64,
    /// What it used.
    pub usage: Tokens,
    /// Where these numbers are from.
    pub usage_source: UsageSource,
    /// How the call ended.
    pub end_reason: EndReason,
    /// The provider's HTTP status, if it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The provider's own id of the call, if it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_request_id: Option<String>,
    /// From the call's leaving to the first byte of the answer's body, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_ms: Option<u64>,
    /// From the call's leaving to its end, in milliseconds.
    pub duration_ms: u64,
}

/// What a call used, in tokens. What a provider does not tell is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tokens {
    /// All of the input, the cached part included.
    pub input: u64,
    /// Of the input, what the provider had in its cache.
    #[serde(default)]
    pub cached: u64,
    /// All of the output, the reasoning included.
    #[serde(default)]
    pub output: u64,
    /// Of the output, what the model thought and did not say.
    #[serde(default)]
    pub reasoning: u64,
    /// Of input and output together, what was audio.
    #[serde(default)]
    pub audio: u64,
}

/// Where numbers are from, from the worst source to the best. A better one replaces a worse one,
/// never the reverse; the two estimates are equally good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageSource {
    /// Nobody settled, so the exchange took what was reserved. Only the exchange writes it.
    Reaper,
    /// The answer came to its end without numbers; estimated from what it said.
    EstimatedMissing,
    /// The answer was cut off; estimated from what had come until then.
    EstimatedAbort,
    /// The provider said so. Also: it answered with an error, or was not reached, which uses
    /// nothing.
    Provider,
}

impl UsageSource {
    /// The source as the wire has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reaper => "reaper",
            Self::EstimatedMissing => "estimated_missing",
            Self::EstimatedAbort => "estimated_abort",
            Self::Provider => "provider",
        }
    }
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The answer came to its end.
    Completed,
    /// It never came to its end: the client left, or the provider's connection broke, and no host
    /// tells the gate which of the two.
    ClientLeft,
    /// The provider ended a stream before its end, or sent an error within it.
    ProviderCut,
    /// The provider answered with an error. Such a call counts as no request.
    ProviderError,
    /// The provider was not reached, or sent no head in time. It counts as no request.
    ProviderUnreachable,
    /// The call did not leave. It counts as no request.
    NotSent,
    /// Nobody said how; the reaper closed the row. Only the exchange writes it.
    Expired,
}

impl EndReason {
    /// The reason as the wire has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::ClientLeft => "client_left",
            Self::ProviderCut => "provider_cut",
            Self::ProviderError => "provider_error",
            Self::ProviderUnreachable => "provider_unreachable",
            Self::NotSent => "not_sent",
            Self::Expired => "expired",
        }
    }
}

/// What became of the settlements, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettleAnswer {
    /// One outcome for each.
    pub outcomes: Vec<Outcome>,
}

/// What became of one settlement. None needs to be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The row is settled by it.
    Accepted,
    /// The row was settled, and these numbers are better: they took the others' place.
    Replaced,
    /// The row was settled, and these numbers are not better: nothing has changed.
    Duplicate,
    /// It is not a settlement and never will be; the exchange's log says why.
    Malformed,
}

impl Outcome {
    /// The outcome as the wire has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Replaced => "replaced",
            Self::Duplicate => "duplicate",
            Self::Malformed => "malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn wire() -> Value {
        json!({
            "request_id": "5f0c", "attempt": 1, "sent_at": 1_800_000_000,
            "call": {
                "subject": "27345", "org": "9", "plan": "pro", "provider": "openai",
                "model": "gpt-4o-mini", "endpoint": "chat_completions", "stream": true,
                "route": "ai-chat",
            },
            "usage": {"input": 12, "cached": 4, "output": 30, "reasoning": 10, "audio": 0},
            "usage_source": "provider", "end_reason": "completed", "status": 200,
            "provider_request_id": "req_1", "first_token_ms": 180, "duration_ms": 900,
        })
    }

    #[test]
    fn a_settlement_has_these_members_and_no_others() {
        let settlement: Settlement = serde_json::from_value(wire()).unwrap();
        assert_eq!(serde_json::to_value(&settlement).unwrap(), wire());
        for (pointer, name, value, fits) in [
            ("", "status", Value::Null, true),
            ("", "first_token_ms", Value::Null, true),
            ("", "provider_request_id", Value::Null, true),
            ("", "usage", json!({"input": 1}), true),
            ("", "usage", json!({}), false),
            ("", "usage", json!({"input": 1, "cost": 1}), false),
            ("", "usage_source", json!("guess"), false),
            ("", "end_reason", json!("done"), false),
            ("", "sent_at", json!("2026-11-24"), false),
            ("", "duration_ms", Value::Null, false),
            ("", "cost", json!(1), false),
        ] {
            let mut changed = wire();
            changed.pointer_mut(pointer).unwrap()[name] = value.clone();
            let read = serde_json::from_value::<Settlement>(changed);
            assert_eq!(read.is_ok(), fits, "{pointer}/{name} {value}");
        }
    }

    #[test]
    fn every_label_is_written_as_its_text() {
        for source in [
            UsageSource::Reaper,
            UsageSource::EstimatedMissing,
            UsageSource::EstimatedAbort,
            UsageSource::Provider,
        ] {
            assert_eq!(json!(source), json!(source.as_str()));
        }
        for reason in [
            EndReason::Completed,
            EndReason::ClientLeft,
            EndReason::ProviderCut,
            EndReason::ProviderError,
            EndReason::ProviderUnreachable,
            EndReason::NotSent,
            EndReason::Expired,
        ] {
            assert_eq!(json!(reason), json!(reason.as_str()));
        }
        for outcome in
            [Outcome::Accepted, Outcome::Replaced, Outcome::Duplicate, Outcome::Malformed]
        {
            assert_eq!(json!(outcome), json!(outcome.as_str()));
        }
        let answer = SettleAnswer { outcomes: vec![Outcome::Accepted, Outcome::Malformed] };
        assert_eq!(json!(answer), json!({"outcomes": ["accepted", "malformed"]}));
    }
}
