//! A refusal as the clients of OpenAI's API understand it: the object `error` that this API
//! answers with, which official clients turn into exceptions of their own.

use kombi_spec::code::Code;
use serde::Serialize;

use super::{Refusal, Reply};

#[derive(Serialize)]
struct Body<'a> {
    error: Error<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<&'static str>,
    /// The stable code, as everywhere; OpenAI's own where there is one for this.
    code: &'a str,
}

pub(super) fn reply(refusal: Refusal, request_id: &str) -> Reply {
    let code = refusal.code;
    let body = Body {
        error: Error {
            message: format!("{}. {} (request {request_id})", refusal.detail, code.advice()),
            kind: kind(code),
            param: (code == Code::ModelNotFound).then_some("model"),
            code: code.as_str(),
        },
    };
    let mut headers = vec![
        ("content-type", "application/json".to_owned()),
        ("cache-control", "no-store".to_owned()),
        // Official clients show it with their exceptions.
        ("x-request-id", request_id.to_owned()),
    ];
    headers.extend(refusal.challenge().map(|value| ("www-authenticate", value)));
    headers.extend(refusal.wait().map(|seconds| ("retry-after", seconds.to_string())));
    if let Some(told) = &refusal.limits {
        headers.extend(told.headers.iter().cloned());
    }
    if code == Code::QuotaExhausted {
        // Official clients try again after any 429; here that would be in vain.
        headers.push(("x-should-retry", "false".to_owned()));
    }
    Reply {
        status: code.status(),
        headers,
        // A struct of strings always serialises.
        body: serde_json::to_vec(&body).unwrap_or_default(),
        refusal,
    }
}

/// The `type`, in OpenAI's words.
const fn kind(code: Code) -> &'static str {
    match code {
        Code::BudgetExhausted | Code::QuotaExhausted => "insufficient_quota",
        _ => match code.status() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::limit::Told;

    fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_refusal_is_an_error_object_with_the_requests_id() {
        let reply = Refusal::new(Code::ModelNotFound, "the model `x` does not exist")
            .into_openai_reply("r1");
        assert_eq!((reply.status, header(&reply, "x-request-id")), (404, Some("r1")));
        assert_eq!(header(&reply, "content-type"), Some("application/json"));
        let body: Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(
            body,
            json!({"error": {
                "message": "the model `x` does not exist. Choose one of those that GET /models \
                            lists. (request r1)",
                "type": "invalid_request_error", "param": "model", "code": "model_not_found",
            }})
        );
    }

    #[test]
    fn a_limits_refusal_tells_when_to_come_back() {
        let headers = vec![("retry-after", "7".to_owned()), ("ratelimit", "x".to_owned())];
        let told = Told { violated: vec!["tokens".to_owned()], headers };
        let refusal =
            Refusal { limits: Some(Box::new(told)), ..Refusal::new(Code::LimitExceeded, "x") };
        let reply = refusal.into_openai_reply("r");
        assert_eq!(
            (header(&reply, "retry-after"), header(&reply, "ratelimit")),
            (Some("7"), Some("x"))
        );
    }

    #[test]
    fn each_status_has_its_type_and_its_headers() {
        for (code, status, kind, retry_after, should_retry) in [
            (Code::TokenMissing, 401, "authentication_error", None, None),
            (Code::BudgetExhausted, 402, "insufficient_quota", Some("60"), None),
            (Code::QuotaExhausted, 429, "insufficient_quota", Some("60"), Some("false")),
            (Code::RoleMissing, 403, "permission_error", None, None),
            (Code::BodyTooLarge, 413, "invalid_request_error", None, None),
            (Code::UsageUnavailable, 503, "server_error", Some("1"), None),
        ] {
            let mut refusal = Refusal::new(code, "x");
            if retry_after == Some("60") {
                refusal = refusal.retry_after(Duration::from_secs(60));
            }
            let reply = refusal.into_openai_reply("r");
            let body: Value = serde_json::from_slice(&reply.body).unwrap();
            assert_eq!((reply.status, body["error"]["type"].as_str()), (status, Some(kind)));
            assert_eq!(header(&reply, "retry-after"), retry_after, "{code:?}");
            assert_eq!(header(&reply, "x-should-retry"), should_retry, "{code:?}");
            assert_eq!(header(&reply, "www-authenticate").is_some(), matches!(status, 401 | 403));
        }
    }
}
