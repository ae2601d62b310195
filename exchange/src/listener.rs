//! Accepting connections: a bounded number of them, each of which may take only so long to say
//! what it wants, and an end that lets everybody finish.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::Incoming,
    header::{CONNECTION, HeaderValue},
    rt::{Read, Write},
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
#[cfg(target_os = "linux")]
use socket2::{SockFilter, SockRef};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};

use crate::{random, refusal::Refusal};

/// The largest head of a request: an assertion with many roles, and room to spare.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How long to wait before accepting again when the system has no more sockets.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections may wait to be accepted, if the system allows as many (`somaxconn`). Kong
/// opens one for every call; with a queue as short as the crowd, some of a thousand at once were
/// reset.
const BACKLOG: u32 = 4096;

/// How long nobody comes out of the queue before it counts as empty: longer than a client and
/// the system take to finish a handshake that they had begun.
const QUIET: Duration = Duration::from_millis(50);

/// Drops what asks for a new connection, which is a segment with SYN and without ACK among the
/// flags in its 14th byte, and nothing else. Handshakes that have begun are finished.
#[cfg(target_os = "linux")]
const NO_NEWCOMERS: [SockFilter; 5] = [
    SockFilter::new(0x30, 0, 0, 13),          // the byte of the flags
    SockFilter::new(0x54, 0, 0, 0x12),        // of these, SYN and ACK
    SockFilter::new(0x15, 0, 1, 0x02),        // SYN alone?
    SockFilter::new(0x06, 0, 0, 0),           // then drop it,
    SockFilter::new(0x06, 0, 0, 0xffff_ffff), // else let it pass
];

/// How long a listener goes on once it is told to stop.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// How long a connection may still bring a request.
    pub moment: Duration,
    /// How long requests may take, from when it is told to stop.
    pub grace: Duration,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has not begun.
    Serving,
    /// Whoever is connected may send one more request.
    Finishing,
    /// Nobody may.
    Closing,
}

/// A socket that accepts HTTP/1.1 connections.
pub struct Listener {
    socket: TcpListener,
    connections: u32,
    idle: Duration,
}

impl Listener {
    /// A listener on `address` for up to `connections` at once. One on which no whole head of a
    /// request arrives within `idle` is closed, be it between two requests or in one.
    pub fn bind(address: SocketAddr, connections: u32, idle: Duration) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // As after a restart, when connections of before still linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self { socket: socket.listen(BACKLOG)?, connections, idle })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers requests with `handler` until `stop`, and then for as long as `ending` says. Whether
    /// all of them ended by themselves.
    ///
    /// A client that reached us is never cut off. Those whom the system let in and we have not
    /// accepted yet are still accepted; nobody else is let in. From then on every answer closes its
    /// connection, and one that has no request under way is closed only after a moment: a request
    /// may be on its way that its sender could not send anywhere else by itself (RFC 9112 section
    /// 9.3.1).
    pub async fn serve<H, F>(
        self,
        handler: H,
        stop: impl Future<Output = ()>,
        ending: Ending,
    ) -> bool
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let places = Arc::new(Semaphore::new(self.connections as usize));
        let (tell, told) = watch::channel(Stage::Serving);
        let serve = |stream, place| {
            let (handler, place, stage) = (handler.clone(), Arc::new(place), told.clone());
            let service = service_fn({
                let stage = stage.clone();
                move |request| respond(&handler, request, Arc::clone(&place), stage.clone())
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(self.idle)
                .max_buf_size(MAX_HEAD_BYTES)
                // Near the limit, nobody keeps a place by idling.
                .keep_alive(places.available_permits() > self.connections as usize / 4)
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(keep(connection, stage));
        };
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => break,
                (stream, place) = self.next(&places) => serve(stream, place),
            }
        }
        let stopped = Instant::now();
        tell.send_replace(Stage::Finishing);
        self.close_the_door();
        let late = stopped + ending.moment;
        while Instant::now() < late
            && let Ok(Some(place)) = timeout_at(late, free(&places)).await
            && let Ok(stream) = timeout(QUIET, self.accept()).await
        {
            serve(stream, place);
        }
        drop(self.socket);
        // What a client started and did not wait for holds its place until it is done.
        let everybody_left = async { drop(places.acquire_many(self.connections).await) };
        tokio::pin!(everybody_left);
        if timeout_at(late, &mut everybody_left).await.is_ok() {
            return true;
        }
        tell.send_replace(Stage::Closing);
        timeout_at(stopped + ending.grace, everybody_left).await.is_ok()
    }

    /// Lets nobody in any more, but leaves those who are in the queue there: to close the socket
    /// would cut them off. To others it is as if nobody listened here, until it is closed or
    /// another process listens.
    fn close_the_door(&self) {
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&self.socket).attach_filter(&NO_NEWCOMERS) {
            tracing::warn!(%error, "new connections cannot be kept out while the exchange stops");
        }
    }

    /// The next connection and its place among those allowed; beyond those, they queue outside.
    async fn next(&self, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        match free(places).await {
            Some(place) => (self.accept().await, place),
            None => std::future::pending().await,
        }
    }

    async fn accept(&self) -> TcpStream {
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => {
                    // Without it, small answers wait for the client's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return stream;
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection was not accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

/// A place, as soon as there is one.
async fn free(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(places).acquire_owned().await.ok()
}

/// Serves one connection to its end. One that breaks is the client's affair.
async fn keep<I, S>(connection: http1::Connection<I, S>, mut stage: watch::Receiver<Stage>)
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
{
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stage.wait_for(|stage| *stage == Stage::Closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Answers in a task of its own, so that a client that leaves cuts nothing off halfway, and a
/// panic is one failed request.
fn respond<H, F>(
    handler: &H,
    request: Request<Incoming>,
    place: Arc<OwnedSemaphorePermit>,
    stage: watch::Receiver<Stage>,
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
        let mut response = task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a request was not answered");
            Refusal::internal(error).to_response(&random::request_id())
        });
        if *stage.borrow() != Stage::Serving {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
