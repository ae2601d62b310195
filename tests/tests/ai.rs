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
    stack::Stack,
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
        after_a_provider_failed_the_next_call_goes_to_the_next_one,
        every_call_is_a_row_with_the_providers_numbers_and_no_key,
        who_hosts_everything_alone_needs_no_ledger,
        a_stream_arrives_event_by_event,
        many_streams_on_one_connection_harm_no_worker,
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

async fn after_a_provider_failed_the_next_call_goes_to_the_next_one() {
    let (stack, _, token) = stack().await;
    for (content, status) in [("please break", 500), ("hello", 200)] {
        let mut body = chat(content);
        body["model"] = "small".into();
        // On the same connection, so to the same worker: what it saw, the others do not know.
        let request = stack.post("/ai/v1/chat/completions").bearer_auth(&token).json(&body);
        assert_eq!(Answer::to(request).await.unwrap().status, status);
    }
    let seen = stack.providers().unwrap().requests().await.unwrap();
    let paths: Vec<_> = seen.iter().map(|request| &request["path"]).collect();
    assert_eq!(paths, ["/v1/chat/completions", "/v1beta/openai/chat/completions"], "{seen:?}");
    assert!(seen.last().unwrap().to_string().contains("gemini-2.5-flash"), "{seen:?}");
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
