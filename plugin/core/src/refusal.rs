//! A refusal, and the answer that tells the client of it.

mod grpc;
mod openai;

use std::time::Duration;

use kombi_spec::{
    code::Code,
    problem::{MEDIA_TYPE, Problem, QUOTA_EXCEEDED},
};

use crate::{limit::Told, request::Head};

/// Why a request does not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable code.
    pub code: Code,
    /// What was expected and what was found. The client sees it: no secret, no byte of a token.
    pub detail: String,
    /// What lies behind it; for the log only.
    pub cause: Option<String>,
    /// Who was refused, where a verified token says so; for the log only.
    pub subject: Option<String>,
    /// What the client is told of its limits, where one of them refuses.
    pub limits: Option<Box<Told>>,
    /// When the client may try again, in whole seconds, where that is known.
    pub retry_after_s: Option<u64>,
}

/// A whole answer to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// What the answer is about; for the log.
    pub refusal: Refusal,
}

impl Refusal {
    /// A refusal with `code`, because of `detail`.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            cause: None,
            subject: None,
            limits: None,
            retry_after_s: None,
        }
    }

    /// The same refusal, with what lies behind it, if anything does.
    #[must_use]
    pub fn because(mut self, cause: Option<impl std::fmt::Display>) -> Self {
        self.cause = cause.map(|cause| cause.to_string());
        self
    }

    /// The same refusal, of the user `subject`, whose token was verified.
    #[must_use]
    pub fn about(self, subject: &str) -> Self {
        Self { subject: Some(subject.to_owned()), ..self }
    }

    /// The same refusal, of which the client should know when to try again.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after_s: Some(wait.as_secs()), ..self }
    }

    /// The answer to a client of OpenAI's API.
    #[must_use]
    pub fn into_openai_reply(self, request_id: &str) -> Reply {
        openai::reply(self, request_id)
    }

    /// The answer to the client that sent `head`, in the protocol that it speaks.
    #[must_use]
    pub fn into_reply_to(self, head: &Head) -> Reply {
        if grpc::is_spoken_in(head) {
            grpc::reply(self, head.request_id())
        } else {
            self.into_reply(head.request_id())
        }
    }

    /// The answer to the client: a problem document, with the challenge that belongs to it.
    #[must_use]
    pub fn into_reply(self, request_id: &str) -> Reply {
        let detail = format!("{}. {}", self.detail, self.code.advice());
        let mut problem = Problem::new(self.code, detail, request_id);
        let mut headers =
            vec![("content-type", MEDIA_TYPE.to_owned()), ("cache-control", "no-store".to_owned())];
        headers.extend(self.challenge().map(|value| ("www-authenticate", value)));
        headers.extend(self.wait().map(|seconds| ("retry-after", seconds.to_string())));
        if let Some(told) = &self.limits {
            problem.kind = QUOTA_EXCEEDED.to_owned();
            problem.violated_policies.clone_from(&told.violated);
            headers.extend(told.headers.iter().cloned());
        }
        Reply {
            status: problem.status,
            headers,
            // A struct of strings and numbers always serialises.
            body: serde_json::to_vec(&problem).unwrap_or_default(),
            refusal: self,
        }
    }

    /// `Retry-After`, in seconds.
    fn wait(&self) -> Option<u64> {
        self.retry_after_s.or_else(|| (self.code.status() == 503).then_some(RETRY_AFTER_S))
    }

    /// `WWW-Authenticate`, with the error codes of RFC 6750 section 3.1.
    fn challenge(&self) -> Option<String> {
        let error = match self.code {
            Code::TokenMissing => return Some(format!("Bearer realm=\"{REALM}\"")),
            Code::CredentialsMalformed => "invalid_request",
            Code::RoleMissing
            | Code::RolesNotAsserted
            | Code::OrganisationForbidden
            | Code::DelegationRefused => "insufficient_scope",
            code if code.status() == 401 => "invalid_token",
            _ => return None,
        };
        let title = self.code.title();
        Some(format!("Bearer realm=\"{REALM}\", error=\"{error}\", error_description=\"{title}\""))
    }
}

/// The protection space of every route behind the gate (RFC 9110 section 11.5).
const REALM: &str = "kombisphere";

/// When a client may try again after a 503, in seconds.
const RETRY_AFTER_S: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_refusal_is_a_problem_document_with_its_challenge() {
        let reply = Refusal::new(Code::TokenExpired, "the token expired 7 s ago").into_reply("r1");
        assert_eq!(reply.status, 401);
        assert_eq!(header(&reply, "content-type"), Some("application/problem+json"));
        assert_eq!(
            header(&reply, "www-authenticate"),
            Some(
                "Bearer realm=\"kombisphere\", error=\"invalid_token\", \
                 error_description=\"the token has expired\""
            )
        );
        let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(problem.code, Code::TokenExpired);
        assert_eq!(problem.kind, "urn:kombisphere:problem:token_expired");
        assert_eq!(problem.request_id, "r1");
    }

    #[test]
    fn every_401_and_403_of_the_gate_carries_a_challenge() {
        for (code, challenged) in [
            (Code::TokenMissing, true),
            (Code::SignatureInvalid, true),
            (Code::NotAnAccessToken, true),
            (Code::RoleMissing, true),
            (Code::RolesNotAsserted, true),
            (Code::OrganisationForbidden, true),
            (Code::DelegationRefused, true),
            (Code::HeaderReserved, false),
            (Code::KeysUnavailable, false),
        ] {
            let reply = Refusal::new(code, "x").into_reply("r");
            assert_eq!(header(&reply, "www-authenticate").is_some(), challenged, "{code:?}");
        }
        let reply = Refusal::new(Code::KeysUnavailable, "x").into_reply("r");
        assert_eq!(header(&reply, "retry-after"), Some("1"));
    }
}
