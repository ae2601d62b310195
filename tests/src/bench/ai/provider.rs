//! A provider that answers at once: one document, or a stream of a few events. It must not be what
//! is measured.

use std::convert::Infallible;

use anyhow::Result;
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Collected, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Bytes, Frame, Incoming},
    header::HeaderValue,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::listening::Listening;

/// The model whose streams stop after their first event until [`Provider::go_on`].
pub(super) const HELD: &str = "gpt-held";

/// The end of every stream.
pub(super) const DONE: &str = "data: [DONE]\n\n";

const EVENTS: usize = 8;

/// The running provider. Dropped, it stops accepting.
pub(super) struct Provider {
    listening: Listening,
    goes_on: watch::Sender<bool>,
}

impl Provider {
    pub(super) async fn start() -> Result<Self> {
        let (goes_on, held) = watch::channel(false);
        let listening = Listening::start(move |request| serve(request, held.clone())).await?;
        Ok(Self { listening, goes_on })
    }

    pub(super) fn port(&self) -> u16 {
        self.listening.port()
    }

    /// Lets held streams go on to their end.
    pub(super) fn go_on(&self) {
        self.goes_on.send_replace(true);
    }
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

async fn serve(request: Request<Incoming>, held: watch::Receiver<bool>) -> Answer {
    let body = request.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let usage = json!({"prompt_tokens": 9, "completion_tokens": EVENTS, "total_tokens": 17});
    if body["stream"] != true {
        let answer = json!({"id": "chatcmpl-1", "object": "chat.completion", "usage": usage,
            "choices": [{"index": 0, "finish_reason": "stop",
                         "message": {"role": "assistant", "content": "word ".repeat(EVENTS)}}]});
        let body = Full::from(answer.to_string()).boxed_unsync();
        return response(body, "application/json");
    }
    let chunk = |choices: Value| json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": choices});
    let word = chunk(json!([{"index": 0, "delta": {"content": "word "}, "finish_reason": null}]));
    let stop = chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]));
    let mut events = vec![word; EVENTS];
    events.push(stop);
    if body["stream_options"]["include_usage"] == true {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        events.push(last);
    }
    let mut events: Vec<_> = events.into_iter().map(|event| format!("data: {event}\n\n")).collect();
    events.push(DONE.to_owned());
    let is_held = body["model"] == HELD;
    let body = stream::iter(events).enumerate().then(move |(number, event)| {
        let mut held = held.clone();
        async move {
            if is_held && number > 0 {
                // Whoever held it is gone: it goes on.
                let _ = held.wait_for(|goes_on| *goes_on).await;
            }
            Ok::<_, Infallible>(Frame::data(Bytes::from(event)))
        }
    });
    response(StreamBody::new(body).boxed_unsync(), "text/event-stream")
}

fn response(body: UnsyncBoxBody<Bytes, Infallible>, media_type: &'static str) -> Answer {
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static(media_type));
    response
}
