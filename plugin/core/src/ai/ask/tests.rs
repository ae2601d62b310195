use serde_json::{Value, json};

use super::*;

/// The body for a provider, if it changes.
fn rewritten(ask: &Ask, body: &[u8], model: &str) -> Option<Vec<u8>> {
    let edits = ask.edits(model);
    (!edits.is_empty()).then(|| edits.apply(body).unwrap())
}

const CHAT: Endpoint = Endpoint::ChatCompletions;

fn read(endpoint: Endpoint, body: &Value) -> Ask {
    Ask::read(endpoint, body.to_string().as_bytes()).unwrap()
}

fn code(endpoint: Endpoint, body: &str) -> Option<Code> {
    Ask::read(endpoint, body.as_bytes()).err().map(|refusal| refusal.code)
}

#[test]
fn a_call_is_read_from_each_endpoints_body() {
    for (endpoint, body, stream, choices, max_output) in [
        (CHAT, json!({"model": "m", "messages": []}), false, 1, None),
        (CHAT, json!({"model": "m", "stream": true, "n": 3, "max_tokens": 7}), true, 3, Some(7)),
        (
            CHAT,
            json!({"model": "m", "max_tokens": 7, "max_completion_tokens": 9}),
            false,
            1,
            Some(9),
        ),
        (
            CHAT,
            json!({"model": "m", "stream": null, "n": null, "max_tokens": null}),
            false,
            1,
            None,
        ),
        (Endpoint::Completions, json!({"model": "m", "n": 2, "best_of": 5}), false, 5, None),
        (
            Endpoint::Responses,
            json!({"model": "m", "max_output_tokens": 4, "n": 9}),
            false,
            1,
            Some(4),
        ),
        (Endpoint::Embeddings, json!({"model": "m", "input": "x", "stream": true}), false, 0, None),
    ] {
        let ask = read(endpoint, &body);
        assert_eq!(ask.model, "m");
        let found = (ask.stream, ask.choices, ask.max_output);
        assert_eq!(found, (stream, choices, max_output), "{body}");
    }
}

