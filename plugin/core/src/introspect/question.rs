//! One question to the exchange, and its answer.

use std::{rc::Rc, time::Duration};

use kombi_spec::{
    code::Code,
    introspection::{
        ACTIVE_CACHE_S, INACTIVE_CACHE_S, IntrospectionAnswer, IntrospectionRequest,
        MAX_CLAIMS_BYTES, MAX_TOKEN_BYTES, PATH,
    },
    problem::Problem,
};
use serde_json::{Map, Value};

use crate::{
    exchange::Exchange,
    json,
    refusal::Refusal,
    step::{HttpCall, HttpOutcome},
    time::UnixTime,
    token::Claims,
};

/// Largest answer that is read: the largest claims, and what is around them.
const MAX_BYTES: usize = MAX_CLAIMS_BYTES + 1024;

/// For how long the exchange is not asked again about a token if it did not say.
const FAILURE_CACHE: Duration = Duration::from_secs(1);

/// What a token is remembered by: the SHA-256 of everything that decides what it means.
pub(super) type Fingerprint = [u8; 32];

/// An opaque token, as the exchange takes it: a `b64token` (RFC 6750 section 2.1). It has no
/// `Debug`, because the token must not get into a log.
#[derive(Clone, Copy)]
pub struct Opaque<'a>(&'a str);

impl<'a> Opaque<'a> {
    /// Reads a token whose characters are those of a bearer token.
    pub fn parse(token: &'a str) -> Result<Self, Refusal> {
        let malformed = |detail: String| Refusal::new(Code::TokenMalformed, detail);
        if token.len() > MAX_TOKEN_BYTES {
            let detail = format!("the opaque token is longer than {MAX_TOKEN_BYTES} bytes");
            return Err(malformed(detail));
        }
        let body = token.trim_end_matches('=');
        if body.is_empty() || body.contains('=') {
            return Err(malformed("the token is neither a JWT nor an opaque token".to_owned()));
        }
        Ok(Self(token))
    }

    /// What the token is remembered by, where `issuer` is asked about it through `exchange`.
    pub(super) fn fingerprint(self, issuer: &str, exchange: &Exchange) -> Option<Fingerprint> {
        // No URL and no token holds a line feed, so no two of these are the same text.
        let text = format!("{}\n{issuer}\n{}", exchange.url.text, self.0);
        kombi_gate_crypto::sha256(text.as_bytes()).try_into().ok()
    }

    /// The call that asks `exchange` what `issuer` says; `None` only if signing fails.
    #[must_use]
    pub fn ask(
        self,
        issuer: &str,
        exchange: &Exchange,
        id: &str,
        now: UnixTime,
    ) -> Option<HttpCall> {
        let question = IntrospectionRequest { issuer: issuer.to_owned(), token: self.0.to_owned() };
        exchange.ask(PATH, &serde_json::to_vec(&question).ok()?, id, now)
    }
}

/// What the exchange says, and for how long it may be relied on.
#[derive(Clone)]
pub enum Answer {
    /// The token is good, and this is what it says. Still to be judged as a JWT's claims are.
    Active(Rc<Claims>, Duration),
    /// It is not, or not any more.
    Inactive(Duration),
}

/// The exchange did not say.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No answer.
    #[error("the exchange did not answer: {0}")]
    NoAnswer(String),
    /// A refusal.
    #[error("the exchange answered with status {status} ({})", code.map_or("no code", Code::as_str))]
    Refused {
        /// The status.
        status: u16,
        /// The code of its problem document, if it is one.
        code: Option<Code>,
    },
    /// Something else than the contract says.
    #[error("the exchange's answer is not an introspection: {0}")]
    Misbehaved(&'static str),
}

impl AskError {
    /// For how long the failure is remembered.
    pub(super) const RELIED_ON: Duration = FAILURE_CACHE;
}

