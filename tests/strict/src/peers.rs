//! Who answers the filter's dispatches: the test.

use crate::headers::Headers;

/// A dispatch that the filter made.
#[derive(Debug, Clone)]
pub struct Call {
    /// The host's number of it, unique on the node.
    pub token: u32,
    /// The worker it came from.
    pub worker: usize,
    /// The context it came from.
    pub context: u32,
    /// Whether that is a root context (a tick), not a request.
    pub from_root: bool,
    /// Where to, as `host:port`.
    pub target: String,
    /// Its headers, pseudo-headers among them.
    pub headers: Headers,
    /// Its body.
    pub body: Vec<u8>,
    /// When the host gives up, in milliseconds.
    pub timeout_ms: u64,
    /// When it was made, in milliseconds since 1970.
    pub made_at_ms: u64,
}

impl Call {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.headers.text(":method").unwrap_or("")
    }

    /// The path and query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.headers.text(":path").unwrap_or("")
    }

    /// The host name that the call is for.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.headers.text(":authority").unwrap_or("")
    }

    /// Whether it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.headers.text(":scheme") == Some("https")
    }
}

/// How a peer answers a call.
#[derive(Debug, Clone)]
pub struct Answer {
    /// After how many milliseconds. One that comes after the call's timeout is lost.
    pub after_ms: u64,
    /// What then.
    pub what: What,
}

/// What happens to a call.
#[derive(Debug, Clone)]
pub enum What {
    /// A whole answer.
    Reply {
        /// The status.
        status: u16,
        /// The headers, without pseudo-headers.
        headers: Headers,
        /// The body.
        body: Vec<u8>,
    },
    /// None.
    Failure(Failure),
    /// Part of an answer, and then nothing until the call times out. On Kong the filter sees the
    /// status and what there is of the body.
    Stall {
        /// The status of the part.
        status: u16,
        /// What arrived of the body.
        body: Vec<u8>,
    },
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nobody listens, or the connection broke.
    Connection,
    /// The peer's certificate is not good for its name.
    Tls,
    /// The name does not resolve.
    Resolver,
    /// Nothing came in time.
    Timeout,
}

impl Failure {
    /// Kong's `:dispatch_status`.
    #[must_use]
    pub const fn dispatch_status(self) -> &'static str {
        match self {
            Self::Connection => "broken connection",
            Self::Tls => "tls handshake failure",
            Self::Resolver => "resolver failure",
            Self::Timeout => "timeout",
        }
    }
}

impl Answer {
    /// `status` and `body`, at once.
    #[must_use]
    pub fn reply(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = [("content-type", "application/json")].into_iter().collect();
        Self { after_ms: 0, what: What::Reply { status, headers, body: body.into() } }
    }

    /// No answer.
    #[must_use]
    pub const fn failure(failure: Failure) -> Self {
        Self { after_ms: 0, what: What::Failure(failure) }
    }

    /// `status` 200 and a part of a body that never ends.
    #[must_use]
    pub fn stall(body: impl Into<Vec<u8>>) -> Self {
        Self { after_ms: 0, what: What::Stall { status: 200, body: body.into() } }
    }

    /// The same, `ms` milliseconds later.
    #[must_use]
    pub const fn after(mut self, ms: u64) -> Self {
        self.after_ms += ms;
        self
    }
}

/// Everybody whom the filter can call.
pub trait Peers {
    /// The answer to `call`, decided when it is made.
    fn answer(&mut self, call: &Call) -> Answer;
}

impl<F: FnMut(&Call) -> Answer> Peers for F {
    fn answer(&mut self, call: &Call) -> Answer {
        self(call)
    }
}

/// Nobody listens anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Nobody;

impl Peers for Nobody {
    fn answer(&mut self, _: &Call) -> Answer {
        Answer::failure(Failure::Connection)
    }
}

/// An answer as the filter is going to read it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Delivery {
    /// What on_http_call_response is told.
    pub(crate) header_count: usize,
    /// The headers, with `:status` where there is one.
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
    /// Kong's `:dispatch_status`.
    pub(crate) dispatch_status: Option<&'static str>,
}

impl Delivery {
    /// Whether Kong tells that the call failed.
    pub(crate) fn failed(&self) -> bool {
        self.dispatch_status.is_some_and(|status| status != "ok")
    }

    /// Whether Kong tells that the call timed out.
    pub(crate) fn timed_out(&self) -> bool {
        self.dispatch_status == Some(Failure::Timeout.dispatch_status())
    }
}
