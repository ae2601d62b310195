//! Calls of AI models on a real host: official clients, and what the providers see. Where the
//! providers' mock cannot be installed, these tests are skipped and reported as ignored, not as
//! passed.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};
use serde_json::{Value, json};
use stack::{
    ai::{self, Accounting},
    answer::Answer,
    artifacts,
    metrics::Metrics,
    routes,
    stack::{Options, Stack},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

mod fallback;

use fallback::{
    a_provider_that_failed_is_left_out_for_a_while,
    the_body_is_changed_for_the_provider_that_answers,
    what_a_provider_fails_the_next_one_answers_in_the_same_request,
    what_another_would_not_answer_either_and_what_has_begun_is_not_tried_again,
    where_all_fail_the_client_is_told_of_the_last,
    who_has_no_ledger_is_answered_by_the_next_provider_too,
};

macro_rules! trials {
    ($($name:ident),* $(,)?) => { vec![$(Trial::test(stringify!($name), || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on($name());
        Ok(())
    })),*] };
}

fn main() {
    let arguments = Arguments::from_args();
    let missing = artifacts::pip_is_missing();
    if let Some(missing) = missing {
        eprintln!("SKIPPED: the tests of AI models. {missing}");
    }
    let trials = trials![
        the_official_client_for_python_works,
        the_official_client_for_javascript_works,
        vercels_ai_sdk_works,
        a_provider_gets_nothing_of_the_clients_that_was_not_meant_for_it,
        the_providers_routes_cannot_be_reached_from_outside,
        every_call_is_a_row_with_the_providers_numbers_and_no_key,
        who_hosts_everything_alone_needs_no_ledger,
        a_stream_arrives_event_by_event,
        many_streams_on_one_connection_harm_no_worker,
        what_is_asked_for_passes_untouched,
        a_provider_that_fails_in_the_middle_has_a_row_that_says_how,
        tokens_that_a_call_did_not_use_come_back,
        who_calls_while_the_ledger_is_away_is_told_so,
        what_a_provider_fails_the_next_one_answers_in_the_same_request,
        the_body_is_changed_for_the_provider_that_answers,
        where_all_fail_the_client_is_told_of_the_last,
        what_another_would_not_answer_either_and_what_has_begun_is_not_tried_again,
        a_provider_that_failed_is_left_out_for_a_while,
        who_has_no_ledger_is_answered_by_the_next_provider_too,
    ];
    let trials = trials.into_iter().map(|trial| trial.with_ignored_flag(missing.is_some()));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

async fn stack() -> (Stack, String, String) {
    stack_with(Accounting::Ledger).await
}

async fn stack_with(accounting: Accounting) -> (Stack, String, String) {
    let stack = Stack::with_models(accounting).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let url = format!("{}/ai/v1", stack.gateway.url());
    stack.wait_for_models(&token).await.unwrap();
    (stack, url, token)
}

fn chat(content: &str) -> Value {
    json!({"model": "gpt-4o", "messages": [{"role": "user", "content": content}]})
}

async fn the_official_client_for_python_works() {
    let (stack, url, token) = stack().await;
    let (good, printed) = ai::python_client(&url, &token).await.unwrap();
    assert!(good, "{printed}\n{}", stack.logs());
}

async fn the_official_client_for_javascript_works() {
    let (stack, url, token) = stack().await;
    let (good, printed) = ai::javascript_client("sdk.mjs", &url, &token).await.unwrap();
    assert!(good, "{printed}\n{}", stack.logs());
}

async fn vercels_ai_sdk_works() {
    let (stack, url, token) = stack().await;
    let (good, printed) = ai::javascript_client("vercel.mjs", &url, &token).await.unwrap();
    assert!(good, "{printed}\n{}", stack.logs());
}

async fn a_provider_gets_nothing_of_the_clients_that_was_not_meant_for_it() {
    let (stack, _, token) = stack().await;
    let request = stack
        .post("/ai/v1/chat/completions?api-version=1&key=secret-query")
        .bearer_auth(&token)
        .header("cookie", "secret=1")
        .header("openai-organization", "somebody-elses")
        .header("x-forwarded-for", "203.0.113.9")
        .header("accept-encoding", "gzip")
        .json(&chat("hello"));
    assert_eq!(Answer::to(request).await.unwrap().status, 200);
    let seen = stack.providers().unwrap().requests().await.unwrap();
    let seen = seen.last().unwrap();
    let text = seen.to_string();
    for secret in [token.as_str(), "secret", "somebody-elses", "203.0.113.9", "x-kombi", "gzip"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
    assert_eq!(seen["path"], "/v1/chat/completions", "{text}");
}

async fn the_providers_routes_cannot_be_reached_from_outside() {
    let (stack, _, token) = stack().await;
    for (path, header) in [
        ("/chat/completions", Some("x-kombi-ai-provider")),
        ("/v1/chat/completions", Some("x-kombi-ai-provider")),
        ("/chat/completions", None),
        ("/ai/v1/chat/completions", Some("x-kombi-ai-provider")),
        ("/ai/v1/chat/completions", Some("X_Kombi_AI_Provider")),
    ] {
        let mut request = stack.post(path).bearer_auth(&token).json(&chat("hello"));
        if let Some(name) = header {
            request = request.header(name, "openai");
        }
        let answer = Answer::to(request).await.unwrap();
        assert!(matches!(answer.status, 400 | 404), "{path} {header:?}: {}", answer.status);
    }
    assert_eq!(stack.providers().unwrap().requests().await.unwrap().len(), 0);
}

/// Waits until the ledger has `count` settled calls; returns its report.
async fn ledger_with(stack: &mut Stack, count: u64) -> Value {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let report = stack.exchange().unwrap().usage_by_model().unwrap();
        let rows = report["rows"].as_array().unwrap();
        let settled = rows.iter().map(|row| row["calls"].as_u64().unwrap_or_default()).sum::<u64>();
        let open = rows.iter().map(|row| row["open"].as_u64().unwrap_or_default()).sum::<u64>();
        if settled >= count && open == 0 {
            return report;
        }
        assert!(Instant::now() < deadline, "the ledger never has {count}: {report}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn every_call_is_a_row_with_the_providers_numbers_and_no_key() {
    let (mut stack, _, token) = stack().await;
    for stream in [false, true] {
        let mut body = chat("hello");
        body["stream"] = stream.into();
        let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
        let answer = Answer::to(request).await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(!String::from_utf8_lossy(&answer.body).contains(ai::PROVIDER_KEY));
        assert!(!format!("{:?}", answer.headers).contains(ai::PROVIDER_KEY));
    }
    let report = ledger_with(&mut stack, 2).await;
    let row = &report["rows"][0];
    assert_eq!((&row["provider"], &row["model"]), (&json!("openai"), &json!("gpt-4o")));
    assert_eq!((&row["input_tokens"], &row["output_tokens"]), (&json!(38), &json!(20)), "{report}");
    assert!(!stack.logs().contains(ai::PROVIDER_KEY), "the key is in a log");
}

/// What a client reads of a stream: the data of its events.
fn data(stream: &[u8]) -> Vec<String> {
    let lines = String::from_utf8_lossy(stream).lines().map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter().filter_map(|line| Some(line.strip_prefix("data: ")?.to_owned())).collect()
}

async fn many_streams_on_one_connection_harm_no_worker() {
    let (mut stack, _, token) = stack().await;
    let mut body = chat("hello");
    body["stream"] = true.into();
    for _ in 0..40 {
        let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
        let answer = Answer::to(request).await.unwrap();
        let events = data(&answer.body);
        assert_eq!(events.last().map(String::as_str), Some("[DONE]"), "{events:?}");
        assert!(!events.iter().any(|event| event.contains("\"usage\":{")), "{events:?}");
    }
    let report = ledger_with(&mut stack, 40).await;
    assert_eq!(report["rows"][0]["output_tokens"], json!(400), "{report}");
    assert!(!stack.logs().contains("exited on signal"), "{}", stack.logs());
}

async fn who_hosts_everything_alone_needs_no_ledger() {
    let (stack, url, token) = stack_with(Accounting::Off).await;
    let mut body = chat("hello");
    body["model"] = "llama3.2".into();
    let request = stack.client().post(format!("{url}/chat/completions")).bearer_auth(&token);
    assert_eq!(Answer::to(request.json(&body)).await.unwrap().status, 200);
}

async fn a_stream_arrives_event_by_event() {
    let (stack, url, token) = stack().await;
    let mut body = chat("tell me a long story");
    body["stream"] = true.into();
    let request = stack.client().post(format!("{url}/chat/completions"));
    let mut answer = request.bearer_auth(&token).json(&body).send().await.unwrap();
    let first = answer.chunk().await.unwrap().unwrap();
    // The provider takes seconds for all of it: what is here now came before the end.
    assert!(!String::from_utf8_lossy(&first).contains("[DONE]"));
    let mut rest = Vec::new();
    let mut chunks = 0;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        rest.extend_from_slice(&chunk);
        chunks += 1;
    }
    let rest = String::from_utf8(rest).unwrap();
    assert!(chunks > 5 && rest.ends_with("data: [DONE]\n\n"), "{chunks} chunks: {rest}");
    let unasked = data(rest.as_bytes()).iter().any(|event| event.contains("\"usage\":{"));
    assert!(!unasked, "the usage was not asked for");
}

async fn what_is_asked_for_passes_untouched() {
    let (stack, _, token) = stack().await;
    let schema = json!({"type": "object", "properties": {"z": {"type": "number"}, "a": {}}});
    let mut body = chat("hello");
    body["response_format"] = json!({"type": "json_schema", "json_schema": {"name": "x", "strict": true, "schema": schema}});
    body["tools"] = json!([{"type": "function", "function": {"name": "f", "parameters": schema}}]);
    body["temperature"] = json!(1e-1);
    body["vendor_extension"] = json!({"kept": [1, 2.50, "\u{e9}"]});
    let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
    assert_eq!(Answer::to(request).await.unwrap().status, 200);
    let seen = stack.providers().unwrap().requests().await.unwrap();
    let seen = &seen.last().unwrap()["body"];
    for (name, value) in body.as_object().unwrap() {
        assert_eq!(&seen[name], value, "{name}");
    }
}

/// How a provider fails, by the model that is asked for.
const FAULTS: [(&str, &str, &str); 4] = [
    ("gpt-cut", "client_left", "estimated_abort"),
    ("gpt-error", "provider_cut", "estimated_abort"),
    ("gpt-silent", "completed", "estimated_missing"),
    ("gpt-slow", "completed", "provider"),
];

/// Streams as no provider should, on any connection.
async fn fail(mut client: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"true}") {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let event = |data: &str| format!("data: {data}\n\n");
    let text = event(r#"{"choices":[{"delta":{"content":"four words are here"}}]}"#);
    let usage = event(
        r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#,
    );
    let error = event(r#"{"error":{"message":"The server had an error","type":"server_error"}}"#);
    let done = event("[DONE]");
    let request = String::from_utf8_lossy(&request);
    let asked = |model: &str| request.contains(&format!("\"{model}\""));
    let (events, ends) = match () {
        () if asked("gpt-cut") => (vec![text], false),
        () if asked("gpt-error") => (vec![text, error], true),
        () if asked("gpt-silent") => (vec![text, done], true),
        () => (vec![text, usage, done], true),
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                transfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    client.write_all(head.as_bytes()).await?;
    for event in events {
        client.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        // A slow provider is what is tested.
        tokio::time::sleep(Duration::from_millis(if asked("gpt-slow") { 400 } else { 20 })).await;
    }
    if ends {
        client.write_all(b"0\r\n\r\n").await?;
    }
    client.shutdown().await
}

async fn a_provider_that_fails_in_the_middle_has_a_row_that_says_how() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(fail(client));
        }
    });
    let options =
        Options { ai: Some(Accounting::Ledger), provider: Some(port), ..Options::default() };
    let mut stack = Stack::start(options).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    stack.wait_for_models(&token).await.unwrap();
    for (model, ..) in FAULTS {
        let body = json!({"model": model, "stream": true,
                          "messages": [{"role": "user", "content": "hello"}]});
        let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
        let answer = Answer::to(request).await;
        let body = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        let whole = body.as_ref().is_ok_and(|body| body.ends_with("data: [DONE]\n\n"));
        assert_eq!(whole, matches!(model, "gpt-silent" | "gpt-slow"), "{model}: {body:?}");
    }
    let report = ledger_with(&mut stack, 4).await;
    for (model, _, source) in FAULTS {
        let rows = report["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["model"] == model).unwrap();
        let exact = source == "provider";
        assert_eq!(row["estimated"], json!(u8::from(!exact)), "{model}: {row}");
        assert_eq!(row["requests"], 1, "{model}: {row}");
        let output = row["output_tokens"].as_i64().unwrap();
        assert!(if exact { output == 4 } else { (3..=6).contains(&output) }, "{model}: {row}");
    }
    let counted = |metrics: &Metrics, end: &str, source: &str| {
        let labels = [("provider", "openai"), ("end", end), ("source", source)];
        metrics.value("ai_calls_total", &labels)
    };
    let all = |metrics: &Metrics| {
        FAULTS.iter().all(|(_, end, source)| counted(metrics, end, source) == 1.0)
    };
    Metrics::when(&stack.gateway, all).await.unwrap();
}

/// Three thousand tokens a day for everybody.
fn limit_tokens(declaration: &mut Value) {
    let route = routes::named(declaration, "ai").unwrap();
    route["plugins"][0]["config"]["limits"] = json!([
        {"name": "tokens", "key": "sub", "amount": 3_000, "per": "day", "cost": "tokens"}
    ]);
}

async fn tokens_that_a_call_did_not_use_come_back() {
    let options =
        Options { ai: Some(Accounting::Ledger), amend: Some(limit_tokens), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    stack.wait_for_models(&token).await.unwrap();
    let call = async |max_tokens: Option<u32>| {
        let mut body = chat("hello");
        if let Some(max_tokens) = max_tokens {
            body["max_tokens"] = max_tokens.into();
        }
        let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
        Answer::to(request).await.unwrap()
    };
    // More than a thousand are set aside for each, and 29 used.
    for _ in 0..8 {
        let answer = call(None).await;
        assert_eq!(answer.status, 200, "{}", answer.summary());
    }
    let refused = call(Some(2_900)).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (429, &json!("limit_exceeded")));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(call(Some(1_500)).await.status, 200);
}

/// Calls of everybody, while whatever listens where the ledger was does as it does.
async fn assert_told(stack: &Stack, token: &str, what: &str) {
    let call = || async {
        let request = stack.post("/ai/v1/chat/completions").bearer_auth(token).json(&chat("hello"));
        Answer::to(request).await
    };
    for answer in futures_util::future::join_all((0..40).map(|_| call())).await {
        let answer = answer.map_err(|error| format!("{what}: {error:#}")).unwrap();
        assert_eq!(answer.status, 503, "{what}: {}", answer.summary());
        assert_eq!(answer.json()["error"]["code"], "usage_unavailable", "{what}");
    }
}

async fn who_calls_while_the_ledger_is_away_is_told_so() {
    let (mut stack, _, token) = stack().await;
    let url = stack.exchange().unwrap().url();
    let place = url.trim_start_matches("http://").to_owned();
    stack.exchange().unwrap().kill().unwrap();
    assert_told(&stack, &token, "nobody listens").await;

    let resets = TcpListener::bind(&place).await.unwrap();
    let resetting = tokio::spawn(async move {
        while let Ok((mut client, _)) = resets.accept().await {
            // Closing before all is read resets the connection.
            let _ = client.read(&mut [0; 16]).await;
        }
    });
    assert_told(&stack, &token, "it resets connections").await;
    resetting.abort();
    let _ = resetting.await;

    let silent = TcpListener::bind(&place).await.unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((client, _)) = silent.accept().await {
            held.push(client);
        }
    });
    assert_told(&stack, &token, "it says nothing").await;
    holding.abort();
    let _ = holding.await;
    assert_eq!(stack.get_as(&token, "/user").await.unwrap().status, 200);
}
