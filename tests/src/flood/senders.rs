//! The flood itself: blocking threads that write bytes, so that it is the gateway that is measured.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};
use fastrand::Rng;
use kombi_spec::problem::Problem;

use super::tokens::Forger;

/// How long any answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the tokens go.
const PATH: &str = "/user";

/// How often each answer came: by status, and by code where there is one.
pub(super) type Answers = BTreeMap<String, u64>;

/// A flood.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flood {
    pub(super) port: u16,
    pub(super) connections: u16,
    /// Requests a second; zero for as many as are answered.
    pub(super) rate: u32,
    pub(super) duration: Duration,
}

impl Flood {
    /// Sends made-up tokens; what they were answered with.
    pub(super) fn send(self, forger: &Forger) -> Result<Answers> {
        let begin = Instant::now();
        let sent = AtomicU32::new(0);
        thread::scope(|scope| {
            let clients: Vec<_> = (0..self.connections)
                .map(|_| scope.spawn(|| self.client(begin, &sent, forger)))
                .collect();
            let mut answers = Answers::new();
            for client in clients {
                for (answer, count) in client.join().map_err(|_| anyhow!("a client panicked"))?? {
                    *answers.entry(answer).or_default() += count;
                }
            }
            Ok(answers)
        })
    }

    fn client(self, begin: Instant, sent: &AtomicU32, forger: &Forger) -> Result<Answers> {
        let mut answers = Answers::new();
        let mut rng = Rng::new();
        let mut connection = None;
        loop {
            let turn = sent.fetch_add(1, Ordering::Relaxed);
            if self.rate > 0 {
                let due = begin + Duration::from_secs(1) * turn / self.rate;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            if begin.elapsed() >= self.duration {
                return Ok(answers);
            }
            let request = format!(
                "GET {PATH} HTTP/1.1\r\nhost: gateway.test\r\nauthorization: Bearer {}\r\n\r\n",
                forger.token(&mut rng)
            );
            let answer = self.exchange(&mut connection, &request)?;
            *answers.entry(answer).or_default() += 1;
        }
    }

    /// Sends a request, over a new connection if the gateway has said that it closes the last one.
    /// Any other end of a connection is told as an answer: a worker that dies must not pass
    /// unnoticed.
    fn exchange(self, connection: &mut Option<TcpStream>, request: &str) -> Result<String> {
        let stream = match connection {
            Some(stream) => stream,
            None => connection.insert(self.connect()?),
        };
        let told = exchange(stream, request);
        if !matches!(told, Ok(Told { closes: false, .. })) {
            *connection = None;
        }
        Ok(match told {
            Ok(told) => told.answer,
            Err(error) => format!("no answer: {}", error.kind()),
        })
    }

    fn connect(self) -> Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
            .context("cannot connect to the gateway")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }
}

/// What a whole answer tells.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    /// The status, and the code if there is one.
    answer: String,
    /// Whether the connection ends with it.
    closes: bool,
}

fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<Told> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some(told) = told(&answer) {
            return Ok(told);
        }
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(buffer.get(..read).unwrap_or_default());
    }
}

/// What an answer tells; nothing yet while it is not whole.
fn told(answer: &[u8]) -> Option<Told> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let field = |wanted: &str| {
        head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let length: usize = field("content-length")?.parse().ok()?;
    let body = answer.get(end..end + length)?;
    let status = head.split(' ').nth(1).unwrap_or("?");
    let problem: Option<Problem> = serde_json::from_slice(body).ok();
    let answer = match problem {
        Some(problem) => format!("{status} {}", problem.code.as_str()),
        None => status.to_owned(),
    };
    let closes = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Some(Told { answer, closes })
}

#[cfg(test)]
mod tests {
    use kombi_spec::code::Code;

    use super::*;

    #[test]
    fn an_answer_is_told_when_it_is_whole() {
        let problem = Problem::new(Code::KeyUnknown, "d", "r");
        let body = serde_json::to_string(&problem).unwrap();
        let answer =
            format!("HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let expect = |answer: &str, closes| Some(Told { answer: answer.to_owned(), closes });
        assert_eq!(told(answer.as_bytes()), expect("401 key_unknown", false));
        assert_eq!(told(&answer.as_bytes()[..answer.len() - 1]), None);
        let last = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(told(last), expect("200", true));
        assert_eq!(told(b"HTTP/1.1 200 OK\r\n"), None);
    }
}
