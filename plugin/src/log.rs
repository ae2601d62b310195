//! Log lines of the filter: one JSON object each, so that a machine can read them out of the
//! gateway's error log. No token and no header value is ever part of one.

use kombi_gate_core::{
    config::ConfigError,
    fetch::FetchError,
    limit::{Trouble, lease::News},
    refusal::Refusal,
};
use proxy_wasm::{hostcalls, types::LogLevel};
use serde_json::{Value, json};

/// Longest line in bytes. Kong cuts its log off at 2,048, with what nginx puts before the line.
const LONGEST_LINE: usize = 1_800;

/// Longest text in a line, at first and if that does not do.
const LONGEST_TEXTS: [usize; 3] = [400, 200, 60];

/// A request was refused. A warning, because Kong's log begins at `notice`.
pub(crate) fn refused(refusal: &Refusal, route: &str, request_id: &str) {
    let level = if refusal.code.status() >= 500 { LogLevel::Error } else { LogLevel::Warn };
    about("refused", level, refusal, route, request_id);
}

/// In shadow mode a request passed that would have been refused.
pub(crate) fn would_refuse(refusal: &Refusal, route: &str, request_id: &str) {
    about("would_refuse", LogLevel::Warn, refusal, route, request_id);
}

fn about(event: &str, level: LogLevel, refusal: &Refusal, route: &str, request_id: &str) {
    write(level, |longest| {
        json!({
            "event": event,
            "code": refusal.code,
            "route": cut(route, longest),
            "subject": refusal.subject.as_deref().map(|text| cut(text, longest)),
            "request_id": cut(request_id, longest),
            "detail": cut(&refusal.detail, longest),
            "cause": refusal.cause.as_deref().map(|text| cut(text, longest)),
        })
    });
}

/// A route's configuration cannot be used; the route denies every request.
pub(crate) fn configuration_unusable(error: &ConfigError) {
    write(LogLevel::Error, |longest| {
        json!({
            "event": "configuration_unusable",
            "error": cut(&error.to_string(), longest),
            "consequence": "every request to this route is refused with 503",
        })
    });
}

/// Something is wrong with the counters of limits. Told once by each worker; metrics tell how often.
pub(crate) fn limit_trouble(trouble: Trouble) {
    write(LogLevel::Error, |_| {
        json!({
            "event": "limit_trouble",
            "trouble": trouble.as_str(),
            "advice": trouble.advice(),
        })
    });
}

/// An issuer's keys could not be refreshed.
pub(crate) fn keys_not_refreshed(issuer: &str, error: &FetchError) {
    write(LogLevel::Warn, |longest| {
        json!({
            "event": "keys_not_refreshed",
            "issuer": cut(issuer, longest),
            "error": cut(&error.to_string(), longest),
        })
    });
}

/// Whether the exchange answers about shared limits, when that changes.
pub(crate) fn shared_limits(news: &News) {
    match news {
        News::None => {}
        News::Silent(reason) => write(LogLevel::Warn, |longest| {
            json!({
                "event": "shared_limits_silent",
                "error": cut(reason, longest),
                "consequence": "the node goes on with its shares for the grace of each rule",
            })
        }),
        News::Back => write(LogLevel::Warn, |_| json!({"event": "shared_limits_back"})),
    }
}

/// What became of a call of a model, as the exchange can read it again. A warning, because Kong's
/// log begins at `notice`, and it must be there.
pub(crate) fn usage(trace: &str) {
    // There is nowhere to report a failing log to.
    let _ = hostcalls::log(LogLevel::Warn, trace);
}

/// The ledger could not be told of calls; they are kept and told again.
pub(crate) fn usage_not_told(waiting: usize, error: &str) {
    write(LogLevel::Warn, |longest| {
        json!({
            "event": "usage_not_told",
            "waiting": waiting,
            "error": cut(error, longest),
        })
    });
}

/// More calls wait to be told to the ledger than this worker keeps.
pub(crate) fn usage_dropped(dropped: u64) {
    write(LogLevel::Error, |_| {
        json!({
            "event": "usage_dropped",
            "dropped": dropped,
            "consequence": "only this log has them: kombi-exchange usage replay",
        })
    });
}

/// Writes the line with texts as long as they can be. A line that is cut off is no JSON.
fn write(level: LogLevel, line: impl Fn(usize) -> Value) {
    let fits = |line: &String| line.len() <= LONGEST_LINE;
    if let Some(line) = LONGEST_TEXTS.iter().map(|longest| line(*longest).to_string()).find(fits) {
        // There is nowhere to report a failing log to.
        let _ = hostcalls::log(level, &line);
    }
}

/// The beginning of `text`, `longest` characters of it.
fn cut(text: &str, longest: usize) -> String {
    text.chars().take(longest).collect()
}
