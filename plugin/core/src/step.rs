//! What the core asks of the host.

use std::{fmt, rc::Rc, time::Duration};

use crate::refusal::{Refusal, Reply};

/// What happens next with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send the request to its upstream.
    Forward(Forward),
    /// Answer the client; the upstream never sees the request.
    Reply(Reply),
    /// Answer the client with this JSON document, which is no refusal.
    Answer(Vec<u8>),
    /// Make this call and come back with its outcome.
    Call(HttpCall),
    /// Hand over the request's whole body before anything of the request goes on.
    Body,
    /// Come back in a moment: others fetch the keys. The host knows how to wait.
    Wait,
}

/// How a request goes on to its upstream. See [`Passage::headers`] for the headers to set.
///
/// [`Passage::headers`]: crate::gate::Passage::headers
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forward {
    /// Who calls, as headers; none if the request may pass without a token.
    pub identity: Option<Rc<[SetHeader]>>,
    /// More headers, for this request alone.
    pub headers: Vec<SetHeader>,
    /// How it leaves the platform, where its upstream is somebody else's.
    pub departure: Option<Departure>,
    /// Why the request would not pass, on a route in shadow mode: to be logged and counted.
    pub would_refuse: Option<Refusal>,
}

/// How a request leaves for somebody else's upstream: with nothing of the client's that was not
/// meant for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The only headers of the client's that go with it, names in lower case. On Kong, which
    /// cannot remove headers in a filter, the provider's service sees to it.
    pub keeps: &'static [&'static str],
}

/// Sets a header, in place of any value it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetHeader {
    /// The name, in lower case.
    pub name: &'static str,
    /// The value: visible ASCII only, so nothing can be smuggled in.
    pub value: String,
}

/// A call that the gate needs answered before it can decide.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpCall {
    /// The method.
    pub method: Method,
    /// Where to connect to, as `host:port`.
    pub address: String,
    /// Whether to speak TLS, verified for the host of `authority`.
    pub tls: bool,
    /// The `Host` of the request.
    pub authority: String,
    /// The path and query.
    pub path: String,
    /// Headers beside those that every call has; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body; none if it is empty.
    pub body: Vec<u8>,
    /// When to give up.
    pub timeout: Duration,
}

/// The method of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
}

impl Method {
    /// The method as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }
}

/// Tells where to, and no more: headers and body may hold what must not get into a log.
impl fmt::Debug for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method.as_str(), self.address, self.path)
    }
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
