//! A refusal as a gRPC client understands it (gRPC over HTTP/2, "Responses"): a Trailers-Only
//! answer, HTTP 200 whose only headers carry the status.

use std::fmt::Write;

use super::{Refusal, Reply};
use crate::request::Head;

const MEDIA_TYPE: &[u8] = b"application/grpc";

/// Whether a request speaks gRPC: its content type is `application/grpc`, maybe with a
/// serialization behind `+`, maybe with parameters.
pub(super) fn is_spoken_in(head: &Head) -> bool {
    head.values("content-type").any(|value| {
        value.split_at_checked(MEDIA_TYPE.len()).is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(MEDIA_TYPE)
                && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        })
    })
}

/// The answer: the message says what a problem document would.
pub(super) fn reply(refusal: Refusal, request_id: &str) -> Reply {
    let code = refusal.code;
    let message =
        format!("{}: {}. {} (request {request_id})", code.as_str(), refusal.detail, code.advice(),);
    let mut headers = vec![
        ("content-type", "application/grpc".to_owned()),
        ("grpc-status", status(code.status()).to_string()),
        ("grpc-message", percent_encode(&message)),
        ("cache-control", "no-store".to_owned()),
    ];
    headers.extend(refusal.limits.iter().flat_map(|told| told.headers.iter().cloned()));
    Reply { status: 200, headers, body: Vec::new(), refusal }
}

/// The status code that means what an HTTP status means (gRPC "Status codes").
const fn status(http: u16) -> u8 {
    match http {
        400 | 413 | 422 => 3, // INVALID_ARGUMENT
        401 => 16,            // UNAUTHENTICATED
        403 => 7,             // PERMISSION_DENIED
        404 => 5,             // NOT_FOUND
        408 | 504 => 4,       // DEADLINE_EXCEEDED
        409 => 10,            // ABORTED
        429 => 8,             // RESOURCE_EXHAUSTED
        502 | 503 => 14,      // UNAVAILABLE
        _ => 13,              // INTERNAL
    }
}

/// Percent-Encoded of gRPC over HTTP/2: visible ASCII and space but `%` stay as they are.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Fields;
    use kombi_spec::code::Code;

    fn head(content_type: &str) -> Head {
        let fields = Fields::new(&[("Content-Type", content_type)]);
        Head::read(fields, Some("r1".to_owned())).unwrap()
    }

    fn header<'a>(reply: &'a Reply, name: &str) -> Option<&'a str> {
        reply.headers.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn a_grpc_client_is_answered_in_trailers_only() {
        for (code, status) in [
            (Code::TokenMissing, "16"),
            (Code::TokenExpired, "16"),
            (Code::RoleMissing, "7"),
            (Code::KeysUnavailable, "14"),
            (Code::HeaderReserved, "3"),
            (Code::Internal, "13"),
            (Code::LimitExceeded, "8"),
            (Code::LimitUnavailable, "14"),
        ] {
            let reply = Refusal::new(code, "x").into_reply_to(&head("application/grpc"));
            assert_eq!(reply.status, 200);
            assert_eq!(header(&reply, "content-type"), Some("application/grpc"));
            assert_eq!(header(&reply, "grpc-status"), Some(status), "{code:?}");
            let message = header(&reply, "grpc-message").unwrap();
            assert!(message.starts_with(&format!("{}: x. ", code.as_str())), "{message}");
            assert!(message.ends_with("(request r1)") && reply.body.is_empty());
        }
    }

    #[test]
    fn no_detail_can_leave_the_message() {
        let detail = "50% \u{e4}\r\ngrpc-status: 0";
        let reply =
            Refusal::new(Code::RoleMissing, detail).into_reply_to(&head("application/grpc"));
        let message = header(&reply, "grpc-message").unwrap();
        assert!(message.contains("50%25 %C3%A4%0D%0Agrpc-status: 0"), "{message}");
    }

    #[test]
    fn other_clients_are_answered_in_http() {
        for spoken in ["application/grpc+proto", "Application/gRPC", "application/grpc;x=y"] {
            assert!(is_spoken_in(&head(spoken)), "{spoken}");
        }
        // gRPC-Web wraps its trailers into the body; its clients understand HTTP statuses.
        for other in ["application/grpc-web", "application/grpc-web+proto", "application/json", ""]
        {
            assert!(!is_spoken_in(&head(other)), "{other}");
        }
        let reply = Refusal::new(Code::TokenMissing, "x").into_reply_to(&head("application/json"));
        assert_eq!(reply.status, 401);
    }
}
