//! Calls that go on from a provider that fails to the next one, within one request of the client.

use std::{
    io,
    sync::{Arc, Mutex},
};

use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Collected, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use stack::{
    ai::{self, Accounting},
    answer::Answer,
    listening::Listening,
    metrics::Metrics,
    routes,
    stack::{Options, Stack},
};
use tokio::sync::Notify;

use super::{data, ledger_with};

/// What a provider got.
#[derive(Debug, Clone)]
struct Seen {
    path: String,
    authorization: Option<String>,
    /// All headers, as they can be printed.
    headers: String,
    body: String,
}

impl Seen {
    fn model(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        body["model"].as_str().unwrap().to_owned()
    }
}

/// What the providers share with the test.
#[derive(Default)]
struct Providers {
    seen: Mutex<Vec<Seen>>,
    /// When an answer that has begun is to break off.
    cut: Notify,
}

const DOCUMENT: &str = r#"{"id": "chatcmpl-1", "object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"h\u00e9llo"},"finish_reason":"stop"}], "usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"four  words are here\"}}]}\n\n";
const USAGE: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn error_of(status: u16) -> String {
    format!(r#"{{"error": {{"message":"as {status}", "type":"x","param":null,"code":null}}}}"#)
}

/// Answers as the model's name says: with a status that is in it, cut, or well.
async fn provide(
    request: Request<Incoming>,
    providers: Arc<Providers>,
) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let authorization = head.headers.get("authorization");
    let seen = Seen {
        path: head.uri.to_string(),
        authorization: authorization.map(|value| value.to_str().unwrap().to_owned()),
        headers: format!("{:?}", head.headers),
        body: String::from_utf8(body.to_vec()).unwrap(),
    };
    let asked: Value = serde_json::from_str(&seen.body).unwrap();
    let model = seen.model();
    providers.seen.lock().unwrap().push(seen);
    let status = model.split('-').find_map(|part| part.parse::<u16>().ok()).unwrap_or(200);
    let streams = asked["stream"] == true;
    let cut = model.starts_with("cut");
    let chunks = match (status, streams) {
        (200, true) if cut => vec![TEXT.to_owned()],
        (200, true) if asked["stream_options"]["include_usage"] == true => {
            [TEXT, USAGE, DONE].map(str::to_owned).into()
        }
        (200, true) => [TEXT, DONE].map(str::to_owned).into(),
        (200, false) => vec![DOCUMENT.to_owned()],
        _ => vec![error_of(status)],
    };
    let chunks = stream::iter(chunks).map(|text| Ok(Frame::data(Bytes::from(text))));
    let end = stream::once(async move {
        providers.cut.notified().await;
        Err(io::ErrorKind::ConnectionReset.into())
    });
    let media_type =
        if status == 200 && streams { "text/event-stream" } else { "application/json" };
    Response::builder()
        .status(status)
        .header("content-type", media_type)
        .header("x-kombi-ai-tried", "forged")
        .header("x-kombi-ai-unreached", "forged")
        .body(BodyExt::boxed_unsync(StreamBody::new(chunks.chain(end.take(cut.into())))))
        .unwrap()
}

/// Models whose names say what becomes of them. Nobody listens where Ollama should.
fn failing(declaration: &mut Value) {
    let place = |provider: &str, model: &str| json!({"provider": provider, "model": model});
    let model = |name: &str, provider: &str, fallbacks: &[Value]| json!({"name": name, "provider": provider, "fallbacks": fallbacks});
    let second = place("gemini", "good-second");
    let third =
        |at: &str| [place("gemini", &format!("then-503-{at}")), place("openai", "good-third")];
    let models = json!([
        model("second-*", "openai", &[second.clone(), place("openai", "good-third")]),
        model("gone-*", "ollama", std::slice::from_ref(&second)),
        model("third-500-plain", "openai", &third("plain")),
        model("third-500-stream", "openai", &third("stream")),
        model(
            "all-500-refused",
            "openai",
            &[place("gemini", "then-429-a"), place("ollama", "gone-a")]
        ),
        model(
            "all-500-told",
            "openai",
            &[place("ollama", "gone-b"), place("gemini", "then-503-b")]
        ),
        model("bad-*", "openai", std::slice::from_ref(&second)),
        model("cut-*", "openai", std::slice::from_ref(&second)),
    ]);
    let route = routes::named(declaration, "ai").unwrap();
    route["plugins"][0]["config"]["ai"]["models"] = models;
    for service in declaration["services"].as_array_mut().unwrap() {
        if service["name"] == "ai-ollama" {
            service["url"] = "http://127.0.0.1:1/v1".into();
        }
    }
}

struct Failing {
    stack: Stack,
    token: String,
    providers: Arc<Providers>,
    _listening: Listening,
}

