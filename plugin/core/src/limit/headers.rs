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

const NO_FAMILIES: Families = Families { ietf: false, kong: false };

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
    each(standings, families, |name, value| headers.push((name, value.to_owned())));
    headers
}

/// Calls `tell` with the name and the value of each of these headers. Every response has them, so
/// all of them are made in one piece of memory.
pub fn each(standings: &[Standing], families: Families, mut tell: impl FnMut(&'static str, &str)) {
    if standings.is_empty() || families == NO_FAMILIES {
        return;
    }
    let mut value = String::with_capacity(128);
    if families.ietf {
        standings.iter().for_each(|standing| push_policy(&mut value, standing));
        tell("ratelimit-policy", &value);
        value.clear();
        standings.iter().for_each(|standing| push_limit(&mut value, standing));
        tell("ratelimit", &value);
    }
    if families.kong {
        tell_as_kong(standings, |name, number| {
            value.clear();
            push_number(&mut value, number);
            tell(name, &value);
        });
    }
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

fn tell_as_kong(standings: &[Standing], mut tell: impl FnMut(&'static str, u64)) {
    let requests = || standings.iter().filter(|standing| standing.rule.cost != Cost::Tokens);
    for period in [Period::Second, Period::Minute, Period::Hour, Period::Day, Period::Month] {
        let same = requests().filter(|standing| standing.pace.period() == period);
        if let Some(standing) = same.min_by_key(|standing| standing.left) {
            let (limit, remaining) = kong_names(period);
            tell(limit, standing.pace.amount());
            tell(remaining, standing.left);
        }
    }
    if let Some(nearest) = requests().min_by_key(|standing| standing.left) {
        tell("ratelimit-limit", nearest.pace.amount());
        tell("ratelimit-remaining", nearest.left);
        tell("ratelimit-reset", whole_seconds(nearest.resets_after));
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

/// Every response has a few of these; formatting them by `std` costs several times as much.
fn push_number(text: &mut String, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    for place in digits.iter_mut().rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        start -= 1;
        if number == 0 {
            break;
        }
    }
    let digits = digits.get(start..).unwrap_or_default();
    // All of it is ASCII.
    text.push_str(str::from_utf8(digits).unwrap_or_default());
}

#[cfg(test)]
mod tests;
