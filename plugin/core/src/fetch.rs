//! Getting an issuer's keys: OpenID Connect Discovery 1.0 section 4, then its JWK Set.

use std::time::Duration;

use serde::Deserialize;

use crate::{
    config::{HttpUrl, Issuer},
    jwks::{JwksError, KeySet},
    step::{HttpCall, HttpOutcome, Method},
};

/// Where the metadata lies below the issuer (OpenID Connect Discovery 1.0 section 4.1).
const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";

/// How long each of the two calls may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Largest document accepted: a key set must fit into the zone of the workers.
pub const MAX_BYTES: usize = 64 * 1024;

/// A fetch under way.
#[derive(Debug)]
pub struct KeyFetch {
    issuer: HttpUrl,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Discovery,
    KeySet,
}

/// Where a fetch stands after an answer.
pub enum Progress {
    /// It needs one more call.
    Call(HttpCall),
    /// It has the keys.
    Done(Fetched),
}

/// An issuer's keys, just fetched.
pub struct Fetched {
    /// The keys.
    pub keys: KeySet,
    /// The document that they were read from.
    pub document: Vec<u8>,
    /// For how long the issuer holds them to be fresh, if it says so.
    pub fresh_for: Option<Duration>,
}

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer.
    #[error("{url} did not answer: {reason}")]
    NoAnswer {
        /// What was asked for.
        url: String,
        /// The host's reason.
        reason: String,
    },
    /// An answer other than 200.
    #[error("{url} answered with status {status}")]
    Status {
        /// What was asked for.
        url: String,
        /// The status code.
        status: u16,
    },
    /// A document that is too large to be honest.
    #[error("{0} answered with more than 64 KiB")]
    TooLarge(String),
    /// The metadata is not what discovery promises.
    #[error("the issuer's metadata is unusable: {0}")]
    Metadata(String),
    /// The key set is unusable.
    #[error(transparent)]
    KeySet(#[from] JwksError),
}

impl KeyFetch {
    /// Begins to fetch the keys of `issuer`.
    #[must_use]
    pub fn begin(issuer: &Issuer) -> (Self, HttpCall) {
        let url = issuer.url.clone();
        let path = format!("{}{DISCOVERY_PATH}", url.path.trim_end_matches('/'));
        let call = call(&url, path);
        (Self { issuer: url, stage: Stage::Discovery }, call)
    }

    /// Takes the outcome of the call that was asked for last.
    pub fn advance(&mut self, outcome: HttpOutcome) -> Result<Progress, FetchError> {
        let (document, fresh_for) = self.document(outcome)?;
        match self.stage {
            Stage::Discovery => {
                let path = self.jwks_path(&document)?;
                self.stage = Stage::KeySet;
                Ok(Progress::Call(call(&self.issuer, path)))
            }
            Stage::KeySet => {
                let keys = KeySet::parse(&document)?;
                Ok(Progress::Done(Fetched { keys, document, fresh_for }))
            }
        }
    }

    /// The document in an answer, and for how long it is fresh.
    fn document(&self, outcome: HttpOutcome) -> Result<(Vec<u8>, Option<Duration>), FetchError> {
        let url = || {
            let what = match self.stage {
                Stage::Discovery => "discovery",
                Stage::KeySet => "the key set",
            };
            format!("{what} at {}", self.issuer.text)
        };
        match outcome {
            HttpOutcome::Failure(reason) => Err(FetchError::NoAnswer { url: url(), reason }),
            HttpOutcome::Answer { status: 200, cache_control, body } if body.len() <= MAX_BYTES => {
                Ok((body, cache_control.as_deref().and_then(fresh_for)))
            }
            HttpOutcome::Answer { status: 200, .. } => Err(FetchError::TooLarge(url())),
            HttpOutcome::Answer { status, .. } => Err(FetchError::Status { url: url(), status }),
        }
    }

    /// The path of `jwks_uri`. The metadata must be about this issuer (section 4.3), and the
    /// keys must lie at its own origin: a document must not send the gateway elsewhere.
    fn jwks_path(&self, body: &[u8]) -> Result<String, FetchError> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let metadata: Metadata = serde_json::from_slice(body)
            .map_err(|error| FetchError::Metadata(error.to_string()))?;
        if metadata.issuer != self.issuer.text {
            return Err(FetchError::Metadata(format!(
                "expected it to be about {}, but it is about {}",
                self.issuer.text, metadata.issuer
            )));
        }
        let keys = HttpUrl::parse(&metadata.jwks_uri)
            .map_err(|error| FetchError::Metadata(format!("jwks_uri: {error}")))?;
        if (keys.tls, &keys.address) != (self.issuer.tls, &self.issuer.address) {
            return Err(FetchError::Metadata(format!(
                "expected jwks_uri at the issuer's own origin, but it is {}",
                metadata.jwks_uri
            )));
        }
        Ok(keys.path)
    }
}