impl Failing {
    async fn start(accounting: Accounting) -> Self {
        let providers = Arc::<Providers>::default();
        let shared = Arc::clone(&providers);
        let listening =
            Listening::start(move |request| provide(request, Arc::clone(&shared))).await.unwrap();
        let options = Options {
            ai: Some(accounting),
            provider: Some(listening.port()),
            amend: Some(failing),
            ..Options::default()
        };
        let stack = Stack::start(options).await.unwrap();
        let token = stack.issuer.token("ada").await.unwrap();
        stack.wait_for_models(&token).await.unwrap();
        Self { stack, token, providers, _listening: listening }
    }

    fn request(&self, body: String) -> RequestBuilder {
        let request = self.stack.post("/ai/v1/chat/completions").bearer_auth(&self.token);
        request.header("content-type", "application/json").body(body)
    }

    async fn send(&self, body: String) -> Answer {
        Answer::to(self.request(body)).await.unwrap()
    }

    async fn call(&self, model: &str, stream: bool) -> Answer {
        self.send(asking(model, stream)).await
    }

    /// What the providers got since the last time.
    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.providers.seen.lock().unwrap())
    }

    fn asked(&self) -> Vec<String> {
        self.seen().iter().map(Seen::model).collect()
    }
}

/// A call whose client asks for the usage itself, so that nothing in the answer changes.
fn asking(model: &str, stream: bool) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    if stream {
        body["stream"] = true.into();
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string()
}

/// The whole answer, as the provider sent it.
fn answer_of(stream: bool) -> String {
    if stream { [TEXT, USAGE, DONE].concat() } else { DOCUMENT.to_owned() }
}

fn assert_answered(answer: &Answer, stream: bool, what: &str) {
    let body = String::from_utf8_lossy(&answer.body);
    assert_eq!((answer.status, &*body), (200, &*answer_of(stream)), "{what}");
    assert_nothing_of_the_gateways(answer, what);
}

fn assert_nothing_of_the_gateways(answer: &Answer, what: &str) {
    let headers = format!("{:?}", answer.headers);
    for own in ["x-kombi", "attempt-count", "forged", ai::PROVIDER_KEY] {
        assert!(!headers.contains(own), "{what}: {headers}");
    }
    assert!(!String::from_utf8_lossy(&answer.body).contains(ai::PROVIDER_KEY), "{what}");
}

fn sum(report: &Value, column: &str, fits: impl Fn(&Value) -> bool) -> i64 {
    let rows = report["rows"].as_array().unwrap().iter().filter(|row| fits(row));
    rows.map(|row| row[column].as_i64().unwrap()).sum()
}

pub(super) async fn what_a_provider_fails_the_next_one_answers_in_the_same_request() {
    let mut failing = Failing::start(Accounting::Ledger).await;
    let key = |provider| Some(format!("Bearer {}", ai::provider_key(provider)));
    for stream in [false, true] {
        for status in [429, 500, 502, 503, 504] {
            let model = format!("second-{status}-{stream}");
            let answer = failing.call(&model, stream).await;
            assert_answered(&answer, stream, &model);
            let seen = failing.seen();
            for one in &seen {
                let keys = one.headers.matches(ai::PROVIDER_KEY).count();
                assert!(keys == 1 && !one.headers.contains("x-kombi"), "{one:?}");
                assert!(!one.headers.contains("attempt-count"), "{one:?}");
            }
            let seen: Vec<_> = seen
                .iter()
                .map(|one| (one.path.as_str(), one.model(), one.authorization.clone()))
                .collect();
            let expected = [
                ("/v1/chat/completions", model, key("openai")),
                ("/v1beta/openai/chat/completions", "good-second".to_owned(), key("gemini")),
            ];
            assert_eq!(seen, expected);
        }
        let refused = format!("gone-{stream}");
        assert_answered(&failing.call(&refused, stream).await, stream, &refused);
        assert_eq!(failing.asked(), ["good-second"], "nobody listens at the first");
        let third = if stream { "third-500-stream" } else { "third-500-plain" };
        assert_answered(&failing.call(third, stream).await, stream, third);
        assert_eq!(failing.asked(), [third, &third.replace("third-500", "then-503"), "good-third"]);
    }
    // Two tries each, and three of the last.
    let report = ledger_with(&mut failing.stack, 2 * (5 * 2 + 2 + 3)).await;
    let answered = |row: &Value| row["model"].as_str().unwrap().starts_with("good");
    for (column, good, failed) in [
        ("calls", 14, 16),
        ("requests", 14, 0),
        ("input_tokens", 14 * 3, 0),
        ("output_tokens", 14 * 4, 0),
    ] {
        assert_eq!(sum(&report, column, answered), good, "{column}: {report}");
        assert_eq!(sum(&report, column, |row| !answered(row)), failed, "{column}: {report}");
    }
    let of = |provider: &'static str| {
        move |row: &Value| row["provider"] == provider && row["model"] == "good-second"
    };
    assert_eq!(sum(&report, "calls", of("gemini")), 12, "{report}");
    assert!(!failing.stack.whole_logs().unwrap().contains(ai::PROVIDER_KEY), "a key is in a log");
}

