//! The issuers: whether the gate would get their keys, and whether their clocks go right.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use kombi_gate_core::{
    config::Issuer,
    fetch::{KeyFetch, Progress},
    step::{HttpCall, HttpOutcome, Method},
};
use reqwest::Client;

use super::{Line, answer, declaration::Declaration};

/// How far clocks may differ before somebody should know, and before tokens are refused: the
/// gate's own default.
const NOTABLE: Duration = Duration::from_secs(2);
const TOO_FAR: Duration = Duration::from_secs(5);

/// Looks at every issuer that a route names.
pub(super) async fn look(client: &Client, declaration: &Declaration) -> Vec<Line> {
    let gates: Vec<_> =
        declaration.routes.iter().filter_map(super::declaration::Route::gate).collect();
    let issuers: BTreeMap<&str, &Issuer> = gates
        .iter()
        .flat_map(|gate| gate.issuers())
        .map(|issuer| (issuer.url.text.as_str(), issuer))
        .collect();
    let mut lines = Vec::new();
    for issuer in issuers.into_values() {
        lines.extend(look_at(client, issuer).await);
    }
    lines
}

async fn look_at(client: &Client, issuer: &Issuer) -> Vec<Line> {
    let name = &issuer.url.text;
    let (mut fetch, mut call) = KeyFetch::begin(issuer);
    let mut clock = None;
    loop {
        let (outcome, date) = make(client, &call).await;
        clock = clock.or(date);
        match fetch.advance(outcome) {
            Ok(Progress::Call(next)) => call = next,
            Ok(Progress::Done(fetched)) => {
                let bytes = fetched.document.len();
                let keys = Line::ok("issuer", name, format!("its keys are there ({bytes} bytes)"));
                return vec![keys, judge_clock(name, clock)];
            }
            Err(error) => {
                let mend = "see that the issuer is spelt as it spells itself, and can be reached \
                            from the gateway";
                return vec![Line::fail("issuer", name, error.to_string(), mend)];
            }
        }
    }
}

/// How far the issuer's clock is from ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    apart: Duration,
    ahead: bool,
}

fn judge_clock(name: &str, clock: Option<Clock>) -> Line {
    let look = format!("the clock of {name}");
    let Some(Clock { apart, ahead }) = clock else {
        return Line::warn("issuer", look, "it tells no date", "compare it by hand");
    };
    let found = format!("{} s {} ours", apart.as_secs(), if ahead { "ahead of" } else { "behind" });
    let mend = "set both clocks by NTP: tokens are refused as expired or not yet valid";
    if apart > TOO_FAR {
        Line::fail("issuer", look, found, mend)
    } else if apart > NOTABLE {
        Line::warn("issuer", look, found, mend)
    } else {
        Line::ok("issuer", look, found)
    }
}

/// Makes a call of the gate's.
pub(super) async fn make(client: &Client, call: &HttpCall) -> (HttpOutcome, Option<Clock>) {
    let scheme = if call.tls { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", call.authority, call.path);
    let mut request = match call.method {
        Method::Get => client.get(url),
        Method::Post => client.post(url).body(call.body.clone()),
    };
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let before = SystemTime::now();
    match answer(request.timeout(call.timeout)).await {
        Err(reason) => (HttpOutcome::Failure(reason), None),
        Ok((status, headers, body)) => {
            let header = |name| {
                headers.get(name).map(|v: &reqwest::header::HeaderValue| v.as_bytes().to_vec())
            };
            let date = header("date").and_then(|date| clock(&date, before, SystemTime::now()));
            (HttpOutcome::Answer { status, cache_control: header("cache-control"), body }, date)
        }
    }
}

/// What `Date` (RFC 9110 section 6.6.1) says of the clock that wrote it, between two moments. It
/// is in whole seconds, so up to one of them is nothing.
fn clock(date: &[u8], before: SystemTime, after: SystemTime) -> Option<Clock> {
    let date = httpdate::parse_http_date(std::str::from_utf8(date).ok()?).ok()?;
    let later = date.duration_since(after).ok();
    let earlier = before.duration_since(date).ok();
    Some(match (later, earlier) {
        (Some(ahead), _) => Clock { apart: ahead, ahead: true },
        (None, Some(behind)) => {
            Clock { apart: behind.saturating_sub(Duration::from_secs(1)), ahead: false }
        }
        (None, None) => Clock { apart: Duration::ZERO, ahead: false },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn a_clock_is_judged_by_what_the_gate_tolerates() {
        let now = SystemTime::now();
        for (ahead_s, outcome) in [
            (0, Outcome::Ok),
            (4, Outcome::Warn),
            (-5, Outcome::Warn),
            (8, Outcome::Fail),
            (-3600, Outcome::Fail),
        ] {
            let away = Duration::from_secs(i64::unsigned_abs(ahead_s));
            let theirs = if ahead_s < 0 { now - away } else { now + away };
            let date = httpdate::fmt_http_date(theirs);
            let line = judge_clock("x", clock(date.as_bytes(), now, now));
            assert_eq!(line.outcome, outcome, "{ahead_s}: {}", line.found);
        }
        assert_eq!(judge_clock("x", clock(b"yesterday", now, now)).outcome, Outcome::Warn);
    }
}