/// What `Cache-Control` says (RFC 9111 section 5.2.2): `None` if it says nothing about this, and
/// nothing at all where the document must not be kept.
fn fresh_for(cache_control: &[u8]) -> Option<Duration> {
    let text = String::from_utf8_lossy(cache_control).to_ascii_lowercase();
    let mut fresh = None;
    for directive in text.split(',').map(str::trim) {
        if matches!(directive, "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some(argument) = directive.strip_prefix("max-age=") {
            let seconds = argument.trim_matches('"').parse().map(Duration::from_secs);
            // Of two, the shorter; one that cannot be read is stale (section 4.2.1).
            let seconds = seconds.unwrap_or_default();
            fresh = Some(fresh.map_or(seconds, |other: Duration| other.min(seconds)));
        }
    }
    fresh
}

fn call(issuer: &HttpUrl, path: String) -> HttpCall {
    HttpCall {
        method: Method::Get,
        address: issuer.address.clone(),
        tls: issuer.tls,
        authority: issuer.authority.clone(),
        path,
        headers: Vec::new(),
        body: Vec::new(),
        timeout: CALL_TIMEOUT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fetch() -> (KeyFetch, HttpCall) {
        KeyFetch::begin(&Issuer::for_tests("https://id.example/tenant", &[], &[]))
    }

    fn ok(body: impl ToString) -> HttpOutcome {
        let body = body.to_string().into_bytes();
        HttpOutcome::Answer { status: 200, cache_control: None, body }
    }

    fn metadata(issuer: &str, jwks_uri: &str) -> HttpOutcome {
        ok(json!({"issuer": issuer, "jwks_uri": jwks_uri}))
    }

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
        "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    #[test]
    fn discovery_leads_to_the_keys() {
        let (mut fetch, call) = fetch();
        assert_eq!(call.address, "id.example:443");
        assert!(call.tls);
        assert_eq!(call.path, "/tenant/.well-known/openid-configuration");
        let answer = metadata("https://id.example/tenant", "https://id.example/tenant/keys?v=1");
        let Ok(Progress::Call(call)) = fetch.advance(answer) else { panic!("no second call") };
        assert_eq!(call.address, "id.example:443");
        assert_eq!(call.path, "/tenant/keys?v=1");
        let Ok(Progress::Done(fetched)) = fetch.advance(ok(KEYS)) else { panic!("no keys") };
        assert!(fetched.keys.get("k").is_some());
        assert_eq!(fetched.document, KEYS.as_bytes());
    }

    #[test]
    fn metadata_about_someone_else_or_pointing_elsewhere_is_refused() {
        let own = "https://id.example/tenant";
        for answer in [
            metadata("https://id.example", "https://id.example/keys"),
            metadata("https://id.example/tenant/", "https://id.example/keys"),
            metadata(own, "https://evil.example/keys"),
            metadata(own, "http://id.example/keys"),
            metadata(own, "https://id.example:8443/keys"),
            metadata(own, "https://id.example@evil.example/keys"),
            metadata(own, "/keys"),
            ok("{}"),
            ok("<html>"),
        ] {
            let (mut fetch, _) = fetch();
            assert!(matches!(fetch.advance(answer), Err(FetchError::Metadata(_))));
        }
    }

    #[test]
    fn only_a_whole_200_of_bounded_size_counts() {
        let oversized = "x".repeat(MAX_BYTES + 1);
        for outcome in [
            HttpOutcome::Failure("timeout".to_owned()),
            HttpOutcome::Answer { status: 500, cache_control: None, body: KEYS.into() },
            HttpOutcome::Answer { status: 302, cache_control: None, body: KEYS.into() },
            ok(oversized),
        ] {
            let (mut fetch, _) = fetch();
            assert!(fetch.advance(outcome).is_err());
        }
    }

    #[test]
    fn the_issuer_says_for_how_long_its_keys_are_fresh() {
        let cases: [(&str, Option<u64>); 12] = [
            ("max-age=300", Some(300)),
            ("public, Max-Age=300, must-revalidate", Some(300)),
            ("max-age=\"300\"", Some(300)),
            ("max-age=300, max-age=60", Some(60)),
            ("max-age=0", Some(0)),
            ("max-age=-1", Some(0)),
            ("max-age=soon", Some(0)),
            ("max-age=300, no-store", Some(0)),
            ("no-cache", Some(0)),
            ("max-age=99999999999999999999", Some(0)),
            ("public", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(fresh_for(text.as_bytes()), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(fresh_for(b"\xff, max-age=7"), Some(Duration::from_secs(7)));
    }
}
