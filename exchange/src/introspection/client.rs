//! Asking an issuer about a token: the endpoint by discovery, the question by RFC 7662.

use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap};
use kombi_spec::introspection::MAX_CLAIMS_BYTES;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use tokio::{
    sync::{Mutex, Semaphore},
    time::{Duration, Instant, timeout},
};
use url::{Url, form_urlencoded};

use super::{
    Limits,
    answer::Answer,
    issuer::{AddressUnfit, Issuer, callable},
    token::Token,
};
use crate::{
    outbound::{self, Failure, Outbound},
    traces,
};

/// The largest metadata that is read, in bytes.
const MAX_METADATA_BYTES: usize = 64 * 1024;

/// The largest answer that is read, in bytes; `active` and white space come on top of the claims.
const MAX_ANSWER_BYTES: usize = MAX_CLAIMS_BYTES + 1024;

/// How long the place of the endpoint is relied on.
const ENDPOINT_CACHE: Duration = Duration::from_secs(300);

/// Why the issuer says nothing about a token.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// No answer in time.
    #[error("no answer in time")]
    Late,
    /// No connection, or it broke, or something in between says that the issuer is not there.
    #[error("{0}")]
    Unreachable(String),
    /// It is at an address that it may not be at.
    #[error("{0}")]
    AddressRefused(String),
    /// It does not know the client, or the client's secret is another.
    #[error("it refuses the client or its secret")]
    CredentialsRefused,
    /// The answer is not the protocol's.
    #[error("{0}")]
    Misbehaved(String),
}

impl AskError {
    /// The error as a metric's label.
    #[must_use]
    pub const fn as_label(&self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Unreachable(_) => "unreachable",
            Self::AddressRefused(_) => "address_refused",
            Self::CredentialsRefused => "credentials_refused",
            Self::Misbehaved(_) => "misbehaved",
        }
    }
}

/// Asks an issuer.
pub(super) struct IssuerClient {
    issuer: Issuer,
    http: Client,
    time: Duration,
    turns: Semaphore,
    discovered: Mutex<Option<Discovered>>,
}

/// Where the endpoint was last found, and until when that holds.
struct Discovered {
    endpoint: Url,
    until: Instant,
}

impl IssuerClient {
    pub(super) fn new(issuer: Issuer, outbound: &Outbound, limits: Limits) -> Self {
        Self {
            http: outbound.client(issuer.reach).clone(),
            issuer,
            time: limits.time,
            turns: Semaphore::new(limits.questions),
            discovered: Mutex::default(),
        }
    }

    /// The issuer's name.
    pub(super) fn name(&self) -> &str {
        &self.issuer.name
    }

    /// Asks about `token`; waiting for a turn and discovery take from the same time.
    pub(super) async fn ask(&self, token: &Token) -> Result<Answer, AskError> {
        let asked = async {
            let _turn = self.turns.acquire().await.map_err(|_| AskError::Late)?;
            let endpoint = self.endpoint().await?;
            self.introspect(endpoint, token).await
        };
        timeout(self.time, asked).await.unwrap_or(Err(AskError::Late))
    }

    /// Where to ask. While one looks for it, the others wait.
    async fn endpoint(&self) -> Result<Url, AskError> {
        if let Some(endpoint) = &self.issuer.endpoint {
            return Ok(endpoint.clone());
        }
        let mut discovered = self.discovered.lock().await;
        if let Some(Discovered { endpoint, until }) = &*discovered
            && Instant::now() < *until
        {
            return Ok(endpoint.clone());
        }
        let metadata = call(self.http.get(self.issuer.metadata.clone()), MAX_METADATA_BYTES).await;
        let endpoint = endpoint_in(&metadata?, &self.issuer)?;
        let until = Instant::now() + ENDPOINT_CACHE;
        *discovered = Some(Discovered { endpoint: endpoint.clone(), until });
        Ok(endpoint)
    }

    async fn introspect(&self, endpoint: Url, token: &Token) -> Result<Answer, AskError> {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("token", token.expose())
            .append_pair("token_type_hint", "access_token")
            .finish();
        let request = self
            .http
            .post(endpoint)
            .header(AUTHORIZATION, self.issuer.authorization.clone())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form);
        Answer::parse(&call(request, MAX_ANSWER_BYTES).await?)
    }
}

