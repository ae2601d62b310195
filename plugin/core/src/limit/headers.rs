//! What a client is told of its budgets: `RateLimit` and `RateLimit-Policy` of
//! draft-ietf-httpapi-ratelimit-headers-11, and the names that Kong's own plugin uses.

use std::time::Duration;

use super::{
    pace::Period,
    rule::{Cost, Rule},
    verdict::Standing,
};

/// Which headers are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Families {
    /// `RateLimit` and `RateLimit-Policy`.
    pub ietf: bool,
    /// `X-RateLimit-Limit-Minute`, `X-RateLimit-Remaining-Minute` and so on, and `RateLimit-Limit`,
    /// `RateLimit-Remaining` and `RateLimit-Reset` of the budget that is nearest to its end.
    pub kong: bool,
}

impl Default for Families {
    fn default() -> Self {
        Self { ietf: true, kong: true }
    }
}

/// A header: its name in lower case, and its value.
pub type Header = (&'static str, String);

/// The headers that tell how the budgets stand.
#[must_use]
pub fn headers(standings: &[Standing], families: Families) -> Vec<Header> {
    let mut headers = Vec::new();
    if standings.is_empty() {
        return headers;
    }
    if families.ietf {
        let (mut policies, mut limits) = (String::with_capacity(64), String::with_capacity(64));
        for standing in standings {
            push_policy(&mut policies, standing);
            push_limit(&mut limits, standing);
        }
        headers.push(("ratelimit-policy", policies));
        headers.push(("ratelimit", limits));
    }
    if families.kong {
        push_kong(&mut headers, standings);
    }
    headers
}

/// A quota policy item (section 3.1).
fn push_policy(list: &mut String, standing: &Standing) {
    let pace = &standing.pace;
    push_name(list, &standing.rule);
    list.push_str(";q=");
    push_number(list, pace.amount());
    if standing.rule.cost == Cost::Tokens {
        // The unit is not registered yet; the default one would be wrong.
        list.push_str(";qu=\"tokens\"");
    }
    list.push_str(";w=");
    push_number(list, pace.period().seconds());
    if pace.burst() != pace.amount() {
        list.push_str(";kombi-burst=");
        push_number(list, pace.burst());
    }
}

/// A service limit item (section 4.1).
fn push_limit(list: &mut String, standing: &Standing) {
    push_name(list, &standing.rule);
    list.push_str(";r=");
    push_number(list, standing.left);
    list.push_str(";t=");
    push_number(list, whole_seconds(standing.resets_after));
}

/// The name as a String (RFC 9651 section 3.3.3). Names have nothing in them to be escaped.
fn push_name(list: &mut String, rule: &Rule) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    list.push('"');
    list.push_str(&rule.name);
    list.push('"');
}

fn push_kong(headers: &mut Vec<Header>, standings: &[Standing]) {
    let requests = || standings.iter().filter(|standing| standing.rule.cost != Cost::Tokens);
    for period in [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month] {
        let same = requests().filter(|standing| standing.pace.period() == period);
        if let Some(standing) = same.min_by_key(|standing| standing.left) {
            let (limit, remaining) = kong_names(period);
            headers.push((limit, number(standing.pace.amount())));
            headers.push((remaining, number(standing.left)));
        }
    }
    if let Some(nearest) = requests().min_by_key(|standing| standing.left) {
        headers.push(("ratelimit-limit", number(nearest.pace.amount())));
        headers.push(("ratelimit-remaining", number(nearest.left)));
        headers.push(("ratelimit-reset", number(whole_seconds(nearest.resets_after))));
    }
}

const fn kong_names(period: Period) -> (&'static str, &'static str) {
    match period {
        Period::Second => ("x-ratelimit-limit-second", "x-ratelimit-remaining-second"),
        Period::Minute => ("x-ratelimit-limit-minute", "x-ratelimit-remaining-minute"),
        Period::Hour => ("x-ratelimit-limit-hour", "x-ratelimit-remaining-hour"),
        Period::Day => ("x-ratelimit-limit-day", "x-ratelimit-remaining-day"),
        Period::Month => ("x-ratelimit-limit-month", "x-ratelimit-remaining-month"),
    }
}

/// A wait in seconds that is over when they are; at least one.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn number(number: u64) -> String {
    let mut text = String::with_capacity(10);
    push_number(&mut text, number);
    text
}

/// Every response has a few of these; formatting them by `std` costs five times as much.
fn push_number(text: &mut String, mut number: u64) {
    let mut digits = ['0'; 20];
    let mut count = 0;
    for place in digits.iter_mut().rev() {
        *place = char::from(b'0' + u8::try_from(number % 10).unwrap_or_default());
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    text.extend(digits.iter().skip(20 - count));
}

#[cfg(test)]
mod tests;
