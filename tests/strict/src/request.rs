//! A request as a client sends it.

use crate::headers::Headers;

/// A request, and how its upstream would answer it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The client's address, as the host sees it through the proxies that it trusts.
    pub source: String,
    /// The path and query, as sent.
    pub target: Vec<u8>,
    /// The headers, as sent: order, case and bytes are kept.
    pub headers: Headers,
    /// The body; empty means that there is none.
    pub body: Vec<u8>,
    /// The trailers, on Envoy over HTTP/2 only; mostly there are none.
    pub trailers: Headers,
    /// What the upstream answers, if the request reaches it.
    pub upstream: UpstreamAnswer,
}

/// The upstream's answer.
#[derive(Debug, Clone)]
pub struct UpstreamAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body, chunk by chunk.
    pub chunks: Vec<Vec<u8>>,
    /// Whether the client goes away before the end: then there is no end of stream.
    pub client_leaves: bool,
}

impl Default for UpstreamAnswer {
    fn default() -> Self {
        Self {
            status: 200,
            headers: [("content-type", "text/plain")].into_iter().collect(),
            chunks: vec![b"hello".to_vec()],
            client_leaves: false,
        }
    }
}

impl Request {
    /// A request with `method` to `target`.
    #[must_use]
    pub fn new(method: &str, target: impl Into<Vec<u8>>) -> Self {
        Self {
            method: method.to_owned(),
            source: "192.0.2.7".to_owned(),
            target: target.into(),
            headers: Headers::default(),
            body: Vec::new(),
            trailers: Headers::default(),
            upstream: UpstreamAnswer::default(),
        }
    }

    /// A GET of `target`.
    #[must_use]
    pub fn get(target: impl Into<Vec<u8>>) -> Self {
        Self::new("GET", target)
    }

    /// The same, with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The same, from a client at `address`.
    #[must_use]
    pub fn from(mut self, address: &str) -> Self {
        address.clone_into(&mut self.source);
        self
    }

    /// The same, with `token` as its bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    /// The same, with a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The same, with one more trailer.
    #[must_use]
    pub fn trailer(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.trailers.push(name, value);
        self
    }

    /// The same, answered so by the upstream.
    #[must_use]
    pub fn answered(mut self, upstream: UpstreamAnswer) -> Self {
        self.upstream = upstream;
        self
    }

    /// The path without the query, percent-decoded as nginx does.
    pub(crate) fn decoded_path(&self) -> Vec<u8> {
        let path = self.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        let mut decoded = Vec::with_capacity(path.len());
        let mut rest = path;
        while let Some((first, after)) = rest.split_first() {
            let hex = |byte: &u8| char::from(*byte).to_digit(16);
            if let (b'%', [high, low, after @ ..]) = (first, after)
                && let (Some(high), Some(low)) = (hex(high), hex(low))
                && let Ok(byte) = u8::try_from(high * 16 + low)
            {
                decoded.push(byte);
                rest = after;
            } else {
                decoded.push(*first);
                rest = after;
            }
        }
        decoded
    }

    /// The query with its question mark, or nothing.
    pub(crate) fn query(&self) -> &[u8] {
        let at = self.target.iter().position(|byte| *byte == b'?').unwrap_or(self.target.len());
        self.target.get(at..).unwrap_or_default()
    }
}
