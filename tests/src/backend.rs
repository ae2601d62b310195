//! The backend behind the routes: an echo server that shows what it received.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use http_body_util::{BodyExt, Collected, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
};
use serde_json::json;

use crate::listening::Listening;

/// A running echo server. Dropped, it stops accepting.
pub struct Backend(Listening);

impl Backend {
    /// Starts on a free port.
    pub async fn start() -> Result<Self> {
        Listening::start(echo).await.map(Self)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.url()
    }
}

/// Answers with what arrived. Header values that are not text are shown with escapes.
async fn echo(request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| [name.to_string(), value.as_bytes().escape_ascii().to_string()])
        .collect();
    let seen = json!({
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
        "body_base64": STANDARD.encode(&body),
    });
    let mut response = Response::new(Full::from(format!("{seen:#}\n")));
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    response
}
