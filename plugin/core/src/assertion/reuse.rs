//! Assertions that may be sent more than once, where nothing binds them to one request.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use kombi_spec::assertion::{Assertion, LIFETIME_S};

use crate::time::UnixTime;

/// How long one is sent again: the upstream still has half of its life to check it.
const REUSED_FOR: Duration = Duration::from_secs(LIFETIME_S / 2);

/// Most assertions kept, and the most bytes that one may have with what it says: together they
/// bound what a route can hold on to.
const MAX_KEPT: usize = 256;
const MAX_BYTES: usize = 4096;

/// The assertions made lately, by everything they say but time and `jti`. Whole claims are
/// compared, so no two users can be confused.
#[derive(Clone, Default)]
pub(crate) struct Reuse {
    kept: RefCell<BTreeMap<Vec<u8>, (String, UnixTime)>>,
}

impl Reuse {
    /// An assertion that says what `claims` say: one made lately, or else what `sign` makes.
    pub(crate) fn or_sign(
        &self,
        claims: &Assertion,
        now: UnixTime,
        sign: impl FnOnce(&Assertion) -> Option<String>,
    ) -> Option<String> {
        let key = key(claims)?;
        let fresh = |made: UnixTime| made <= now && now.since(made) < REUSED_FOR;
        let mut kept = self.kept.borrow_mut();
        if let Some((assertion, made)) = kept.get(&key)
            && fresh(*made)
        {
            return Some(assertion.clone());
        }
        let assertion = sign(claims)?;
        if key.len().saturating_add(assertion.len()) <= MAX_BYTES {
            if kept.len() >= MAX_KEPT {
                kept.retain(|_, (_, made)| fresh(*made));
            }
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
            kept.insert(key, (assertion.clone(), now));
        }
        Some(assertion)
    }
}

fn key(claims: &Assertion) -> Option<Vec<u8>> {
    let timeless = Assertion { iat: 0, exp: 0, jti: String::new(), ..claims.clone() };
    serde_json::to_vec(&timeless).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kombi_spec::assertion::GrantedBy;

    fn claims(sub: &str) -> Assertion {
        Assertion {
            iss: "kombi-gate".to_owned(),
            aud: "upstream".to_owned(),
            sub: sub.to_owned(),
            iat: 7,
            exp: 37,
            jti: "r1".to_owned(),
            htm: None,
            htp: None,
            org: None,
            roles: Vec::new(),
            granted_by: GrantedBy::new(),
            email: None,
            email_verified: false,
            name: None,
        }
    }

    fn at(s: u64) -> UnixTime {
        UnixTime::from_secs(s)
    }

    /// Asks for an assertion; `mark` is what would be signed now.
    fn ask(reuse: &Reuse, claims: &Assertion, now: UnixTime, mark: &str) -> String {
        reuse.or_sign(claims, now, |_| Some(mark.to_owned())).unwrap()
    }

    #[test]
    fn an_assertion_is_sent_again_for_half_its_life() {
        let reuse = Reuse::default();
        let later = Assertion { iat: 20, exp: 50, jti: "r2".to_owned(), ..claims("ada") };
        assert_eq!(ask(&reuse, &claims("ada"), at(7), "first"), "first");
        assert_eq!(ask(&reuse, &later, at(21), "second"), "first");
        assert_eq!(ask(&reuse, &later, at(22), "third"), "third");
        // A clock that was set back must not stretch a life.
        assert_eq!(ask(&reuse, &later, at(3), "fourth"), "fourth");
    }

    #[test]
    fn whoever_differs_in_anything_gets_their_own() {
        let reuse = Reuse::default();
        ask(&reuse, &claims("ada"), at(7), "ada");
        let promoted = Assertion { roles: vec!["admin".to_owned()], ..claims("ada") };
        for other in [claims("grace"), claims(""), promoted] {
            assert_eq!(ask(&reuse, &other, at(7), "other"), "other");
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let reuse = Reuse::default();
        for user in 0..1000 {
            ask(&reuse, &claims(&user.to_string()), at(7), "x");
        }
        assert!(reuse.kept.borrow().len() <= MAX_KEPT);
        let long = claims(&"x".repeat(MAX_BYTES));
        ask(&reuse, &long, at(7), "first");
        assert_eq!(ask(&reuse, &long, at(7), "second"), "second");
    }
}
