//! A provider that knows what it served: OpenAI's chat completions, with the tokens of
//! `story.txt`, which were counted with OpenAI's own vocabulary (`o200k_base`).

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use futures_util::stream;
use http_body_util::{BodyExt, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Frame, Incoming},
    header::HeaderValue,
};
use serde_json::{Value, json};

use super::{Kind, story};
use crate::listening::Listening;

/// Between two tokens of a stream that its client is going to leave.
const PACE: Duration = Duration::from_millis(3);

/// What OpenAI counts for a message, beside its text.
const AROUND_A_MESSAGE: u64 = 7;

/// Tokens of an answer that nobody is meant to wait for.
const LONG: usize = 2_000;

/// What the provider served of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Served {
    /// How often it was asked for it.
    pub requests: u64,
    /// Tokens of the input.
    pub input: u64,
    /// Tokens of the output that it sent.
    pub output: u64,
    /// Whether it told these numbers, or that it served nothing.
    pub told: bool,
}

/// By the call's number.
pub type Book = BTreeMap<usize, Served>;

/// The running provider. Dropped, it stops accepting.
pub(super) struct Provider {
    listening: Listening,
    book: Arc<Mutex<Book>>,
}

impl Provider {
    pub(super) async fn start() -> Result<Self> {
        let book = Arc::<Mutex<Book>>::default();
        let served = Arc::clone(&book);
        let listening =
            Listening::start(move |request| serve(request, Arc::clone(&served))).await?;
        Ok(Self { listening, book })
    }

    pub(super) fn port(&self) -> u16 {
        self.listening.port()
    }

    pub(super) fn book(&self) -> Book {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn serve(request: Request<Incoming>, book: Arc<Mutex<Book>>) -> Answer {
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let number = body["model"].as_str().and_then(|model| model.strip_prefix("gpt-")?.parse().ok());
    let Some(number) = number else {
        return document(StatusCode::NOT_FOUND, &json!({"error": {"message": "no such model"}}));
    };
    let kind = Kind::of(number);
    let entry = Entry { book, number };
    let input = (super::input(number) as u64) + AROUND_A_MESSAGE;
    entry.note(|served| served.requests += 1);
    if kind == Kind::Fails {
        entry.note(|served| served.told = true);
        let error =
            json!({"error": {"message": "the model is overloaded", "type": "server_error"}});
        return document(StatusCode::SERVICE_UNAVAILABLE, &error);
    }
    let output = if kind == Kind::Left { LONG } else { 10 + number % 40 };
    entry.note(|served| served.input = input);
    if kind == Kind::Whole {
        entry.note(|served| (served.output, served.told) = (output as u64, true));
        let content = story().iter().cycle().take(output).copied().collect::<String>();
        let answer = json!({"id": format!("chatcmpl-{number}"), "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": content}}],
            "usage": usage(input, output)});
        return document(StatusCode::OK, &answer);
    }
    let reports = body["stream_options"]["include_usage"] == true;
    events(entry, kind, input, output, reports)
}

/// A call's place in the book.
struct Entry {
    book: Arc<Mutex<Book>>,
    number: usize,
}

impl Entry {
    fn note(&self, change: impl FnOnce(&mut Served)) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        change(book.entry(self.number).or_default());
    }
}

fn usage(input: u64, output: usize) -> Value {
    json!({"prompt_tokens": input, "completion_tokens": output,
           "total_tokens": input + output as u64})
}

fn document(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::from(body.to_string()).boxed_unsync());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert("content-type", json);
    response
}

/// An event for each token, and at the end usage, if it was asked for.
fn events(entry: Entry, kind: Kind, input: u64, output: usize, reports: bool) -> Answer {
    let id = format!("chatcmpl-{}", entry.number);
    let next = move |sent: usize| {
        let chunk = |choices: Value| json!({"id": id, "object": "chat.completion.chunk", "choices": choices});
        let event = if sent < output {
            entry.note(|served| served.output += 1);
            let token = story().iter().cycle().nth(sent).copied().unwrap_or_default();
            chunk(json!([{"index": 0, "delta": {"content": token}, "finish_reason": null}]))
        } else if sent == output {
            chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]))
        } else if sent == output + 1 && reports {
            entry.note(|served| served.told = true);
            let mut last = chunk(json!([]));
            last["usage"] = usage(input, output);
            last
        } else {
            return None;
        };
        Some(format!("data: {event}\n\n"))
    };
    let body = stream::unfold((0_usize, false), move |(sent, done)| {
        let event = if done { None } else { Some(next(sent)) };
        async move {
            if kind == Kind::Left {
                tokio::time::sleep(PACE).await;
            }
            let (text, done) = match event? {
                Some(text) => (text, false),
                None => ("data: [DONE]\n\n".to_owned(), true),
            };
            let frame: Result<_, Infallible> = Ok(Frame::data(Bytes::from(text)));
            Some((frame, (sent + 1, done)))
        }
    });
    let mut response = Response::new(StreamBody::new(body).boxed_unsync());
    let stream = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", stream);
    response
}
