//! What became of a request.

use kombi_spec::{code::Code, problem::Problem};

use crate::headers::Headers;

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It reached its upstream.
    Forwarded {
        /// What the upstream saw.
        upstream: Seen,
        /// What the client got.
        response: Response,
    },
    /// The filter answered it.
    Answered(Response),
    /// The guest trapped: a bare 500.
    Broken,
    /// The client was cut off, or went away.
    CutOff,
}

/// A request as its upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The headers, without pseudo-headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
    /// The trailers.
    pub trailers: Headers,
}

/// A response as the client got it.
#[derive(Debug, Clone, Default)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Vec<u8>,
}

impl Outcome {
    /// Whether the request reached its upstream.
    #[must_use]
    pub const fn is_forwarded(&self) -> bool {
        matches!(self, Self::Forwarded { .. })
    }

    /// The response that the client got, if it got one that was not made of a trap.
    #[must_use]
    pub const fn response(&self) -> Option<&Response> {
        match self {
            Self::Forwarded { response, .. } | Self::Answered(response) => Some(response),
            Self::Broken | Self::CutOff => None,
        }
    }

    /// The status that the client saw; 0 if it was cut off.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Forwarded { response, .. } | Self::Answered(response) => response.status,
            Self::Broken => 500,
            Self::CutOff => 0,
        }
    }

    /// The problem document, if the filter refused the request with one.
    #[must_use]
    pub fn problem(&self) -> Option<Problem> {
        match self {
            Self::Answered(response) => serde_json::from_slice(&response.body).ok(),
            _ => None,
        }
    }

    /// The refusal's code.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.code)
    }

    /// A header that the upstream saw.
    #[must_use]
    pub fn upstream_header(&self, name: &str) -> Option<&str> {
        match self {
            Self::Forwarded { upstream, .. } => upstream.headers.text(name),
            _ => None,
        }
    }
}
