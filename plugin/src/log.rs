//! Log lines of the filter: one JSON object each, so that a machine can read them out of the
//! gateway's error log. No token and no header value is ever part of one.

use kombi_gate_core::{config::ConfigError, fetch::FetchError, refusal::Refusal};
use proxy_wasm::{hostcalls, types::LogLevel};
use serde_json::{Value, json};

/// A request was refused.
pub(crate) fn refused(refusal: &Refusal, request_id: &str) {
    let level = if refusal.code.status() >= 500 { LogLevel::Error } else { LogLevel::Info };
    write(
        level,
        &json!({
            "event": "refused",
            "code": refusal.code,
            "detail": refusal.detail,
            "cause": refusal.cause,
            "request_id": request_id,
        }),
    );
}

/// A route's configuration cannot be used; the route denies every request.
pub(crate) fn configuration_unusable(error: &ConfigError) {
    write(
        LogLevel::Error,
        &json!({
            "event": "configuration_unusable",
            "error": error.to_string(),
            "consequence": "every request to this route is refused with 503",
        }),
    );
}

/// An issuer's keys could not be refreshed.
pub(crate) fn keys_not_refreshed(issuer: &str, error: &FetchError) {
    write(
        LogLevel::Warn,
        &json!({"event": "keys_not_refreshed", "issuer": issuer, "error": error.to_string()}),
    );
}

fn write(level: LogLevel, line: &Value) {
    // There is nowhere to report a failing log to.
    let _ = hostcalls::log(level, &line.to_string());
}
