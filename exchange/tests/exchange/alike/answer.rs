//! What an exchange answers, in as far as another one must answer the same.

use reqwest::Response;
use serde_json::{Value, json};

/// What comes before the time that it takes a budget to be whole again.
const RESETS: &str = " begins in ";

/// Status and body of an answer.
pub(super) async fn said(answer: Response) -> Value {
    let status = answer.status().as_u16();
    let body = answer.text().await.unwrap();
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    json!([status, body])
}

pub(super) fn is_one_time(code: &str) -> bool {
    code.len() == 43
}

/// What was said, but for what is a matter of the moment or of chance.
pub(super) fn without_chance(said: Value) -> Value {
    match said {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(name, value)| {
                let one_time = name == "code" && value.as_str().is_some_and(is_one_time);
                !one_time && !["request_id", "resets_in_s"].contains(&name.as_str())
            });
            kept.map(|(name, value)| (name, without_chance(value))).collect()
        }
        // When a budget is whole again, in seconds.
        Value::String(text) if text.contains(RESETS) => {
            text.split(RESETS).next().unwrap_or_default().into()
        }
        Value::Array(all) => all.into_iter().map(without_chance).collect(),
        other => other,
    }
}