/// The JSON that the issuer answers `request` with, of at most `most` bytes.
pub(crate) async fn call(request: RequestBuilder, most: usize) -> Result<Vec<u8>, AskError> {
    let mut response = traces::send(request.header(ACCEPT, "application/json"), "issuer").await?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(AskError::CredentialsRefused);
        }
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
            return Err(AskError::Unreachable(format!("it answered {status}")));
        }
        status => return Err(AskError::Misbehaved(format!("it answered {status}"))),
    }
    if !is_json(response.headers()) {
        return Err(AskError::Misbehaved("its answer is not application/json".to_owned()));
    }
    let body = outbound::body(&mut response, most).await?;
    body.ok_or_else(|| AskError::Misbehaved(format!("its answer is larger than {most} bytes")))
}

fn is_json(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = media_type.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
}

/// The part of the metadata that is read (RFC 8414 section 2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    introspection_endpoint: Option<String>,
}

/// The endpoint that `metadata` names. The secret goes there, so it must be the issuer's own.
fn endpoint_in(metadata: &[u8], issuer: &Issuer) -> Result<Url, AskError> {
    let misbehaved = |problem: &str| AskError::Misbehaved(problem.to_owned());
    let Metadata { issuer: name, introspection_endpoint } =
        serde_json::from_slice(metadata).map_err(|_| misbehaved("its metadata cannot be read"))?;
    if name != issuer.name {
        return Err(misbehaved("its metadata is that of another issuer"));
    }
    let endpoint = introspection_endpoint
        .ok_or_else(|| misbehaved("its metadata names no introspection endpoint"))?;
    let endpoint = callable(&endpoint, issuer.reach).map_err(|AddressUnfit(found)| {
        AskError::Misbehaved(format!("its introspection endpoint has {found}"))
    })?;
    if endpoint.origin() != issuer.metadata.origin() {
        return Err(misbehaved("its introspection endpoint is of another origin"));
    }
    Ok(endpoint)
}

impl From<reqwest::Error> for AskError {
    fn from(error: reqwest::Error) -> Self {
        match Failure::from(error) {
            Failure::OutOfBounds(cause) => Self::AddressRefused(cause),
            Failure::NotHttp(cause) => Self::Misbehaved(cause),
            Failure::Unreachable(cause) => Self::Unreachable(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Reach;
    use hyper::header::HeaderValue;
    use serde_json::json;

    #[test]
    fn the_secret_goes_to_the_issuers_own_origin_only() {
        let issuer = Issuer::new("https://id.example", Reach::Public, "id", "secret").unwrap();
        for (name, endpoint, fits) in [
            ("https://id.example", json!("https://id.example/oauth/v2/introspect"), true),
            ("https://id.example", json!("https://id.example:443/introspect"), true),
            ("https://id.example", json!("https://id.example:444/introspect"), false),
            ("https://id.example", json!("http://id.example/introspect"), false),
            ("https://id.example", json!("https://evil.example/introspect"), false),
            ("https://id.example", json!("https://id.example@evil.example/"), false),
            ("https://id.example", json!("/introspect"), false),
            ("https://id.example", json!(null), false),
            ("https://id.example", json!(1), false),
            ("https://id.example/", json!("https://id.example/introspect"), false),
        ] {
            let metadata = json!({"issuer": name, "introspection_endpoint": endpoint});
            let found = endpoint_in(metadata.to_string().as_bytes(), &issuer);
            assert_eq!(found.is_ok(), fits, "{metadata}");
        }
    }

    #[test]
    fn an_answer_must_say_that_it_is_json() {
        for (media_type, is) in [
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/token-introspection+jwt"), false),
            (Some("text/html"), false),
            (None, false),
        ] {
            let mut headers = HeaderMap::new();
            headers.extend(media_type.map(|m| (CONTENT_TYPE, HeaderValue::from_static(m))));
            assert_eq!(is_json(&headers), is, "{media_type:?}");
        }
    }
}
