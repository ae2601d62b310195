//! How large the input of a call is, before anybody has counted it.

use super::{
    estimate::Weight,
    lexer::{Kind, Lexer, Role},
};

/// The members of a body that a model gets to read.
const READ_BY_THE_MODEL: &[&str] = &[
    "messages",
    "input",
    "prompt",
    "suffix",
    "instructions",
    "tools",
    "functions",
    "response_format",
    "text",
    "prediction",
];

/// The members that hold an image, a sound or a file, or say where it is.
const ATTACHMENTS: &[&str] = &["url", "image_url", "file_url", "data", "file_data"];

/// The members that hold tokens as numbers, one by one.
const TOKENS: &[&str] = &["prompt", "input"];

/// The tokens of the input in `body`, a JSON object, estimated.
///
/// Everything that the model reads counts: text, and the names and texts of the JSON around it,
/// which stand for what providers add themselves (who speaks, where a message ends). An image, a
/// sound or a file counts the same whatever its size.
pub(super) fn input_tokens(body: &[u8]) -> u64 {
    let mut lexer = Lexer::default();
    let mut weight = Weight::default();
    let mut weighs = false;
    let mut rest = body;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let role = lexer.push(*byte);
        match role {
            Role::Begin(kind) => {
                let read = lexer.top().is_one_of(READ_BY_THE_MODEL);
                let attached = read && kind == Kind::String && lexer.name().is_one_of(ATTACHMENTS);
                if attached {
                    weight.add_attachment();
                    rest = to_the_end_of_the_string(rest);
                }
                if kind == Kind::Scalar && lexer.top().is_one_of(TOKENS) {
                    weight.add_tokens(1);
                }
                weighs = read && !attached && kind == Kind::String;
            }
            Role::Text if weighs => weight.add(*byte),
            // Names inside, without their quotes.
            Role::Name
                if *byte != b'"'
                    && lexer.depth() > 1
                    && lexer.top().is_one_of(READ_BY_THE_MODEL) =>
            {
                weight.add(*byte);
            }
            _ => {}
        }
    }
    weight.tokens()
}

/// `rest` from the quote on that ends the string it is in. Megabytes of Base64 need not be looked
/// at one by one.
fn to_the_end_of_the_string(rest: &[u8]) -> &[u8] {
    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    match end.and_then(|end| rest.get(end..)) {
        Some(end) if end.first() == Some(&b'"') => end,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tokens(body: &serde_json::Value) -> u64 {
        input_tokens(body.to_string().as_bytes())
    }

    #[test]
    fn text_counts_wherever_the_model_reads_it() {
        let text = "The quick brown fox jumps over the lazy dog. ".repeat(100);
        for body in [
            json!({"model": "m", "messages": [{"role": "user", "content": text}]}),
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}),
            json!({"input": text}),
            json!({"input": [text]}),
            json!({"prompt": text}),
            json!({"instructions": text, "input": "x"}),
            json!({"tools": [{"type": "function", "function": {"description": text}}]}),
        ] {
            let found = tokens(&body);
            // Counted by the tokenizer o200k_base: 1,001.
            assert!((950..=1_100).contains(&found), "{found} for {:.60}", body.to_string());
        }
        for body in
            [json!({"user": text}), json!({"metadata": {"a": text}}), json!({"model": text})]
        {
            assert_eq!(tokens(&body), 0);
        }
    }

    #[test]
    fn tokens_as_numbers_are_counted_one_by_one() {
        assert_eq!(tokens(&json!({"input": [1, 22, 333]})), 3);
        assert_eq!(tokens(&json!({"prompt": [[1, 2], [3]], "max_tokens": 7})), 3);
    }

    #[test]
    fn an_attachment_counts_the_same_whatever_its_size() {
        let with = |url: String| {
            tokens(&json!({"messages": [{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "What is this?"}]}]}))
        };
        let small = with("https://example.com/a.png".to_owned());
        assert!((1_500..1_600).contains(&small), "{small}");
        assert_eq!(with(format!("data:image/png;base64,{}", "A".repeat(100_000))), small);
        // An escape makes the way slower, not wrong.
        assert_eq!(with("a\"b\\c".to_owned()), small);
    }
}
