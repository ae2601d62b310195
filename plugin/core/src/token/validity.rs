//! When a token may be accepted (RFC 7519 sections 4.1.4 to 4.1.6).

use std::time::Duration;

use kombi_spec::code::Code;
use serde_json::{Map, Value};

use super::malformed;
use crate::{refusal::Refusal, time::UnixTime};

/// The last second of the year 9999: a later date is a mistake or an attack.
const LATEST_S: f64 = 253_402_300_799.0;

/// What a route demands of a token's dates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// How far the issuer's clock may differ from ours.
    pub clock_skew: Duration,
    /// How long ago the token may have been issued, whatever its `exp`.
    pub max_age: Option<Duration>,
}

/// The moments at which a token may be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: UnixTime,
    until: UnixTime,
}

impl Window {
    /// Those from `from` on and before `until`.
    #[must_use]
    pub const fn new(from: UnixTime, until: UnixTime) -> Self {
        Self { from, until }
    }

    /// Whether `now` is one of them.
    #[must_use]
    pub fn contains(self, now: UnixTime) -> bool {
        self.from <= now && now < self.until
    }
}

impl Validity {
    /// Checks the dates among `claims` at the moment `now`, and tells at which others they would
    /// do as well.
    pub(super) fn check(
        &self,
        claims: &Map<String, Value>,
        now: UnixTime,
    ) -> Result<Window, Refusal> {
        let expires = date(claims, "exp")?.ok_or_else(|| malformed("the token has no exp"))?;
        // On or after `exp` the token must not be accepted.
        let expiry = expires.early.plus(self.clock_skew);
        if now >= expiry {
            let ago = now.since(expires.early).as_secs();
            return Err(Refusal::new(Code::TokenExpired, format!("the token expired {ago} s ago")));
        }
        let mut window = Window { from: UnixTime::from_millis(0), until: expiry };
        let issued = date(claims, "iat")?;
        for (name, begins) in [("nbf", date(claims, "nbf")?), ("iat", issued)] {
            let Some(begins) = begins else { continue };
            if begins.late > now.plus(self.clock_skew) {
                let ahead = begins.late.since(now).as_secs();
                return Err(Refusal::new(
                    Code::TokenNotYetValid,
                    format!("the token's {name} is {ahead} s in the future"),
                ));
            }
            window.from = window.from.max(begins.late.minus(self.clock_skew));
        }
        if let Some(age) = self.check_age(issued, now)? {
            window.until = window.until.min(age);
        }
        Ok(window)
    }

    /// Checks the age, and tells when it is too high.
    fn check_age(&self, issued: Option<Date>, now: UnixTime) -> Result<Option<UnixTime>, Refusal> {
        let Some(max_age) = self.max_age else { return Ok(None) };
        let issued = issued.ok_or_else(|| malformed("the token has no iat, needed here"))?;
        let too_old = issued.early.plus(max_age).plus(self.clock_skew);
        if now >= too_old {
            let (ago, most) = (now.since(issued.early).as_secs(), max_age.as_secs());
            return Err(Refusal::new(
                Code::TokenTooOld,
                format!("the token was issued {ago} s ago, and here {most} s are allowed"),
            ));
        }
        Ok(Some(too_old))
    }
}

/// A date, as precise as our clock. A finer one lies between two moments; where that matters,
/// the one that accepts less is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Date {
    pub(super) early: UnixTime,
    pub(super) late: UnixTime,
}

/// A NumericDate (RFC 7519 section 2): a number of seconds, maybe with a fraction, that is not
/// negative and not absurd. Anything else under that name, `null` included, is an error.
pub(super) fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<Date>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    match value.as_f64() {
        // The casts cannot lose anything: the values are whole and between 0 and 2.6e14.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(s) if (0.0..=LATEST_S).contains(&s) => {
            let ms = s * 1000.0;
            Ok(Some(Date {
                early: UnixTime::from_millis(ms.floor() as u64),
                late: UnixTime::from_millis(ms.ceil() as u64),
            }))
        }
        _ => Err(malformed(format!("the claim {name} is not a date"))),
    }
}
