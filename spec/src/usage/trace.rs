//! A settlement in the gateway's log, which `kombi-exchange usage replay` reads.
//!
//! Somewhere in a line stands [`MARK`], directly followed by a compact JWS (RFC 7515 section 3.1)
//! whose payload is a [`Settlement`](super::settle::Settlement). It is signed as an
//! [assertion](crate::assertion) is, with the same key and `kid` and a `typ` of its own ([`TYP`]):
//! a client can write into that log, by what it asks for, and must not be able to write money. The
//! JWS ends where the log's own text goes on, at the first character that is neither base64url
//! nor a dot.

/// What a JWS in the log follows.
pub const MARK: &str = "kombi-usage/1 ";

/// `typ` of the JOSE header.
pub const TYP: &str = "kombi-usage+jwt";

/// The largest payload, in bytes of JSON. nginx cuts a line at 2048 bytes, of which it needs
/// some itself.
pub const MAX_PAYLOAD_BYTES: usize = 1280;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::{
        Call, Endpoint, MAX_ATTEMPT, MAX_MODEL_BYTES, MAX_ORG_BYTES, MAX_PLAN_BYTES,
        MAX_PROVIDER_BYTES, MAX_REQUEST_ID_BYTES, MAX_ROUTE_BYTES, MAX_SUBJECT_BYTES, MAX_TOKENS,
        settle::{
            EndReason, MAX_PROVIDER_REQUEST_ID_BYTES, MAX_TIME_MS, Settlement, Tokens, UsageSource,
        },
    };

    #[test]
    fn the_largest_settlement_fits_a_line_of_nginx() {
        let text = |length| "x".repeat(length);
        let largest = Settlement {
            request_id: text(MAX_REQUEST_ID_BYTES),
            attempt: MAX_ATTEMPT,
            call: Call {
                subject: text(MAX_SUBJECT_BYTES),
                org: Some(text(MAX_ORG_BYTES)),
                plan: Some(text(MAX_PLAN_BYTES)),
                provider: text(MAX_PROVIDER_BYTES),
                model: text(MAX_MODEL_BYTES),
                endpoint: Endpoint::ChatCompletions,
                stream: false,
                route: text(MAX_ROUTE_BYTES),
            },
            sent_at: u64::from(u32::MAX),
            usage: Tokens {
                input: MAX_TOKENS,
                cached: MAX_TOKENS,
                output: MAX_TOKENS,
                reasoning: MAX_TOKENS,
                audio: MAX_TOKENS,
            },
            usage_source: UsageSource::EstimatedMissing,
            end_reason: EndReason::ProviderUnreachable,
            status: Some(503),
            provider_request_id: Some(text(MAX_PROVIDER_REQUEST_ID_BYTES)),
            first_token_ms: Some(MAX_TIME_MS),
            duration_ms: MAX_TIME_MS,
        };
        let payload = serde_json::to_string(&largest).unwrap().len();
        assert!(payload <= MAX_PAYLOAD_BYTES, "{payload}");

        let thumbprint = text(43);
        let header = format!(r#"{{"alg":"EdDSA","kid":"{thumbprint}","typ":"{TYP}"}}"#);
        let base64 = |bytes: usize| (bytes * 4).div_ceil(3);
        let line = MARK.len() + base64(header.len()) + 1 + base64(MAX_PAYLOAD_BYTES) + 1 + 86;
        // "2026/11/24 12:00:00 [notice] 12345#0: *1234567 [wasm] " and room to spare.
        assert!(line + 100 <= 2048, "{line}");
    }
}
