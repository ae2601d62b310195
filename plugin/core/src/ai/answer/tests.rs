use super::*;

/// Answers in the formats that the providers document, and what they tell.
const RECORDED: &[(&str, &str, Recorded)] = &[
    (
        "openai_chat.sse",
        include_str!("../../../tests/vectors/ai/openai_chat.sse"),
        Recorded {
            usage: Some([1019, 1000, 12, 5]),
            id: Some("chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG"),
            finish: Some("stop"),
            complete: true,
            failed: false,
        },
    ),
    (
        "openai_chat_tools.sse",
        include_str!("../../../tests/vectors/ai/openai_chat_tools.sse"),
        Recorded {
            usage: Some([82, 0, 17, 0]),
            id: Some("chatcmpl-tools"),
            finish: Some("tool_calls"),
            complete: true,
            failed: false,
        },
    ),
    (
        "openai_responses.sse",
        include_str!("../../../tests/vectors/ai/openai_responses.sse"),
        Recorded {
            usage: Some([37, 16, 139, 128]),
            id: Some("resp_67c9fdcecf488190bdd9a0409de3a1ec"),
            finish: Some("completed"),
            complete: true,
            failed: false,
        },
    ),
    (
        "openai_completions.sse",
        include_str!("../../../tests/vectors/ai/openai_completions.sse"),
        Recorded {
            usage: Some([5, 0, 4, 0]),
            id: Some("cmpl-uqkvlQyYK7bGYrRHQ0eXlWi7"),
            finish: Some("length"),
            complete: true,
            failed: false,
        },
    ),
    (
        // Usage in every event, growing; 64 tokens of thought in the total only.
        "gemini_chat.sse",
        include_str!("../../../tests/vectors/ai/gemini_chat.sse"),
        Recorded {
            usage: Some([9, 0, 72, 64]),
            id: Some("5_kVaZyUMKnN1PIP0uTG2Ag"),
            finish: Some("stop"),
            complete: true,
            failed: false,
        },
    ),
    (
        "ollama_chat.sse",
        include_str!("../../../tests/vectors/ai/ollama_chat.sse"),
        Recorded {
            usage: Some([26, 0, 3, 0]),
            id: Some("chatcmpl-263"),
            finish: Some("stop"),
            complete: true,
            failed: false,
        },
    ),
    (
        "comments_and_no_usage.sse",
        include_str!("../../../tests/vectors/ai/comments_and_no_usage.sse"),
        Recorded {
            usage: None,
            id: Some("gen-1"),
            finish: Some("stop"),
            complete: true,
            failed: false,
        },
    ),
    (
        "error_in_the_middle.sse",
        include_str!("../../../tests/vectors/ai/error_in_the_middle.sse"),
        Recorded {
            usage: None,
            id: Some("chatcmpl-9"),
            finish: None,
            complete: false,
            failed: true,
        },
    ),
    (
        "openai_chat.json",
        include_str!("../../../tests/vectors/ai/openai_chat.json"),
        Recorded {
            usage: Some([19, 8, 10, 0]),
            id: Some("chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"),
            finish: Some("stop"),
            complete: true,
            failed: false,
        },
    ),
    (
        "openai_responses.json",
        include_str!("../../../tests/vectors/ai/openai_responses.json"),
        Recorded {
            usage: Some([36, 0, 87, 0]),
            id: Some("resp_67ccd2bed1ec8190b14f964abc0542670bb6a6b452d3795b"),
            finish: Some("completed"),
            complete: true,
            failed: false,
        },
    ),
    (
        "openai_embeddings.json",
        include_str!("../../../tests/vectors/ai/openai_embeddings.json"),
        Recorded {
            usage: Some([8, 0, 0, 0]),
            id: None,
            finish: None,
            complete: true,
            failed: false,
        },
    ),
    (
        "gemini_chat.json",
        include_str!("../../../tests/vectors/ai/gemini_chat.json"),
        Recorded {
            usage: Some([20, 0, 533, 382]),
            id: Some("YPsVaf_"),
            finish: Some("stop"),
            complete: true,
            failed: false,
        },
    ),
];

/// What a recorded answer tells.
struct Recorded {
    /// Input, cached, output, reasoning.
    usage: Option<[u64; 4]>,
    id: Option<&'static str>,
    finish: Option<&'static str>,
    complete: bool,
    failed: bool,
}

/// The answers with LF and with CRLF; the JSON of a stream has no line end inside.
fn recorded() -> impl Iterator<Item = (String, Vec<u8>, &'static Recorded)> {
    RECORDED.iter().flat_map(|(name, text, expected)| {
        let crlf = text.replace('\n', "\r\n");
        [
            ((*name).to_owned(), text.as_bytes().to_vec(), expected),
            (format!("{name} with CRLF"), crlf.into_bytes(), expected),
        ]
    })
}

