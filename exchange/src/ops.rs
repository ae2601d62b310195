//! The operator's listener: is it alive, is it ready, what has it done. Never for the public.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{
    admission::Admission,
    audit::Audit,
    data_dir, flags,
    metrics::{self, Metrics, Room},
    registry, revocations,
    store::Store,
    usage::Usage,
};

/// How long the database may take before it counts as not answering.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long what the database answered holds: whoever asks often must not have it write often.
const HOLDS: Duration = Duration::from_secs(1);

/// What the operator's listener looks at; clones look at the same.
#[derive(Clone)]
pub struct Ops {
    /// The database.
    pub store: Store,
    /// The file it is in, if it is one.
    pub file: Option<PathBuf>,
    /// The audit.
    pub audit: Audit,
    /// The ledger.
    pub usage: Usage,
    /// The counters.
    pub metrics: Metrics,
    /// Whether the exchange is on its way out.
    pub stopping: Arc<AtomicBool>,
    /// Whether requests are let in.
    pub admission: Arc<Admission>,
    /// How the database did when it was last asked to write.
    pub probed: Arc<Mutex<Option<Probed>>>,
}

/// What the database said, and when.
pub struct Probed {
    at: Instant,
    found: Result<(), String>,
}

impl Ops {
    /// Answers one request.
    pub async fn answer<B>(self, request: Request<B>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" => match self.ready().await {
                Ok(()) => text(StatusCode::OK, "ready\n"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            },
            "/metrics" => self.metrics().await,
            _ => text(StatusCode::NOT_FOUND, "see /livez, /readyz, /metrics\n"),
        }
    }

    /// Whether requests will be served, or why not.
    async fn ready(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("shutting down".to_owned());
        }
        if let Some(why) = self.admission.closed() {
            return Err(why.to_owned());
        }
        // Held while it is asked, so that one question answers all who wait.
        let mut probed = self.probed.lock().await;
        if let Some(Probed { at, found }) = &*probed
            && at.elapsed() < HOLDS
        {
            return found.clone();
        }
        let found = match timeout(PATIENCE, self.store.answers()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("database: no answer within {} ms", PATIENCE.as_millis())),
        };
        *probed = Some(Probed { at: Instant::now(), found: found.clone() });
        found
    }

    /// How much room the database has, if it is on this machine and the system tells.
    fn room(&self) -> Option<Room> {
        let file = self.file.as_deref()?;
        Some(Room {
            free: data_dir::free(file).ok()?,
            database: data_dir::size(file),
            log: data_dir::size(&data_dir::beside(file, data_dir::LOG)),
        })
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        if let Some(room) = self.room() {
            self.metrics.room(room);
        }
        // Without an answer the last known number stands; /readyz says what is wrong.
        if let Ok(Ok(count)) = timeout(PATIENCE, registry::count(&self.store)).await {
            self.metrics.instances(count);
        }
        if let Ok(Ok(pending)) = timeout(PATIENCE, self.store.read(flags::count_pending)).await {
            self.metrics.pending_flags(pending);
        }
        if let Ok(Ok(head)) = timeout(PATIENCE, self.audit.head(&self.store)).await {
            self.metrics.audit_records(head.seq);
        }
        if let Ok(Some(open)) = timeout(PATIENCE, self.usage.open_count()).await {
            self.metrics.open_reservations(open);
        }
        if let Ok(Ok(pending)) = timeout(PATIENCE, revocations::count(&self.store)).await {
            self.metrics.pending_revocations(pending);
        }
        let mut response = text(StatusCode::OK, self.metrics.render());
        let media_type = HeaderValue::from_static(metrics::MEDIA_TYPE);
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}
