//! Accepting connections: a bounded number of them, each of which may take only so long to say
//! what it wants, and an end that lets everybody finish.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use crate::{random, refusal::Refusal};

/// The largest head of a request: an assertion with many roles, and room to spare.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long to wait before accepting again when the system has no more sockets.
const PAUSE: Duration = Duration::from_millis(50);

/// A socket that accepts HTTP/1.1 connections.
pub struct Listener {
    socket: TcpListener,
    connections: u32,
    idle: Duration,
}

impl Listener {
    /// A listener on `address` for up to `connections` at once. One on which no whole head of a
    /// request arrives within `idle` is closed, be it between two requests or in one.
    pub async fn bind(address: SocketAddr, connections: u32, idle: Duration) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::bind(address).await?, connections, idle })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers requests with `handler` until `stop`; then finishes those under way, for up to
    /// `grace`. Whether all of them ended by themselves.
    pub async fn serve<H, F>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
        grace: Duration,
    ) -> bool
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.connections as usize));
        let graceful = GracefulShutdown::new();
        tokio::pin!(stop);
        loop {
            let (stream, place) = tokio::select! {
                () = &mut stop => break,
                accepted = self.accept(&places) => accepted,
            };
            // Near the limit, nobody keeps a place by idling.
            let keep_alive = places.available_permits() > self.connections as usize / 4;
            let handler = handler.clone();
            let place = Arc::new(place);
            let service = service_fn(move |request| respond(&handler, request, Arc::clone(&place)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.idle)
                .max_buf_size(MAX_HEAD_BYTES)
                .keep_alive(keep_alive)
                .serve_connection(TokioIo::new(stream), service);
            // A connection that breaks is the client's affair.
            tokio::spawn(graceful.watch(connection));
        }
        drop(self.socket);
        let ended = async {
            graceful.shutdown().await;
            // What a client started and did not wait for holds its place until it is done.
            let _ = places.acquire_many(self.connections).await;
        };
        timeout(grace, ended).await.is_ok()
    }

    /// The next connection and its place among those allowed; beyond those, they queue outside.
    async fn accept(&self, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            let Ok(place) = Arc::clone(places).acquire_owned().await else {
                return std::future::pending().await;
            };
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // Without it, small answers wait for the client's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return (stream, place);
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Answers in a task of its own, so that a client that leaves cuts nothing off halfway, and a
/// panic is one failed request.
fn respond<H, F>(
    handler: &H,
    request: Request<Incoming>,
    place: Arc<OwnedSemaphorePermit>,
) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> + use<H, F>
where
    H: Fn(Request<Incoming>) -> F,
    F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let answer = handler(request);
    let task = tokio::spawn(async move {
        let response = answer.await;
        drop(place);
        response
    });
    async move {
        Ok(task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request was not answered");
            Refusal::internal(error).to_response(&random::request_id())
        }))
    }
}
