//! What came back from a request, read to its end.

use std::time::Duration;

use anyhow::{Context, Result};
use kombi_spec::{code::Code, problem::Problem};
use reqwest::{
    Client, ClientBuilder, RequestBuilder, Response, header::HeaderMap, redirect::Policy,
};
use serde_json::Value;

/// How long any answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A client that goes straight to its address and follows nothing.
pub fn client() -> Result<Client> {
    Ok(builder().build()?)
}

/// A client like [`client`] that takes any certificate.
pub fn careless_client() -> Result<Client> {
    Ok(builder().tls_danger_accept_invalid_certs(true).build()?)
}

fn builder() -> ClientBuilder {
    // Built together with the exchange, reqwest demands a TLS provider even for plain HTTP. One
    // that is installed already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(Policy::none()).timeout(TIMEOUT)
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Sends `request` and reads the whole answer.
    pub async fn to(request: RequestBuilder) -> Result<Self> {
        Self::read(request.send().await.context("no answer")?).await
    }

    /// The whole of an answer of which the head is here.
    pub async fn read(answer: Response) -> Result<Self> {
        Ok(Self {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.context("the answer was cut")?.to_vec(),
        })
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as a problem document.
    pub fn problem(&self) -> Result<Problem> {
        serde_json::from_slice(&self.body).with_context(|| {
            let body = String::from_utf8_lossy(&self.body);
            format!("expected a problem document, found status {} and {body:?}", self.status)
        })
    }

    /// The code of the problem document, if the body is one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        self.problem().ok().map(|problem| problem.code)
    }

    /// The value of a header, if it is there and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The gateway's id of the request: Kong's own header, or Envoy's.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.header("x-kong-request-id").or_else(|| self.header("x-request-id"))
    }

    /// The status and, for a refusal, its code.
    #[must_use]
    pub fn summary(&self) -> String {
        match self.code() {
            Some(code) => format!("{} {}", self.status, code.as_str()),
            None => self.status.to_string(),
        }
    }
}
