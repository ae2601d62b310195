//! The backend behind the routes: an echo server that shows what it received.

use std::{convert::Infallible, net::Ipv4Addr};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Collected, Full};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{net::TcpListener, task::AbortHandle};

/// A running echo server. Dropped, it stops accepting.
pub struct Backend {
    url: String,
    accepting: AbortHandle,
}

impl Backend {
    /// Starts on a free port.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on 127.0.0.1")?;
        let url = format!("http://{}", listener.local_addr()?);
        let accepting = tokio::spawn(accept(listener)).abort_handle();
        Ok(Self { url, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(echo)),
        );
    }
}

/// Answers with what arrived. Header values that are not text are shown with escapes.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
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
    });
    let mut response = Response::new(Full::from(format!("{seen:#}\n")));
    response
        .headers_mut()
        .insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}
