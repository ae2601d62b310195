//! What a client asks of a model: read from the request's body, and changed in as few bytes as
//! the provider needs. Everything else (text, tools, images) passes as it came.

use std::{fmt, ops::Range};

use kombi_spec::{
    code::Code,
    usage::{Endpoint, MAX_TOKENS, reserve::MAX_CHOICES},
};
use serde::{
    Deserialize,
    de::{Deserializer, Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::size;
use crate::{refusal::Refusal, request::Head};

/// How many tokens an answer has that nothing limits, for what has to be known beforehand.
const USUAL_OUTPUT: u64 = 1_024;

/// Largest body, in bytes.
pub const LARGEST_BODY: usize = 10 * 1024 * 1024;

/// A call of a model, as far as the gate must know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The model, as the client calls it.
    pub model: String,
    /// Whether the answer is to be a stream.
    pub stream: bool,
    /// How many answers are charged; 0 where nothing is made (embeddings).
    pub choices: u32,
    /// The most tokens of each answer, if the client sets a limit.
    pub max_output: Option<u64>,
    /// The tokens of the input, estimated.
    pub input_tokens: u64,
    /// Where the model's name is.
    model_at: Range<usize>,
    /// How to have usage reported, where the client did not ask for it.
    force: Option<Edit>,
}

/// The changes of a body, in the order in which they are in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits(Vec<Edit>);

/// A change of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edit {
    at: Range<usize>,
    text: String,
}

/// The members of a JSON object and where their values are.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Ask {
    /// Reads the body of a request to `endpoint`.
    pub fn read(endpoint: Endpoint, body: &[u8]) -> Result<Self, Refusal> {
        if body.len() > LARGEST_BODY {
            return Err(too_large());
        }
        let members: Members<'_> = serde_json::from_slice(body)
            .map_err(|error| malformed("the body is not one JSON object", &error))?;
        let Some(raw) = members.value("model") else {
            return Err(refuse("the body names no `model`"));
        };
        let model = serde_json::from_str::<String>(raw.get())
            .map_err(|error| malformed("`model` is not a text", &error))?;
        let stream = members.boolean("stream")?.unwrap_or(false);
        let force = match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions if stream => {
                members.forced_usage(body)?
            }
            // Responses report usage by themselves, and embeddings do not stream.
            _ => None,
        };
        let choices = match endpoint {
            Endpoint::Embeddings => 0,
            Endpoint::Responses => 1,
            Endpoint::ChatCompletions => members.number("n")?.unwrap_or(1),
            // All of `best_of` are made and charged, `n` of them are shown.
            Endpoint::Completions => {
                members.number("best_of")?.max(members.number("n")?).unwrap_or(1)
            }
        };
        let choices = u32::try_from(choices).unwrap_or(u32::MAX);
        if choices > MAX_CHOICES {
            return Err(refuse(format!("at most {MAX_CHOICES} choices can be asked for")));
        }
        let limits: &[&str] = match endpoint {
            Endpoint::Embeddings => &[],
            Endpoint::Responses => &["max_output_tokens"],
            Endpoint::ChatCompletions => &["max_completion_tokens", "max_tokens"],
            Endpoint::Completions => &["max_tokens"],
        };
        let mut max_output = None;
        for name in limits {
            max_output = max_output.max(members.number(name)?);
        }
        Ok(Self {
            model,
            stream: stream && endpoint != Endpoint::Embeddings,
            choices,
            max_output: max_output.map(|tokens| tokens.min(MAX_TOKENS)),
            input_tokens: size::input_tokens(body).min(MAX_TOKENS),
            model_at: range(body, raw),
            force,
        })
    }

    /// Whether usage is asked for in the client's place.
    #[must_use]
    pub fn forces_usage(&self) -> bool {
        self.force.is_some()
    }

    /// The tokens that it may use, estimated.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        let each = self.max_output.unwrap_or(USUAL_OUTPUT);
        self.input_tokens.saturating_add(each.saturating_mul(self.choices.into()))
    }

    /// What has to change for the provider that calls the model `model`.
    #[must_use]
    pub fn edits(&self, model: &str) -> Edits {
        let renamed = (self.model != model).then(|| Edit {
            at: self.model_at.clone(),
            text: serde_json::Value::from(model).to_string(),
        });
        let mut edits: Vec<_> = renamed.into_iter().chain(self.force.clone()).collect();
        edits.sort_by_key(|edit| edit.at.start);
        Edits(edits)
    }
}

