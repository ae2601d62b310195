//! The keys that a request needs, and its wait for them.

use std::rc::Rc;

use kombi_spec::code::Code;

use super::{LONGEST_WAIT, Passage, Waiting, issuer_of, unasked};
use crate::{
    cache::Verified,
    config::{Issuer, Rules},
    credentials,
    fetch::{KeyFetch, Progress},
    keys::{Claim, Held, Lookup},
    refusal::Refusal,
    step::{HttpOutcome, Step},
    time::UnixTime,
    token::{Token, Window},
    worker::Moment,
};

/// What a request waits for that needs keys.
pub(super) enum Cause {
    /// The fetch that it makes itself.
    Fetch(KeyFetch, Claim),
    /// The fetch that another makes, since this moment; with a seat in the waiting room.
    Another { since: UnixTime, seat: Rc<()> },
}

impl Passage {
    /// Verifies the signature, now or when there are keys. `since` is when the request began to
    /// wait for another's fetch, if it does.
    pub(super) fn verify(
        &mut self,
        rules: &Rules,
        issuer: &Issuer,
        token: Token,
        window: Window,
        since: Option<UnixTime>,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        match moment.find(&issuer.url.text, &token.key_id, &rules.keys) {
            Lookup::Found(held) => self.verify_with(&held, rules, issuer, token, window, moment),
            Lookup::Fetch(claim) => {
                let (fetch, call) = KeyFetch::begin(issuer);
                self.waiting = Some(Waiting::Keys {
                    token: Box::new(token),
                    cause: Cause::Fetch(fetch, claim),
                });
                Ok(Step::Call(call))
            }
            Lookup::Busy => self.wait(token, since.unwrap_or(moment.now), moment),
            Lookup::Unknown => Err(key_unknown()),
            Lookup::Unavailable => Err(keys_unavailable()),
        }
    }

    fn verify_with(
        &mut self,
        held: &Held,
        rules: &Rules,
        issuer: &Issuer,
        token: Token,
        window: Window,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        held.keys.get(&token.key_id).ok_or_else(key_unknown)?.verify(&token)?;
        let token = Rc::new(token);
        let presented = credentials::presented(&self.head)?;
        if let Ok(Some(expires)) = token.claims.expires() {
            let verified = Verified {
                token: Rc::clone(&token),
                issuer: issuer.url.text.as_str().into(),
                edition: held.edition,
            };
            moment.worker.tokens.remember(presented.bytes(), verified, expires);
        }
        self.admit(rules, issuer, &token.claims, window, moment)
    }

    /// Waits for the keys that another fetches, if there is room and time.
    fn wait(
        &mut self,
        token: Token,
        since: UnixTime,
        moment: &Moment<'_>,
    ) -> Result<Step, Refusal> {
        let waited = moment.now.since(since);
        let seat = moment.worker.seat().ok_or_else(keys_awaited)?;
        if waited >= LONGEST_WAIT {
            return Err(keys_awaited());
        }
        self.waiting =
            Some(Waiting::Keys { token: Box::new(token), cause: Cause::Another { since, seat } });
        Ok(Step::Wait)
    }

    pub(super) fn with_keys_of_others(
        &mut self,
        token: Token,
        since: UnixTime,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let rules = gate.rules().ok_or_else(unasked)?;
        self.look_again_at_failures(&rules.limits, moment)?;
        let issuer = issuer_of(&token, rules)?;
        // The token may have expired while it waited.
        let window = token.check(issuer, &rules.validity, moment.now)?;
        self.verify(rules, issuer, token, window, Some(since), moment)
    }

    pub(super) fn with_answer(
        &mut self,
        token: Token,
        mut fetch: KeyFetch,
        claim: Claim,
        outcome: HttpOutcome,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let rules = gate.rules().ok_or_else(unasked)?;
        let failure = match fetch.advance(outcome) {
            Ok(Progress::Call(call)) => {
                self.waiting = Some(Waiting::Keys {
                    token: Box::new(token),
                    cause: Cause::Fetch(fetch, claim),
                });
                return Ok(Step::Call(call));
            }
            Ok(Progress::Done(fetched)) => {
                moment.settle(&claim, Ok(fetched), &rules.keys);
                None
            }
            Err(failure) => {
                moment.settle(&claim, Err(&failure), &rules.keys);
                Some(failure)
            }
        };
        self.look_again_at_failures(&rules.limits, moment)?;
        let issuer = issuer_of(&token, rules)?;
        // The token may have expired while it waited.
        let window = token.check(issuer, &rules.validity, moment.now)?;
        // Whatever others may do: this request has seen the issuer's answer, or that there is none.
        match moment.find(&issuer.url.text, &token.key_id, &rules.keys) {
            Lookup::Found(held) => {
                return self.verify_with(&held, rules, issuer, token, window, moment);
            }
            Lookup::Fetch(claim) => moment.worker.keys.release(&claim, moment.zone, moment.now),
            Lookup::Unavailable => return Err(keys_unavailable().because(failure)),
            Lookup::Unknown | Lookup::Busy => {}
        }
        Err(match failure {
            None => key_unknown(),
            Some(_) => keys_unavailable().because(failure),
        })
    }
}

fn key_unknown() -> Refusal {
    Refusal::new(Code::KeyUnknown, "the issuer publishes no key with the token's kid")
}

fn keys_unavailable() -> Refusal {
    Refusal::new(
        Code::KeysUnavailable,
        "the issuer's keys could not be fetched and none are cached",
    )
}

/// Others fetch the keys, and this request can wait for them no longer.
pub(super) fn keys_awaited() -> Refusal {
    Refusal::new(Code::KeysUnavailable, "the issuer's keys are being fetched")
}
