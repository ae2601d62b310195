//! Before a call leaves: the gate sends `POST /gate/usage/reserve` with [`ReserveRequest`] in
//! [`header::QUESTION`](crate::header::QUESTION).
//!
//! The exchange answers 200 with [`Reservation`], which says that the call may leave, or refuses
//! with a problem document:
//!
//! | code | status | when |
//! |---|---|---|
//! | `budget_exhausted` | 402 | the call could cost more than a budget in money has left |
//! | `quota_exhausted` | 429, `Retry-After` | the same for a quota of tokens or requests |
//! | `model_unpriced` | 403 | the plan is billed and there is no price for the model |
//! | `plan_unknown` | 403 | the exchange knows no such plan |
//! | `provider_not_configured` | 503 | the exchange has no key for the provider |
//! | `reservation_conflict` | 409 | this attempt is settled, or was reserved for another call |
//!
//! The first two carry what is left in [`Exhausted::budget`]. The same request sent again, while
//! the row is open, gets the same answer and reserves nothing more. If the gate does not know
//! whether its request arrived, and does not send the call, it settles the attempt as
//! [`NotSent`](super::settle::EndReason::NotSent); that holds whichever arrives first.

use serde::{Deserialize, Serialize};

use super::Call;
use crate::problem::Problem;

/// Path of the request.
pub const PATH: &str = "/gate/usage/reserve";

/// The largest [`ReserveRequest`], in bytes of JSON.
pub const MAX_BYTES: usize = 4 * 1024;

/// The most providers that a call may go to after its first.
pub const MAX_FALLBACKS: usize = crate::header::AI_TRIES.len() - 1;

/// The most choices that one call may ask for.
pub const MAX_CHOICES: u32 = 128;

/// Asks whether a call may leave, and reserves what it could cost at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveRequest {
    /// The gateway's id of the request, never the client's.
    pub request_id: String,
    /// Which call to a provider this is for that request, from 1 on.
    pub attempt: u32,
    /// The call.
    pub call: Call,
    /// Whom it may go to instead, in this order, where providers fail before the first byte of an
    /// answer; at most [`MAX_FALLBACKS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Fallback>,
    /// The tokens of the input, estimated.
    pub input_tokens: u64,
    /// The most tokens of output, for each choice, if the client or the gate sets a limit. Without
    /// one, the exchange takes the most that the plan allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output_tokens: Option<u64>,
    /// How many choices are asked for (`n`); 0 where there is no output (embeddings).
    pub choices: u32,
}

/// A provider that may take a call's place at another, and the model there. It is an attempt of its
/// own: the one after that of the provider before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fallback {
    /// The provider's name.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
}

/// The call may leave. It has no `Debug`, because the credential must not get into a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The row's id.
    pub reservation: String,
    /// The value of the header `Authorization` for the provider; absent where it needs none. It
    /// appears here and nowhere else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
    /// Which of the [`fallbacks`](ReserveRequest::fallbacks) it may go to, in the same order: those
    /// that the exchange has a key for and, on a billed plan, a price. What is reserved is what the
    /// dearest of all could cost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<Granted>,
    /// After so many seconds the reaper closes the row.
    pub settle_within_s: u64,
    /// What the budgets that apply have left, this call's worst case taken off.
    pub remaining: Vec<Budget>,
}

/// A fallback that a call may go to. Without `Debug`, like [`Reservation`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// Which one.
    #[serde(flatten)]
    pub fallback: Fallback,
    /// The value of the header `Authorization` for its provider; absent where it needs none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<String>,
}

/// A budget or quota, and how it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Whose it is.
    pub scope: Scope,
    /// What it counts.
    pub unit: Unit,
    /// How long it lasts.
    pub period: Period,
    /// How much there is in a whole period.
    pub limit: u64,
    /// How much of it is left; what is reserved counts as gone.
    pub remaining: u64,
    /// When the next period begins, in seconds from now.
    pub resets_in_s: u64,
}

/// Whose a budget is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One person's.
    Person,
    /// One organisation's, for all its people together.
    Organisation,
    /// The plan's, for everybody on it together.
    Plan,
}