fn answer(name: &str, forced: bool) -> Answer {
    begin(name, if forced { Hides::Here } else { Hides::Nothing })
}

fn begin(name: &str, hides: Hides) -> Answer {
    let media_type = if name.contains(".sse") { "text/event-stream" } else { "application/json" };
    Answer::begin(media_type.as_bytes(), None, hides)
}

/// What the client gets of `chunks`.
fn pass<'a>(answer: &mut Answer, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut passed = Vec::new();
    for chunk in chunks {
        match answer.take(chunk, false) {
            Passes::AsItIs => passed.extend_from_slice(chunk),
            Passes::Instead(instead) => passed.extend(instead),
        }
    }
    if let Passes::Instead(rest) = answer.take(b"", true) {
        passed.extend(rest);
    }
    passed
}

/// The stream without the event that has usage alone.
fn without_usage(stream: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let end = if text.contains("\r\n") { "\r\n\r\n" } else { "\n\n" };
    text.split_inclusive(end)
        .filter(|event| !(event.contains("\"choices\":[],") && event.contains("\"usage\":{")))
        .collect::<String>()
        .into_bytes()
}

fn check(name: &str, told: &Told, expected: &Recorded) {
    let usage = told.usage.map(|u| [u.input, u.cached, u.output, u.reasoning]);
    assert_eq!(usage, expected.usage, "{name}");
    assert_eq!(told.usage_is_final, expected.usage.is_some(), "{name}");
    assert_eq!(told.id.as_deref(), expected.id, "{name}");
    assert_eq!(told.finish.as_deref(), expected.finish, "{name}");
    assert_eq!(told.complete, expected.complete, "{name}");
    assert_eq!(told.failed, expected.failed, "{name}");
}

#[test]
fn every_recorded_answer_tells_the_same_however_it_is_split() {
    for (name, bytes, expected) in recorded() {
        for forced in [false, true] {
            let is_stream = name.contains(".sse");
            let clients = if forced && is_stream { without_usage(&bytes) } else { bytes.clone() };
            let splits = (0..=bytes.len()).map(|at| {
                let (start, end) = bytes.split_at(at);
                vec![start, end]
            });
            let sizes = (1..40).map(|size| bytes.chunks(size).collect());
            let mut estimates = std::collections::BTreeSet::new();
            for chunks in splits.chain(sizes) {
                let mut answer = answer(&name, forced);
                let passed = pass(&mut answer, chunks);
                assert!(passed == clients, "{name}: the client gets something else");
                check(&name, &answer.told(), expected);
                estimates.insert(answer.told().made);
            }
            assert_eq!(estimates.len(), 1, "{name}: {estimates:?}");
        }
    }
}

/// The stream with the data of usage alone in a comment, as the second pass leaves it.
fn with_usage_commented(stream: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(stream.to_vec()).unwrap();
    let usage = |line: &str| {
        line.starts_with("data:")
            && line.contains("\"choices\":[],")
            && line.contains("\"usage\":{")
    };
    text.split_inclusive('\n')
        .map(|line| if usage(line) { format!(":{line}") } else { line.to_owned() })
        .collect::<String>()
        .into_bytes()
}

#[test]
fn usage_in_a_comment_tells_the_same_and_passes() {
    for (name, bytes, expected) in recorded().filter(|(name, ..)| name.contains(".sse")) {
        let commented = with_usage_commented(&bytes);
        for size in 1..80 {
            let mut answer = begin(&name, Hides::Before);
            assert!(pass(&mut answer, commented.chunks(size)) == commented, "{name} {size}");
            check(&name, &answer.told(), expected);
        }
    }
    // Where nothing was asked for in the client's place, a comment says nothing.
    let comment = b":data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3}}\n\n";
    let mut answer = begin(".sse", Hides::Nothing);
    assert_eq!(pass(&mut answer, [comment.as_slice()]), comment);
    assert_eq!(answer.told(), Told::default());
}

#[test]
fn no_complete_event_is_held_back() {
    for (name, bytes, _) in recorded().filter(|(name, ..)| name.contains(".sse")) {
        let end = if name.contains("CRLF") { "\r\n\r\n" } else { "\n\n" };
        let text = String::from_utf8(bytes).unwrap();
        let mut answer = answer(&name, true);
        for event in text.split_inclusive(end) {
            let usage_only = without_usage(event.as_bytes()).is_empty();
            let expected = if usage_only { Passes::Instead(Vec::new()) } else { Passes::AsItIs };
            assert_eq!(answer.take(event.as_bytes(), false), expected, "{name}: {event}");
        }
    }
}