impl Answer {
    /// Reads how a call ended. An error quotes nothing of the answer: there may be personal data.
    pub fn read(outcome: HttpOutcome) -> Result<Self, AskError> {
        let body = match outcome {
            HttpOutcome::Failure(reason) => return Err(AskError::NoAnswer(reason)),
            HttpOutcome::Answer { status: 200, body, .. } => body,
            HttpOutcome::Answer { status, body, .. } => {
                let problem: Option<Problem> = serde_json::from_slice(&body).ok();
                return Err(AskError::Refused {
                    status,
                    code: problem.map(|problem| problem.code),
                });
            }
        };
        if body.len() > MAX_BYTES {
            return Err(AskError::Misbehaved("it is too large"));
        }
        let answer = json::parse_object(&body)
            .map_err(|_| AskError::Misbehaved("it is not one unambiguous JSON object"))?;
        let answer: IntrospectionAnswer<Map<String, Value>> =
            serde_json::from_value(Value::Object(answer))
                .map_err(|_| AskError::Misbehaved("it has not the members of one"))?;
        let relied_on = |most: u64| Duration::from_secs(answer.cache_for_s.min(most));
        match (answer.active, answer.claims) {
            (true, Some(claims)) => {
                let claims = Rc::new(Claims::new(claims, false));
                Ok(Self::Active(claims, relied_on(ACTIVE_CACHE_S)))
            }
            (true, None) => Err(AskError::Misbehaved("an active token has no claims")),
            (false, _) => Ok(Self::Inactive(relied_on(INACTIVE_CACHE_S))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answered(status: u16, body: &str) -> Result<Answer, AskError> {
        Answer::read(HttpOutcome::Answer { status, cache_control: None, body: body.into() })
    }

    #[test]
    fn an_opaque_token_is_what_the_exchange_takes() {
        let longest = "a".repeat(MAX_TOKEN_BYTES);
        for (token, fits) in [
            ("pat-1.2_3~4+5/6==", true),
            (&longest, true),
            (&format!("{longest}a"), false),
            ("", false),
            ("==", false),
            ("a=b", false),
        ] {
            assert_eq!(Opaque::parse(token).is_ok(), fits, "{}", token.len());
        }
    }

    #[test]
    fn an_active_token_has_claims_and_a_time() {
        for (cache_for_s, relied_on) in [(0, 0), (7, 7), (60, 60), (61, 60), (u64::MAX, 60)] {
            let body = json!({"active": true, "claims": {"sub": "1"}, "cache_for_s": cache_for_s});
            let Ok(Answer::Active(claims, time)) = answered(200, &body.to_string()) else {
                panic!("not active");
            };
            assert_eq!(claims.subject().unwrap(), "1");
            assert_eq!(time, Duration::from_secs(relied_on));
        }
        let body = json!({"active": false, "cache_for_s": 60}).to_string();
        let Ok(Answer::Inactive(time)) = answered(200, &body) else { panic!("active") };
        assert_eq!(time, Duration::from_secs(10));
    }

    #[test]
    fn anything_else_is_no_answer_and_is_not_quoted() {
        let deep = format!("{}1{}", "{\"a\":".repeat(20), "}".repeat(20));
        let large = "x".repeat(MAX_BYTES);
        for (status, body) in [
            (200, String::new()),
            (200, "SECRET".to_owned()),
            (200, "{}".to_owned()),
            (200, r#"{"active":true}"#.to_owned()),
            (200, r#"{"active":true,"cache_for_s":60}"#.to_owned()),
            (200, r#"{"active":true,"claims":null,"cache_for_s":60}"#.to_owned()),
            (200, r#"{"active":true,"claims":"SECRET","cache_for_s":60}"#.to_owned()),
            (200, r#"{"active":"true","claims":{},"cache_for_s":60}"#.to_owned()),
            (200, r#"{"active":1,"claims":{},"cache_for_s":60}"#.to_owned()),
            (200, r#"{"active":true,"claims":{},"cache_for_s":-1}"#.to_owned()),
            (200, r#"{"active":false,"active":true,"claims":{},"cache_for_s":1}"#.to_owned()),
            (200, r#"{"active":true,"claims":{"sub":"1","sub":"2"},"cache_for_s":1}"#.to_owned()),
            (200, format!(r#"{{"active":true,"claims":{deep},"cache_for_s":1}}"#)),
            (200, format!(r#"{{"active":true,"claims":{{"x":"{large}"}},"cache_for_s":1}}"#)),
            (201, r#"{"active":true,"claims":{},"cache_for_s":60}"#.to_owned()),
            (302, String::new()),
            (500, "SECRET".to_owned()),
        ] {
            let error = answered(status, &body).err().expect(&body);
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
        let failure = Answer::read(HttpOutcome::Failure("timeout".to_owned())).err().unwrap();
        assert_eq!(failure.to_string(), "the exchange did not answer: timeout");
        let problem = Problem::new(Code::IntrospectionNotConfigured, "x", "r");
        let error = answered(501, &serde_json::to_string(&problem).unwrap()).err().unwrap();
        assert!(error.to_string().contains("501 (introspection_not_configured)"), "{error}");
    }
}
