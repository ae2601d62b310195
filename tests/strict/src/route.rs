//! A route with the filter on it, and how a host passes its configuration on.

use std::fmt::Write;

use serde_json::Value;

use crate::host::Host;

/// The JSON object `configuration` with the members of the object `more`.
///
/// # Panics
/// If one of them is no object: the test is mistaken.
#[must_use]
pub fn with(mut configuration: Value, more: &Value) -> Value {
    let (Some(members), Some(more)) = (configuration.as_object_mut(), more.as_object()) else {
        panic!("expected two JSON objects, found {configuration} and {more}");
    };
    members.extend(more.clone());
    configuration
}

/// A route: requests whose path begins with its prefix.
#[derive(Debug, Clone)]
pub struct Route {
    /// What its paths begin with.
    pub prefix: String,
    /// The filter's configuration on it.
    pub configuration: Configuration,
}

/// A filter's configuration, as the operator wrote it.
#[derive(Debug, Clone)]
pub enum Configuration {
    /// JSON. Kong encodes it anew.
    Json(Value),
    /// These bytes as they are.
    Bytes(Vec<u8>),
}

impl Configuration {
    /// What the filter reads.
    pub(crate) fn passed_by(&self, host: Host) -> Vec<u8> {
        match (self, host) {
            (Self::Bytes(bytes), _) => bytes.clone(),
            (Self::Json(value), Host::Envoy) => value.to_string().into_bytes(),
            (Self::Json(value), Host::Kong) => {
                let mut text = String::new();
                encode_as_kong(value, &mut text);
                text.into_bytes()
            }
        }
    }
}

/// Encodes as Lua does: an empty array and an empty object are the same, integers are floating
/// point numbers, and the order of keys is anybody's guess (here: backwards).
fn encode_as_kong(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) if items.is_empty() => text.push_str("{}"),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                text.push(if index == 0 { '[' } else { ',' });
                encode_as_kong(item, text);
            }
            text.push(']');
        }
        Value::Object(members) => {
            text.push('{');
            for (index, (name, member)) in members.iter().rev().enumerate() {
                // Writing to a String cannot fail.
                let _ =
                    write!(text, "{}{}:", if index == 0 { "" } else { "," }, Value::from(&**name));
                encode_as_kong(member, text);
            }
            text.push('}');
        }
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.abs() > 9_007_199_254_740_992.0 => {
                let _ = write!(text, "{float:.13e}");
            }
            _ => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn kong_loses_empty_arrays_and_digits() {
        let written = json!({"a": [], "b": [1, {}], "c": 273_456_789_012_345_678_u64, "d": "x"});
        let passed = Configuration::Json(written).passed_by(Host::Kong);
        let passed = String::from_utf8(passed).unwrap();
        assert_eq!(passed, r#"{"d":"x","c":2.7345678901235e17,"b":[1,{}],"a":{}}"#);
    }
}
