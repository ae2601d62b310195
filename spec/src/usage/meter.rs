//! The outbox for the billing provider: immutable aggregates in the form of Stripe's meter events
//! (`POST /v1/billing/meter_events`). `kombi-exchange usage outbox` prints them, one JSON object a
//! line. Whoever sends them adds the customer (`stripe_customer_id`), which the exchange does not
//! know, and remembers the last `id`.

use serde::{Deserialize, Serialize};

/// `event_name` of the meter of input tokens.
pub const INPUT_TOKENS: &str = "kombi_ai_input_tokens";
/// `event_name` of the meter of output tokens.
pub const OUTPUT_TOKENS: &str = "kombi_ai_output_tokens";
/// `event_name` of the meter of money, in billionths of the currency's unit.
pub const COST_NANO: &str = "kombi_ai_cost_nano";

/// What one person used of one model in one hour, or a correction of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeterEvent {
    /// Its place in the outbox; later ones have higher ones.
    pub id: i64,
    /// The idempotency key: the same whenever this event is sent, and no other's.
    pub identifier: String,
    /// Which meter it is for.
    pub event_name: String,
    /// When the hour began, in seconds since 1970.
    pub timestamp: i64,
    /// The value, and what it is of.
    pub payload: Payload,
}

/// What an event says. Stripe takes texts only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// A whole number; negative where a correction takes something back.
    pub value: String,
    /// Who called: Zitadel's id.
    pub subject: String,
    /// The organisation that owns the user; empty if there is none.
    pub org: String,
    /// The plan that it counts on.
    pub plan: String,
    /// The provider's name.
    pub provider: String,
    /// The model.
    pub model: String,
    /// What prices are in; empty if the model had none.
    pub currency: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_as_documented() {
        let event = MeterEvent {
            id: 7,
            identifier: "kombi-5f0c".to_owned(),
            event_name: COST_NANO.to_owned(),
            timestamp: 1_800_000_000,
            payload: Payload {
                value: "-12".to_owned(),
                subject: "27345".to_owned(),
                org: String::new(),
                plan: "pro".to_owned(),
                provider: "openai".to_owned(),
                model: "gpt-4o-mini".to_owned(),
                currency: "USD".to_owned(),
            },
        };
        let wire = json!({
            "id": 7, "identifier": "kombi-5f0c", "event_name": "kombi_ai_cost_nano",
            "timestamp": 1_800_000_000,
            "payload": {
                "value": "-12", "subject": "27345", "org": "", "plan": "pro",
                "provider": "openai", "model": "gpt-4o-mini", "currency": "USD",
            },
        });
        assert_eq!(json!(event), wire);
    }
}