/// What a budget counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Calls that a provider answered.
    Requests,
    /// Tokens, input and output together.
    Tokens,
    /// Money, in billionths of the currency's unit.
    MoneyNano,
}

/// How long a budget lasts, from one full minute, hour, day or month (UTC) to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// A day.
    Day,
    /// A calendar month.
    Month,
}

/// The problem document of `budget_exhausted` and `quota_exhausted`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exhausted {
    /// The members that every problem has.
    #[serde(flatten)]
    pub problem: Problem,
    /// The budget that is exhausted; of several, the one that lasts longest.
    pub budget: Budget,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use serde_json::{Value, json};

    fn wire() -> Value {
        json!({
            "request_id": "5f0c", "attempt": 1, "input_tokens": 12, "max_output_tokens": 100,
            "choices": 1,
            "call": {
                "subject": "27345", "org": "9", "plan": "pro", "provider": "openai",
                "model": "gpt-4o-mini", "endpoint": "chat_completions", "stream": true,
                "route": "ai-chat",
            },
        })
    }

    #[test]
    fn a_request_has_these_members_and_no_others() {
        let request: ReserveRequest = serde_json::from_value(wire()).unwrap();
        assert_eq!(serde_json::to_value(&request).unwrap(), wire());
        for (pointer, name, value, fits) in [
            ("", "max_output_tokens", Value::Null, true),
            ("", "fallbacks", json!([{"provider": "gemini", "model": "m"}]), true),
            ("", "fallbacks", json!([{"provider": "gemini"}]), false),
            ("", "fallbacks", json!([{"provider": "gemini", "model": "m", "key": "k"}]), false),
            ("/call", "org", Value::Null, true),
            ("/call", "plan", Value::Null, true),
            ("", "attempt", Value::Null, false),
            ("", "input_tokens", json!(-1), false),
            ("", "input_tokens", json!("12"), false),
            ("", "hint", json!(1), false),
            ("/call", "subject", Value::Null, false),
            ("/call", "endpoint", json!("images"), false),
            ("/call", "key", json!("sk"), false),
        ] {
            let mut changed = wire();
            changed.pointer_mut(pointer).unwrap()[name] = value.clone();
            let read = serde_json::from_value::<ReserveRequest>(changed);
            assert_eq!(read.is_ok(), fits, "{pointer}/{name} {value}");
        }
    }

    #[test]
    fn the_answers_are_as_documented() {
        let budget = Budget {
            scope: Scope::Organisation,
            unit: Unit::MoneyNano,
            period: Period::Month,
            limit: 20_000_000_000,
            remaining: 0,
            resets_in_s: 86_400,
        };
        let budget_wire = json!({
            "scope": "organisation", "unit": "money_nano", "period": "month",
            "limit": 20_000_000_000_u64, "remaining": 0, "resets_in_s": 86_400,
        });
        let reservation = Reservation {
            reservation: "5f0c.1".to_owned(),
            authorization: None,
            fallbacks: Vec::new(),
            settle_within_s: 900,
            remaining: vec![budget.clone()],
        };
        assert_eq!(
            serde_json::to_value(&reservation).unwrap(),
            json!({"reservation": "5f0c.1", "settle_within_s": 900, "remaining": [budget_wire]}),
        );
        let fallback = Fallback { provider: "gemini".to_owned(), model: "m".to_owned() };
        let granted = Granted { fallback, authorization: Some("Bearer k".to_owned()) };
        assert_eq!(
            serde_json::to_value(&granted).unwrap(),
            json!({"provider": "gemini", "model": "m", "authorization": "Bearer k"}),
        );
        let problem = Problem::new(Code::BudgetExhausted, "nothing is left", "5f0c");
        let exhausted = serde_json::to_value(Exhausted { problem, budget }).unwrap();
        assert_eq!(exhausted["code"], "budget_exhausted");
        assert_eq!(exhausted["status"], 402);
        assert_eq!(exhausted["budget"], budget_wire);
    }
}
