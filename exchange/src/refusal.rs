//! A refusal, and the answer that tells the client of it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
    },
};
use kombi_spec::{
    code::Code,
    problem::{MEDIA_TYPE, Problem},
    usage::reserve::{Budget, Exhausted},
};

use crate::store::StoreError;

/// Why a request does not get what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What was expected and what was found. The client sees it: no secret, nothing internal.
    pub detail: String,
    /// What lies behind it; for the log only.
    pub cause: Option<String>,
    /// The budget that is used up, where that is the reason.
    pub budget: Option<Budget>,
    /// The methods that the route takes, where the request's was another.
    pub allowed: Option<&'static str>,
}

/// When a client may try again after a 503, in seconds.
const RETRY_AFTER_S: &str = "1";

impl Refusal {
    /// A refusal with `code`, because of `detail`.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), cause: None, budget: None, allowed: None }
    }

    /// The same refusal, with what lies behind it.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// The same refusal, because `budget` is used up.
    #[must_use]
    pub fn with_budget(self, budget: Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// The route takes the methods `allowed`, separated by commas, and no other.
    #[must_use]
    pub fn method_not_allowed(allowed: &'static str) -> Self {
        let refusal =
            Self::new(Code::MethodNotAllowed, format!("this is asked for with {allowed}"));
        Self { allowed: Some(allowed), ..refusal }
    }

    /// The exchange itself failed, because of `cause`.
    #[must_use]
    pub fn internal(cause: impl std::fmt::Display) -> Self {
        Self::new(Code::Internal, "the exchange could not complete the request").because(cause)
    }

    /// The answer to the client: a problem document with the headers that belong to it.
    #[must_use]
    pub fn to_response(&self, request_id: &str) -> Response<Full<Bytes>> {
        let detail = format!("{}. {}", self.detail, self.code.advice());
        let problem = Problem::new(self.code, detail, request_id);
        let status = problem.status;
        let body = match self.budget.clone() {
            Some(budget) => serde_json::to_vec(&Exhausted { problem, budget }),
            None => serde_json::to_vec(&problem),
        };
        // A struct of strings and numbers always serialises.
        let mut response = Response::new(Full::new(body.unwrap_or_default().into()));
        *response.status_mut() =
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        match status {
            401 => headers.insert(WWW_AUTHENTICATE, challenge(self.code)),
            405 => headers.insert(ALLOW, self.allow()),
            // The rest of the request may still be on its way; it has no reader.
            408 | 413 => headers.insert(CONNECTION, HeaderValue::from_static("close")),
            429 => headers.insert(RETRY_AFTER, self.retry_after()),
            503 => headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S)),
            _ => None,
        };
        response
    }
}

/// What the disk did not take is not acknowledged, and may be tried again.
impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if error.is_of_the_storage() {
            let detail = "what belongs to the request could not be stored";
            return Self::new(Code::StorageUnavailable, detail).because(error);
        }
        Self::internal(error)
    }
}

impl Refusal {
    /// The methods that the route takes; most take this one.
    fn allow(&self) -> HeaderValue {
        HeaderValue::from_static(self.allowed.unwrap_or("POST"))
    }

    /// When the budget begins anew.
    fn retry_after(&self) -> HeaderValue {
        let s = self.budget.as_ref().map(|budget| budget.resets_in_s.max(1));
        s.map_or(HeaderValue::from_static(RETRY_AFTER_S), HeaderValue::from)
    }
}

/// The challenge of the scheme that only the gate can meet (RFC 9110 section 11.6.1).
fn challenge(code: Code) -> HeaderValue {
    let text = format!("Kombi-Assertion realm=\"kombi-exchange\", error=\"{}\"", code.as_str());
    HeaderValue::try_from(text)
        .unwrap_or_else(|_| HeaderValue::from_static("Kombi-Assertion realm=\"kombi-exchange\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn a_refusal_is_a_problem_document_that_hides_its_cause() {
        let refusal = Refusal::internal("disk on fire");
        let response = refusal.to_response("r1");
        assert_eq!(response.status(), 500);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem.kind, "urn:kombisphere:problem:internal");
        assert_eq!(problem.request_id, "r1");
        assert!(!problem.detail.contains("fire"));
    }

    #[test]
    fn every_status_has_the_header_that_belongs_to_it() {
        for code in Code::ALL {
            let response = Refusal::new(*code, "x").to_response("r");
            assert_eq!(response.status().as_u16(), code.status());
            for (status, header) in [
                (401, WWW_AUTHENTICATE),
                (405, ALLOW),
                (408, CONNECTION),
                (429, RETRY_AFTER),
                (503, RETRY_AFTER),
            ] {
                let there = response.headers().contains_key(&header);
                assert!(code.status() != status || there, "{code:?} lacks {header}");
            }
        }
    }
}
