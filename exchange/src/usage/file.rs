//! Files that an operator edits.

use serde::de::DeserializeOwned;
use time::{Date, Month};

/// What is wrong with a file: one sentence that names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}, found {found}")]
pub struct Mistake {
    field: String,
    expected: &'static str,
    found: String,
}

impl Mistake {
    pub(super) fn new(field: impl Into<String>, expected: &'static str, found: String) -> Self {
        Self { field: field.into(), expected, found }
    }

    /// The same mistake, in a part of the file called `part`.
    pub(super) fn within(self, part: &str) -> Self {
        Self { field: format!("{part}, {}", self.field), ..self }
    }
}

/// Reads TOML.
pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Mistake> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map_or(1, |before| before.bytes().filter(|byte| *byte == b'\n').count() + 1);
        // The library's sentence may have several lines.
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Mistake::new(format!("line {line}"), "what spec/examples/usage shows", message)
    })
}

/// The day that `text` names, like `2026-11-24`, if the calendar has it.
pub(super) fn day(text: &str) -> Option<Date> {
    match text.parse().ok()? {
        toml::value::Datetime { date: Some(day), time: None, offset: None } => date(day),
        _ => None,
    }
}

/// The day in a file, if the calendar has it.
pub(super) fn date(day: toml::value::Date) -> Option<Date> {
    let month = Month::try_from(day.month).ok()?;
    Date::from_calendar_date(i32::from(day.year), month, day.day).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_day_of_the_calendar() {
        for (text, is_day) in [
            ("2026-11-24", true),
            ("2028-02-29", true),
            ("2026-02-29", false),
            ("2026-11-24T00:00:00Z", false),
            ("2026-11", false),
            ("24.11.2026", false),
            ("", false),
        ] {
            assert_eq!(day(text).map(|day| day.to_string()).is_some(), is_day, "{text}");
        }
    }
}