pub(super) async fn the_body_is_changed_for_the_provider_that_answers() {
    let failing = Failing::start(Accounting::Ledger).await;
    let body = |model: &str, first: &str| {
        format!("{{{first} \"model\" : \"{model}\",\n\"stream\":true , \"messages\":[ ]}}")
    };
    let answer = failing.send(body("second-503-raw", "")).await;
    assert_eq!(answer.status, 200);
    // What was not asked for is not there, and all else is.
    let expected = data([TEXT, DONE].concat().as_bytes());
    assert_eq!(data(&answer.body), expected);
    let forced = "\"stream_options\":{\"include_usage\":true},";
    let seen: Vec<_> = failing.seen().into_iter().map(|one| one.body).collect();
    assert_eq!(seen, [body("second-503-raw", forced), body("good-second", forced)]);

    // As large as a request may be, less a little.
    let content = "x".repeat(10 * 1024 * 1024 - 1024);
    let body = |model: &str| json!({"model": model, "messages": [content]}).to_string();
    let answer = failing.send(body("second-500-large")).await;
    assert_answered(&answer, false, "a large body");
    let seen = failing.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[1].body == body("good-second"), "the second got another body");
}

pub(super) async fn where_all_fail_the_client_is_told_of_the_last() {
    let failing = Failing::start(Accounting::Ledger).await;
    let told = failing.call("all-500-told", false).await;
    assert_eq!((told.status, told.body), (503, error_of(503).into_bytes()));
    assert_eq!(failing.asked(), ["all-500-told", "then-503-b"]);

    let refused = failing.call("all-500-refused", true).await;
    assert_eq!(failing.asked(), ["all-500-refused", "then-429-a"]);
    assert!((500..=599).contains(&refused.status), "{}", refused.summary());
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(
        refused.json(),
        json!({"error": {"message": "the provider of the model could not be reached",
                         "type": "server_error", "param": null, "code": null}}),
    );
    assert_nothing_of_the_gateways(&refused, "refused");
    let ended = |metrics: &Metrics, provider: &str, end: &str| {
        let labels = [("provider", provider), ("end", end), ("source", "provider")];
        metrics.value("ai_calls_total", &labels)
    };
    let all = |metrics: &Metrics| {
        ended(metrics, "openai", "provider_error") == 2.0
            && ended(metrics, "gemini", "provider_error") == 2.0
            && ended(metrics, "ollama", "provider_error") == 1.0
            && ended(metrics, "ollama", "provider_unreachable") == 1.0
    };
    Metrics::when(&failing.stack.gateway, all).await.unwrap();
}

pub(super) async fn what_another_would_not_answer_either_and_what_has_begun_is_not_tried_again() {
    let failing = Failing::start(Accounting::Ledger).await;
    for status in [400, 401, 404, 413, 422, 501] {
        let model = format!("bad-{status}");
        let answer = failing.call(&model, false).await;
        assert_eq!((answer.status, answer.body), (status, error_of(status).into_bytes()));
        assert_eq!(failing.asked(), [model]);
    }
    let begun = failing.request(asking("cut-stream", true)).send().await.unwrap();
    assert_eq!(begun.status(), 200);
    failing.providers.cut.notify_one();
    assert!(Answer::read(begun).await.is_err(), "the answer was cut");
    assert_eq!(failing.asked(), ["cut-stream"]);
}

pub(super) async fn a_provider_that_failed_is_left_out_for_a_while() {
    let failing = Failing::start(Accounting::Ledger).await;
    for _ in 0..2 {
        // On the same connection, so to the same worker: what it saw, the others do not know.
        let answer = failing.call("second-503-again", false).await;
        assert_answered(&answer, false, "again");
    }
    assert_eq!(failing.asked(), ["second-503-again", "good-second", "good-second"]);
}

pub(super) async fn who_has_no_ledger_is_answered_by_the_next_provider_too() {
    let failing = Failing::start(Accounting::Off).await;
    for (model, stream) in [("second-429-off", false), ("gone-off", true)] {
        assert_answered(&failing.call(model, stream).await, stream, model);
    }
    let seen = failing.seen();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|one| one.authorization.is_none()), "{seen:?}");
}
