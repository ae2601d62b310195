//! What a command found, for people or as JSON.

use std::fmt::Display;

use serde_json::Value;

/// Prints `json` if that was asked for, and else `text`.
pub(crate) fn tell(json: Option<Value>, text: impl Display) {
    match json {
        Some(json) => println!("{json:#}"),
        None => println!("{}", text.to_string().trim_end()),
    }
}
