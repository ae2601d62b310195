//! What the core asks of the host.

use std::time::Duration;

use crate::refusal::{Refusal, Reply};

/// What happens next with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send the request to its upstream.
    Forward(Forward),
    /// Answer the client; the upstream never sees the request.
    Reply(Reply),
    /// Make this call and come back with its outcome.
    Call(HttpCall),
    /// Come back in a moment: others fetch the keys. The host knows how to wait.
    Wait,
}

/// How a request goes on to its upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The headers to set.
    pub headers: Vec<SetHeader>,
    /// Why the request would not pass, on a route in shadow mode: to be logged and counted.
    pub would_refuse: Option<Refusal>,
}

/// Sets a header, in place of any value it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetHeader {
    /// The name, in lower case.
    pub name: &'static str,
    /// The value: visible ASCII only, so nothing can be smuggled in.
    pub value: String,
}

/// A GET that the gate needs answered before it can decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// Where to connect to, as `host:port`.
    pub address: String,
    /// Whether to speak TLS, verified for the host of `authority`.
    pub tls: bool,
    /// The `Host` of the request.
    pub authority: String,
    /// The path and query.
    pub path: String,
    /// When to give up.
    pub timeout: Duration,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpOutcome {
    /// A whole answer arrived.
    Answer {
        /// The status code.
        status: u16,
        /// The value of `Cache-Control`, if there is one.
        cache_control: Option<Vec<u8>>,
        /// The whole body.
        body: Vec<u8>,
    },
    /// None did, for the host's own reason ("timeout", "broken connection", …).
    Failure(String),
}
