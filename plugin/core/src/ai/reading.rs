//! What one JSON document of a provider tells, read as it goes by: a whole answer, or the data
//! of one event of a stream.

use super::{
    estimate::Weight,
    lexer::{Kind, Lexer, Role},
    usage::Usage,
};

/// Largest `usage` that is read, in bytes.
const LARGEST_USAGE: usize = 4 * 1024;

/// Longest text that is read: an id or a reason, in bytes.
const LONGEST_TEXT: usize = 200;

/// Where a choice (Chat Completions, Completions) has what the model made.
const MADE_IN_CHOICES: &[&str] =
    &["content", "text", "reasoning_content", "reasoning", "refusal", "arguments", "transcript"];

/// Where the output of Responses has it.
const MADE_IN_OUTPUT: &[&str] = &["text", "refusal", "arguments"];

/// What a document has told so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Reading {
    lexer: Lexer,
    capture: Option<Capture>,
    /// Whether the document came to its end.
    closed: bool,
    /// Whether the string that goes by is something that the model made.
    weighs: bool,
    /// Whether `choices` is there, and whether anything is in it.
    choices: Option<Choices>,
    /// The provider's numbers.
    pub(super) usage: Option<Usage>,
    /// The provider's id of the answer.
    pub(super) id: Option<String>,
    /// The `type` of an event of Responses.
    pub(super) kind: Option<String>,
    /// Why the model stopped.
    pub(super) finish: Option<String>,
    /// Whether the provider tells of an error.
    pub(super) failed: bool,
    /// What the model made.
    pub(super) made: Weight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choices {
    Empty,
    Some,
}

/// A value that is kept.
#[derive(Debug, Clone)]
struct Capture {
    field: Field,
    bytes: Vec<u8>,
    /// How many objects and arrays are around it.
    depth: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Usage,
    Id,
    Kind,
    Finish,
}

impl Field {
    fn longest(self) -> usize {
        if self == Self::Usage { LARGEST_USAGE } else { LONGEST_TEXT }
    }
}

impl Reading {
    /// Whether the document is usage and nothing else: what a provider sends at the end of a
    /// stream if `include_usage` was asked for.
    pub(super) fn is_usage_only(&self) -> bool {
        self.choices == Some(Choices::Empty) && self.usage.is_some()
    }

    /// Whether the document, an object, came to its end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes the next byte.
    pub(super) fn push(&mut self, byte: u8) {
        let role = self.lexer.push(byte);
        self.closed |= role == Role::End && byte == b'}' && self.lexer.depth() == 0;
        if let Role::Begin(kind) = role {
            self.begin(kind, byte);
        }
        if role == Role::Text && self.weighs {
            self.made.add(byte);
        }
        let Some(capture) = &mut self.capture else { return };
        if capture.bytes.len() >= capture.field.longest() {
            self.capture = None;
            return;
        }
        capture.bytes.push(byte);
        if role == Role::End && self.lexer.depth() == capture.depth {
            self.end_capture();
        }
    }

    fn begin(&mut self, kind: Kind, first: u8) {
        let is_container = matches!(kind, Kind::Object | Kind::Array);
        let depth = self.lexer.depth().saturating_sub(u32::from(is_container));
        let (top, second, name) = (self.lexer.top(), self.lexer.second(), self.lexer.name());
        let in_response = depth == 2 && top.is("response");
        // Members of the document itself, and of the response in an event of Responses.
        let member = match depth {
            1 => Some(top),
            2 if in_response => Some(second),
            _ => None,
        };
        self.weighs = kind == Kind::String
            && (top.is("choices") && name.is_one_of(MADE_IN_CHOICES)
                || top.is("output") && name.is_one_of(MADE_IN_OUTPUT)
                || depth == 1 && top.is("delta"));
        let is_finish = top.is("choices") && name.is("finish_reason");
        if top.is("choices") {
            match depth {
                1 if kind == Kind::Array => self.choices = Some(Choices::Empty),
                2 => self.choices = Some(Choices::Some),
                _ => {}
            }
        }
        if member.is_some_and(|member| member.is("error")) && first != b'n' {
            self.failed = true;
        }
        if self.capture.is_some() {
            return;
        }
        let field = match (member, kind) {
            (Some(member), Kind::Object) if member.is("usage") => Field::Usage,
            (Some(member), Kind::String) if member.is("id") => Field::Id,
            (Some(member), Kind::String) if member.is("status") => Field::Finish,
            (Some(member), Kind::String) if member.is("type") && depth == 1 => Field::Kind,
            (_, Kind::String) if is_finish => Field::Finish,
            _ => return,
        };
        self.capture = Some(Capture { field, bytes: Vec::new(), depth });
    }

    fn end_capture(&mut self) {
        let Some(Capture { field, bytes, .. }) = self.capture.take() else { return };
        let text = || serde_json::from_slice(&bytes).ok();
        match field {
            Field::Usage => {
                let read = Usage::read(&bytes);
                self.usage = self.usage.into_iter().chain(read).reduce(Usage::max);
            }
            Field::Id => self.id = text().or(self.id.take()),
            Field::Kind => self.kind = text().or(self.kind.take()),
            Field::Finish => self.finish = text().or(self.finish.take()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reading {
        let mut reading = Reading::default();
        text.bytes().for_each(|byte| reading.push(byte));
        reading
    }

    #[test]
    fn only_the_documents_own_members_count() {
        let reading = read(
            r#"{"choices":[{"message":{"content":"{\"usage\":{\"prompt_tokens\":9}}","usage":
            {"prompt_tokens":7},"id":"x"}}],"meta":{"usage":{"prompt_tokens":8}},"id":"a"}"#,
        );
        assert_eq!((reading.usage, reading.id.as_deref()), (None, Some("a")));
    }

    #[test]
    fn usage_alone_is_told_from_usage_beside_text() {
        for (text, expected) in [
            (r#"{"id":"1","choices":[],"usage":{"prompt_tokens":1,"total_tokens":1}}"#, true),
            (r#"{"usage":{"prompt_tokens":1,"total_tokens":1} , "choices" : [ ] }"#, true),
            (r#"{"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}"#, false),
            (r#"{"choices":[],"usage":null}"#, false),
            (r#"{"choices":[]}"#, false),
            (r#"{"usage":{"prompt_tokens":1}}"#, false),
            ("[DONE]", false),
        ] {
            assert_eq!(read(text).is_usage_only(), expected, "{text}");
        }
    }

    #[test]
    fn a_document_is_closed_by_its_own_last_brace() {
        for (text, closed) in [
            (r#"{"a":{"b":"}"},"c":[{}]}"#, true),
            ("{} ", true),
            (r#"{"a":{"b":"}"},"c":[{}]"#, false),
            (r#"{"a":"}"#, false),
            ("\"}\"", false),
            ("", false),
        ] {
            assert_eq!(read(text).is_closed(), closed, "{text}");
        }
    }

    #[test]
    fn an_error_is_noticed_and_null_is_none() {
        assert!(read(r#"{"error":{"message":"overloaded"}}"#).failed);
        assert!(read(r#"{"type":"response.failed","response":{"error":{"code":"x"}}}"#).failed);
        assert!(!read(r#"{"error":null,"id":"resp_1","response":{"error": null}}"#).failed);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let id = "x".repeat(LONGEST_TEXT);
        assert_eq!(read(&format!(r#"{{"id":"{id}","status":"completed"}}"#)).id, None);
        let usage = format!(r#"{{"usage":{{"x":"{}","prompt_tokens":1}}}}"#, "y".repeat(5_000));
        assert_eq!(read(&usage).usage, None);
    }
}
