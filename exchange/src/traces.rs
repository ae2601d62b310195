//! Traces. The context that a request came with (W3C Trace Context) goes on to instances and to the
//! issuer. Where a collector is named, spans of what the exchange did leave in OTLP, from a queue
//! with an end: a collector that is dead or slow holds up nobody and costs spans, nothing else.
//!
//! No span has a URL, a header or a person: who it was, the log says under the same request id.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::{HeaderMap, Request, Response};
use opentelemetry::{Context, KeyValue, propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};
use reqwest::{Client, RequestBuilder};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tracing::{Instrument, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::outbound;

/// What the spans here are told apart by from what others may make.
pub const TARGET: &str = module_path!();

/// What traces call us, unless OTEL_SERVICE_NAME does.
const SERVICE: &str = "kombi-exchange";

/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last batch may take when the exchange stops.
const LAST: Duration = Duration::from_secs(2);

/// Largest answer of a collector that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Sends spans to a collector.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Sends them where `OTEL_EXPORTER_OTLP_ENDPOINT` says, by `client`, as the other variables of
    /// OpenTelemetry's specification say. To be called on the runtime.
    pub fn start(client: Client) -> Result<Self, ExporterBuildError> {
        let collector = Collector { client, runtime: Handle::current(), failing: Arc::default() };
        let exporter = SpanExporter::builder().with_http().with_http_client(collector).build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = Resource::builder().with_attribute(version);
        let resource = match std::env::var_os("OTEL_SERVICE_NAME") {
            Some(_) => resource,
            None => resource.with_service_name(SERVICE),
        };
        // Its queue holds 2,048 spans (OTEL_BSP_MAX_QUEUE_SIZE); more are dropped.
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Self(provider.with_resource(resource.build()).build()))
    }

    /// What makes them of `tracing`'s spans.
    #[must_use]
    pub fn tracer(&self) -> SdkTracer {
        self.0.tracer(SERVICE)
    }

    /// Sends what is left.
    pub async fn end(self) {
        // It waits for a call that this runtime makes.
        let _ = spawn_blocking(move || self.0.shutdown_with_timeout(LAST)).await;
    }
}

/// The context in which a request with `headers` was made.
pub fn context_of(headers: &HeaderMap) -> Context {
    TraceContextPropagator::new().extract(&HeaderExtractor(headers))
}

/// The span of a request in the context `carried`.
pub fn request(carried: &Context, method: &str, route: &'static str) -> Span {
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
        kombi.code = Empty,
        kombi.request_id = Empty,
        otel.status_code = Empty,
    );
    // An error says that there is no collector.
    let _ = span.set_parent(carried.clone());
    span
}

/// Notes how the request of `span` ended.
pub fn answered(span: &Span, status: u16, code: &str, request_id: &str) {
    span.record("http.response.status_code", status);
    span.record("kombi.code", code);
    span.record("kombi.request_id", request_id);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}

/// Sends `request` to `peer`, in the context of what is being answered.
pub async fn send(
    request: RequestBuilder,
    peer: &'static str,
) -> Result<reqwest::Response, reqwest::Error> {
    let (client, request) = request.build_split();
    let mut request = request?;
    let span = info_span!(
        "call",
        otel.name = format!("{} {peer}", request.method()),
        otel.kind = "client",
        http.request.method = request.method().as_str(),
        server.address = request.url().host_str().unwrap_or_default(),
        peer.service = peer,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    );
    let sent = async {
        let injector = &mut HeaderInjector(request.headers_mut());
        TraceContextPropagator::new().inject_context(&Context::current(), injector);
        let answer = client.execute(request).await;
        match &answer {
            Ok(answer) => {
                Span::current().record("http.response.status_code", answer.status().as_u16());
            }
            Err(_) => drop(Span::current().record("otel.status_code", "ERROR")),
        }
        answer
    };
    sent.instrument(span).await
}

/// The way to the collector, by the client that is there: of the runtime, because whoever sends is
/// on a thread of its own.
struct Collector {
    client: Client,
    runtime: Handle,
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'life0, 'async_trait>(&'life0 self, request: Request<Bytes>) -> Sent<'async_trait>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        let (client, failing) = (self.client.clone(), Arc::clone(&self.failing));
        let sent = self.runtime.spawn(async move {
            let late = || HttpError::from("the collector did not answer in time");
            let answer = timeout(PATIENCE, deliver(&client, request)).await;
            let answer = answer.unwrap_or_else(|_| Err(late()));
            tell(&failing, &answer);
            answer
        });
        Box::pin(async move { sent.await? })
    }
}

async fn deliver(client: &Client, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = request.into_parts();
    let request = client.request(head.method, head.uri.to_string()).headers(head.headers);
    let mut answer = request.body(body).send().await.map_err(reqwest::Error::without_url)?;
    let body = outbound::body(&mut answer, MAX_ANSWER_BYTES).await?.unwrap_or_default();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = answer.status();
    Ok(response)
}

/// One line when the collector begins to fail, and one when it is back.
fn tell(failing: &AtomicBool, answer: &Result<Response<Bytes>, HttpError>) {
    let problem = match answer {
        Ok(answer) if answer.status().is_success() => None,
        Ok(answer) => Some(format!("it answered {}", answer.status())),
        Err(error) => Some(error.to_string()),
    };
    let before = failing.swap(problem.is_some(), Ordering::Relaxed);
    match problem {
        Some(error) if !before => tracing::warn!(error, "traces are not taken, and are dropped"),
        None if before => tracing::info!("traces are taken again"),
        _ => {}
    }
}
