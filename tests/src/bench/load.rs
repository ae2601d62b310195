//! Clients that send as fast as they are answered, and note how long each answer took.
//!
//! Each is a blocking thread that writes bytes made in advance: on a machine with few cores, a
//! client that is expensive itself would decide the throughput.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use super::backend::BODY;

/// How long any answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What every answer begins with.
const STATUS: &[u8] = b"HTTP/1.1 200 ";

/// The requests of a case, sent in turn by all clients.
pub(super) struct Traffic {
    requests: Vec<Vec<u8>>,
    next: AtomicUsize,
}

impl Traffic {
    /// `GET path` with each of these tokens.
    pub(super) fn new<'a>(path: &str, tokens: impl IntoIterator<Item = &'a String>) -> Self {
        let request = |token| {
            format!(
                "GET {path} HTTP/1.1\r\nhost: gateway.test\r\nuser-agent: bench\r\n\
                 accept: */*\r\nauthorization: Bearer {token}\r\n\r\n"
            )
            .into_bytes()
        };
        let requests = tokens.into_iter().map(request).collect();
        Self { requests, next: AtomicUsize::new(0) }
    }

    fn next(&self) -> Result<&[u8]> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let at = turn.checked_rem(self.requests.len()).context("a case has a request")?;
        Ok(self.requests.get(at).context("a case has a request")?)
    }
}

/// Sends for as long as `duration` over so many connections; returns how long each request took,
/// in no order. An answer that is not the backend's is an error.
pub(super) fn send(
    traffic: &Traffic,
    port: u16,
    connections: u16,
    duration: Duration,
) -> Result<Vec<Duration>> {
    let until = Instant::now() + duration;
    thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| scope.spawn(|| Client::connect(port)?.send_until(until, traffic)))
            .collect();
        let mut took = Vec::new();
        for client in clients {
            took.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(took)
    })
}

struct Client {
    port: u16,
    stream: TcpStream,
    /// Whether this connection has been answered on. One that has not may not fail.
    used: bool,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(port: u16) -> Result<Self> {
        let stream = connect(port).context("cannot connect to the gateway")?;
        Ok(Self { port, stream, used: false, buffer: vec![0; 16 * 1024] })
    }

    fn send_until(mut self, until: Instant, traffic: &Traffic) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        loop {
            let start = Instant::now();
            if start >= until {
                return Ok(took);
            }
            self.send(traffic.next()?)?;
            took.push(start.elapsed());
        }
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        if let Err(error) = self.exchange(request) {
            // nginx closes a connection after so many requests; that is no failure.
            if !self.used || !is_closed(&error) {
                return Err(anyhow!("no answer of the backend: {error}"));
            }
            self.stream = connect(self.port).context("cannot connect to the gateway again")?;
            self.exchange(request).map_err(|error| anyhow!("no answer of the backend: {error}"))?;
        }
        self.used = true;
        Ok(())
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<()> {
        self.stream.write_all(request)?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(self.buffer.get_mut(filled..).unwrap_or_default())?;
            filled += read;
            let answer = self.buffer.get(..filled).unwrap_or_default();
            if read == 0 && filled == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if read == 0 || (filled >= STATUS.len() && !answer.starts_with(STATUS)) {
                let text = String::from_utf8_lossy(answer);
                return Err(io::Error::other(format!("expected 200, found {text:?}")));
            }
            if answer.ends_with(BODY.as_bytes()) {
                return Ok(());
            }
        }
    }
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn is_closed(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::bench::backend::Backend;

    fn port_of(backend: &Backend) -> u16 {
        backend.url().rsplit(':').next().unwrap().parse().unwrap()
    }

    #[test]
    fn every_request_is_answered_by_the_backend_and_timed() {
        let backend = Backend::start().unwrap();
        let traffic = Traffic::new("/", &["a".to_owned(), "b".to_owned()]);
        let took = send(&traffic, port_of(&backend), 2, Duration::from_millis(50)).unwrap();
        assert_eq!(took.len(), traffic.next.load(Ordering::Relaxed));
        assert!(took.len() > 2, "{}", took.len());
    }

    #[test]
    fn an_answer_with_another_status_ends_the_run() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            write!(stream, "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let traffic = Traffic::new("/", &["a".to_owned()]);
        let error = send(&traffic, port, 1, Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("found \"HTTP/1.1 401"), "{error}");
        server.join().unwrap();
    }
}