impl Edits {
    /// Whether the body stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The body with these changes; `None` if it is not the body that they were made for.
    #[cfg(test)]
    pub(super) fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let longer: usize = self.0.iter().map(|edit| edit.text.len()).sum();
        let mut changed = Vec::with_capacity(body.len().saturating_add(longer));
        let mut from = 0;
        for Edit { at, text } in &self.0 {
            changed.extend_from_slice(body.get(from..at.start)?);
            changed.extend_from_slice(text.as_bytes());
            from = at.end;
        }
        changed.extend_from_slice(body.get(from..)?);
        Some(changed)
    }
}

/// As a header has them: `START-END:TEXT` for each, with a comma in between. What is from the
/// byte START to before the byte END becomes TEXT, which is written in hexadecimal.
impl fmt::Display for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Edit { at, text }) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{}-{}:", at.start, at.end)?;
            text.bytes().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        }
        Ok(())
    }
}

impl<'a> Members<'a> {
    /// The value of a member; `null` is like none.
    fn value(&self, name: &str) -> Option<&'a RawValue> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        Some(*value).filter(|value| value.get() != "null")
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, Refusal> {
        self.parsed(name, "neither true nor false")
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        self.parsed(name, "not a whole number")
    }

    fn parsed<T: Deserialize<'a>>(&self, name: &str, else_: &str) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.value(name) else { return Ok(None) };
        serde_json::from_str(raw.get())
            .map(Some)
            .map_err(|error| malformed(&format!("`{name}` is {else_}"), &error))
    }

    /// What has to change so that the provider reports usage in the stream; nothing if the
    /// client asked for it.
    fn forced_usage(&self, body: &[u8]) -> Result<Option<Edit>, Refusal> {
        let edit = |at, text: &str| Ok(Some(Edit { at, text: text.to_owned() }));
        let Some((_, options)) = self.0.iter().find(|(name, _)| name == "stream_options") else {
            let after_brace = body.iter().position(|byte| *byte == b'{').unwrap_or_default() + 1;
            // There is a member behind it: the model.
            return edit(after_brace..after_brace, r#""stream_options":{"include_usage":true},"#);
        };
        let at = range(body, options);
        if options.get() == "null" {
            return edit(at, r#"{"include_usage":true}"#);
        }
        let inner: Members<'_> = serde_json::from_str(options.get())
            .map_err(|error| malformed("`stream_options` is not an object", &error))?;
        match inner.0.iter().find(|(name, _)| name == "include_usage") {
            Some((_, value)) if value.get() == "true" => Ok(None),
            Some((_, value)) if matches!(value.get(), "false" | "null") => {
                edit(range(body, value), "true")
            }
            Some(_) => Err(refuse("`stream_options.include_usage` is neither true nor false")),
            None if inner.0.is_empty() => edit(at, r#"{"include_usage":true}"#),
            None => edit(at.start + 1..at.start + 1, r#""include_usage":true,"#),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    // Of two, the provider might take the other one.
                    if members.iter().any(|(earlier, _)| *earlier == name) {
                        return Err(A::Error::custom("a member occurs twice"));
                    }
                    if members.len() >= MOST_MEMBERS {
                        return Err(A::Error::custom("there are too many members"));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Most members of the body: each is compared with all others. OpenAI's API knows about forty.
const MOST_MEMBERS: usize = 256;

/// Where `value`, a part of `body`, is in it.
fn range(body: &[u8], value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr().addr().saturating_sub(body.as_ptr().addr());
    start..start.saturating_add(value.get().len())
}

/// The body is larger than [`LARGEST_BODY`].
#[must_use]
pub fn too_large() -> Refusal {
    Refusal::new(Code::BodyTooLarge, "a request has at most 10 MiB")
}

/// Refuses a request whose head announces a body that is too large.
pub fn refuse_large(head: &Head) -> Result<(), Refusal> {
    let announced = head.values("content-length").filter_map(|value| {
        std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<u64>().ok())
    });
    let most = u64::try_from(LARGEST_BODY).unwrap_or(u64::MAX);
    if announced.into_iter().any(|length| length > most) { Err(too_large()) } else { Ok(()) }
}

fn refuse(detail: impl Into<String>) -> Refusal {
    Refusal::new(Code::BodyMalformed, detail)
}

/// The error may quote the body, so it stays out of what is told.
fn malformed(what: &str, error: &serde_json::Error) -> Refusal {
    refuse(format!("{what} (line {}, column {})", error.line(), error.column()))
}

#[cfg(test)]
mod tests;