#[test]
fn a_body_that_two_readers_could_understand_differently_is_refused() {
    for body in [
        "",
        "[]",
        "\"m\"",
        "{",
        "{}",
        r#"{"model":1}"#,
        r#"{"model":null}"#,
        r#"{"model":"a","model":"b"}"#,
        r#"{"model":"a","mod\u0065l":"b"}"#,
        r#"{"model":"a"} {"model":"b"}"#,
        r#"{"model":"a","n":-1}"#,
        r#"{"model":"a","n":1.5}"#,
        r#"{"model":"a","n":"2"}"#,
        r#"{"model":"a","n":129}"#,
        r#"{"model":"a","stream":1}"#,
        r#"{"model":"a","stream":true,"stream_options":[]}"#,
        r#"{"model":"a","stream":true,"stream_options":{"include_usage":1}}"#,
        r#"{"model":"a","stream":true,"stream_options":{"include_usage":true,"include_usage":false}}"#,
        r#"{"model":"a","x":tru}"#,
    ] {
        assert_eq!(code(CHAT, body), Some(Code::BodyMalformed), "{body}");
    }
    assert!(Ask::read(CHAT, b"{\"model\":\"a\",\"x\":\"\xff\"}").is_err());
    let many: String = (0..300).map(|n| format!("\"m{n}\":1,")).collect();
    assert_eq!(code(CHAT, &format!(r#"{{{many}"model":"a"}}"#)), Some(Code::BodyMalformed));
}

#[test]
fn a_refusal_quotes_nothing_of_the_body() {
    let refusal = Ask::read(CHAT, br#"{"model":"a","max_tokens":"SECRET"}"#).unwrap_err();
    assert!(refusal.detail.starts_with("`max_tokens` is not a whole number"), "{refusal:?}");
    assert!(!format!("{refusal:?}").contains("SECRET"));
}

#[test]
fn a_body_above_ten_mebibytes_is_too_large() {
    let body = |length: usize| {
        let start = r#"{"model":"a","x":""#;
        format!("{start}{}\"}}", "y".repeat(length - start.len() - 2))
    };
    assert_eq!(code(CHAT, &body(LARGEST_BODY)), None);
    assert_eq!(code(CHAT, &body(LARGEST_BODY + 1)), Some(Code::BodyTooLarge));
}

#[test]
fn usage_is_forced_where_the_client_did_not_ask_for_it() {
    let forced = |body: &str| {
        let ask = Ask::read(CHAT, body.as_bytes()).unwrap();
        let changed = rewritten(&ask, body.as_bytes(), &ask.model);
        assert_eq!(ask.forces_usage(), changed.is_some());
        changed.map(|bytes| String::from_utf8(bytes).unwrap())
    };
    for (body, expected) in [
        (
            r#" { "stream" : true,"model":"a"}"#,
            Some(r#" {"stream_options":{"include_usage":true}, "stream" : true,"model":"a"}"#),
        ),
        (
            r#"{"model":"a","stream":true,"stream_options":null}"#,
            Some(r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#),
        ),
        (
            r#"{"model":"a","stream":true,"stream_options": { } }"#,
            Some(r#"{"model":"a","stream":true,"stream_options": {"include_usage":true} }"#),
        ),
        (
            r#"{"stream_options":{ "x":1},"model":"a","stream":true}"#,
            Some(r#"{"stream_options":{"include_usage":true, "x":1},"model":"a","stream":true}"#),
        ),
        (
            r#"{"model":"a","stream":true,"stream_options":{"include_usage":false}}"#,
            Some(r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#),
        ),
        (r#"{"model":"a","stream":true,"stream_options":{"include_usage":true}}"#, None),
        (r#"{"model":"a","stream":false}"#, None),
        (r#"{"model":"a","stream_options":{"include_usage":false}}"#, None),
    ] {
        assert_eq!(forced(body).as_deref(), expected, "{body}");
    }
}

#[test]
fn only_the_models_name_changes_and_all_else_stays_byte_for_byte() {
    let body = r#"{ "messages":[{"content":"caf\u00e9 \"model\":\"a\"  1.0e2","n":1.10}],
        "model" : "sm\u0061ll" , "seed":12345678901234567890123}"#;
    let ask = Ask::read(CHAT, body.as_bytes()).unwrap();
    assert_eq!(ask.model, "small");
    assert_eq!(rewritten(&ask, body.as_bytes(), "small"), None);
    let rewritten = rewritten(&ask, body.as_bytes(), "gpt-\"4o\"").unwrap();
    let expected = body.replace(r#""sm\u0061ll""#, r#""gpt-\"4o\"""#);
    assert_eq!(String::from_utf8(rewritten).unwrap(), expected);
}

#[test]
fn changes_fit_into_a_header() {
    let body = r#"{"model":"a","stream":true}"#;
    let edits = Ask::read(CHAT, body.as_bytes()).unwrap().edits("b");
    let forced = r#""stream_options":{"include_usage":true},"#;
    let hex: String = forced.bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(edits.to_string(), format!("1-1:{hex},9-12:226222"));
    assert_eq!(edits.apply(b"{}"), None);
    assert_eq!(Edits::default().apply(b"{}"), Some(b"{}".to_vec()));
}

proptest::proptest! {
    /// Whatever a client sends: nothing panics, and what the provider gets differs in the model
    /// and in `include_usage` alone.
    #[test]
    fn what_is_sent_on_differs_in_two_members_alone(
        members in proptest::collection::vec(
            (proptest::sample::select(NAMES), proptest::sample::select(VALUES)), 0..6),
        space in "[ \n\t]{0,3}",
    ) {
        let members: Vec<_> = members
            .iter()
            .map(|(name, value)| format!("{space}\"{name}\"{space}:{space}{value}{space}"))
            .collect();
        let body = format!("{space}{{{}}}", members.join(","));
        if let Ok(ask) = Ask::read(CHAT, body.as_bytes()) {
            let mut expected: Value = serde_json::from_str(&body).unwrap();
            expected["model"] = "other".into();
            if ask.stream {
                if !expected["stream_options"].is_object() {
                    expected["stream_options"] = json!({});
                }
                expected["stream_options"]["include_usage"] = true.into();
            }
            let rewritten = rewritten(&ask, body.as_bytes(), "other").unwrap_or(body.into_bytes());
            let found: Value = serde_json::from_slice(&rewritten).unwrap();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}

const NAMES: &[&str] = &["model", "stream", "stream_options", "n", "messages", "max_tokens"];

const VALUES: &[&str] = &[
    "\"m\"",
    "\"other\"",
    "true",
    "false",
    "null",
    "{}",
    "{ }",
    "{\"include_usage\":false}",
    "{\"include_usage\" : true}",
    "{\"a\":{\"include_usage\":1}}",
    "7",
    "[{\"content\":\"}{\\\"\"}]",
    "\"\\u0065\"",
];