#[test]
fn a_cr_ends_lines_too_and_its_lf_goes_with_it() {
    let usage = r#"data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;
    for (line_end, chunks) in [("\r", 1), ("\r\n", 1), ("\r\n", 2)] {
        let stream = format!(
            "data: a{line_end}{line_end}{usage}{line_end}{line_end}data: b{line_end}{line_end}"
        );
        let kept = format!("data: a{line_end}{line_end}data: b{line_end}{line_end}");
        // Split just before the LF that ends the event with the usage, or nowhere.
        let at = stream.find("data: b").unwrap() - (chunks - 1);
        let (start, end) = stream.as_bytes().split_at(at);
        let mut answer = answer(".sse", true);
        let passed = String::from_utf8(pass(&mut answer, [start, end])).unwrap();
        assert_eq!(passed, kept);
        assert_eq!(answer.told().usage.unwrap().output, 4);
    }
}

#[test]
fn a_cut_stream_passes_to_its_last_byte_and_tells_what_was_in_it() {
    for (name, bytes, _) in recorded().filter(|(name, ..)| name.contains(".sse")) {
        for at in 0..bytes.len() {
            let cut = bytes.get(..at).unwrap();
            let mut answer = answer(&name, false);
            assert_eq!(pass(&mut answer, [cut]), cut, "{name}");
        }
    }
    let mut answer = answer(".sse", true);
    let cut = b"data: {\"choices\":[{\"delta\":{\"content\":\"four words are here";
    assert_eq!(pass(&mut answer, [cut.as_slice()]), cut);
    assert_eq!(answer.told(), Told { made: 5, ..Told::default() });
}

#[test]
fn what_a_provider_counts_on_the_way_is_not_final() {
    let gemini = include_str!("../../../tests/vectors/ai/gemini_chat.sse");
    let first = gemini.split_inclusive("\n\n").next().unwrap();
    let mut answer = answer(".sse", false);
    assert_eq!(answer.take(first.as_bytes(), false), Passes::AsItIs);
    let told = answer.told();
    assert_eq!((told.usage.unwrap().output, told.usage_is_final), (66, false));
}

#[test]
fn an_event_too_long_to_be_usage_passes_as_it_comes() {
    let long = format!("data: {{\"choices\":[],\"x\":\"{}\",", "y".repeat(20_000));
    let rest = b"\"usage\":{\"prompt_tokens\":1}}\n\ndata: [DONE]\n\n";
    let mut answer = answer(".sse", true);
    assert_eq!(answer.take(long.as_bytes(), false), Passes::AsItIs);
    assert_eq!(answer.take(rest, false), Passes::AsItIs);
    assert_eq!(answer.told().usage.unwrap().input, 1);
}

#[test]
fn what_cannot_be_read_passes_and_tells_nothing() {
    for (media_type, coding) in [
        ("text/event-stream", Some("gzip")),
        ("application/json", Some("br")),
        ("text/html", None),
        ("", None),
    ] {
        let coding = coding.map(str::as_bytes);
        let mut answer = Answer::begin(media_type.as_bytes(), coding, Hides::Here);
        let bytes = br#"{"usage":{"prompt_tokens":1}}"#;
        assert_eq!(answer.take(bytes, true), Passes::AsItIs);
        assert_eq!(answer.told(), Told::default());
    }
    let media_type = b"Application/JSON; charset=utf-8";
    let mut answer = Answer::begin(media_type, Some(b" Identity"), Hides::Here);
    assert_eq!(answer.take(br#"{"usage":{"prompt_tokens":1}}"#, true), Passes::AsItIs);
    assert_eq!(answer.told().usage.unwrap().input, 1);
}

proptest::proptest! {
    /// Whatever a provider sends: nothing panics, nothing but usage is taken out, and the splits
    /// make no difference.
    #[test]
    fn any_stream_passes_the_same_however_it_is_split(
        parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..40),
        cuts in proptest::collection::vec(0_usize..400, 0..8),
    ) {
        let stream = parts.concat().into_bytes();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(stream.len())).collect();
        cuts.sort_unstable();
        cuts.push(stream.len());
        let chunks = cuts.iter().scan(0, |from, to| {
            let chunk = stream.get(*from..*to);
            *from = *to;
            chunk
        });
        let (mut whole, mut split) = (answer(".sse", true), answer(".sse", true));
        proptest::prop_assert_eq!(
            pass(&mut whole, [stream.as_slice()]),
            pass(&mut split, chunks)
        );
        proptest::prop_assert_eq!(whole.told(), split.told());
        let mut plain = answer(".sse", false);
        proptest::prop_assert_eq!(pass(&mut plain, [stream.as_slice()]), stream);
        proptest::prop_assert_eq!(plain.told(), whole.told());
    }
}

/// Pieces of streams, whole and broken.
const PARTS: &[&str] = &[
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}",
    "data:{\"choices\":[{\"delta\":{\"content\":\"x\"}}]}",
    "data: [DONE]",
    "data",
    ": comment",
    "event: x",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\r\n\r\n",
    "{",
    "\"",
    "\\",
    "\u{feff}",
    "é",
];
