//! Traces: through the gate as they came, and out of the exchange to a collector.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use stack::{
    answer::Answer,
    listening::Listening,
    stack::{HOMELAB, Options, Stack},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const STATE: &str = "vendor=1";

/// How long spans may take to leave.
const SENT: Duration = Duration::from_secs(30);

/// No longer piece of a secret may be in a span.
const LONGEST_PIECE: usize = 16;

/// A collector, as far as the exchange needs one.
struct Collector {
    listening: Listening,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    async fn start() -> Self {
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let kept = Arc::clone(&spans);
        let listening = Listening::start(move |request: Request<Incoming>| {
            let kept = Arc::clone(&kept);
            async move {
                assert_eq!(request.uri().path(), "/v1/traces");
                assert_eq!(request.headers()["content-type"], "application/x-protobuf");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let sent = ExportTraceServiceRequest::decode(body).unwrap();
                let scopes = sent.resource_spans.into_iter().flat_map(|r| r.scope_spans);
                kept.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
                Response::new(Full::from(Vec::new()))
            }
        })
        .await
        .unwrap();
        Self { listening, spans }
    }

    /// The spans of the trace, once there are as many.
    async fn spans(&self, count: usize) -> Vec<Span> {
        let deadline = Instant::now() + SENT;
        loop {
            let all = self.spans.lock().unwrap().clone();
            let of_trace: Vec<_> =
                all.iter().filter(|span| hex(&span.trace_id) == TRACE).cloned().collect();
            if of_trace.len() >= count {
                return of_trace;
            }
            assert!(Instant::now() < deadline, "{all:#?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn options(collector: u16) -> Options {
    Options { instances: &[HOMELAB], collector: Some(collector), ..Options::default() }
}

#[tokio::test]
async fn a_login_is_one_trace_from_its_client_to_the_instance() {
    let collector = Collector::start().await;
    let mut stack = Stack::start(options(collector.listening.port())).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let login = stack.post("/sso/instances/homelab/session").bearer_auth(&token);
    let login = login.header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    let login = Answer::to(login).await.unwrap();
    assert_eq!(login.status, 200, "{}", login.summary());
    let spans = collector.spans(2).await;
    let of_kind = |kind: SpanKind| spans.iter().find(|span| span.kind == kind as i32).unwrap();
    let (server, client) = (of_kind(SpanKind::Server), of_kind(SpanKind::Client));
    assert_eq!(hex(&server.parent_span_id), PARENT);
    assert_eq!(server.name, "POST sso_session");
    assert_eq!(hex(&client.parent_span_id), hex(&server.span_id));
    assert_eq!(client.name, "POST instance");
    let printed = format!("{spans:?}");
    for (name, value) in [("http.response.status_code", "200"), ("kombi.code", "ok")] {
        assert!(printed.contains(name) && printed.contains(value), "{printed}");
    }

    let session = login.json()["token"].as_str().unwrap().to_owned();
    let sub = stack.issuer.subject("ada").await.unwrap();
    let [signing_key, seal_key] = stack.exchange().unwrap().secrets();
    for secret in [&token, &session, signing_key, seal_key] {
        for piece in secret.as_bytes().windows(LONGEST_PIECE) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!printed.contains(piece), "{piece} is in a span");
        }
    }
    assert!(!printed.contains(&sub), "a person is in a span: {printed}");
}

#[tokio::test]
async fn a_trace_passes_the_gate_as_it_came() {
    let stack = Stack::gate().await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    for path in ["/public", "/user"] {
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let sent = stack.get(path).bearer_auth(&token);
        let sent = sent.header("traceparent", &parent).header("tracestate", STATE);
        let echoed = Answer::to(sent).await.unwrap();
        assert_eq!(echoed.status, 200);
        let received = |name| stack::stack::received_header(&echoed, name);
        assert_eq!(received("traceparent"), Some(parent), "{path}");
        assert_eq!(received("tracestate").as_deref(), Some(STATE), "{path}");
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_keeps_nobody_from_logging_in() {
    let silent = Listening::start(|_: Request<Incoming>| {
        std::future::pending::<Response<Full<hyper::body::Bytes>>>()
    })
    .await
    .unwrap();
    let stack = Stack::start(options(silent.port())).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let users = stack.log_in_at_once(&token, HOMELAB.id, 1).await.unwrap();
    for _ in 0..10 {
        assert_eq!(stack.log_in_at_once(&token, HOMELAB.id, 8).await.unwrap(), users);
    }
}
