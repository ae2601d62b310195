//! One request on its way through the gate, from top to bottom.

mod limits;

use std::{rc::Rc, time::Duration};

use kombi_spec::{code::Code, header};

use crate::{
    cache::Verified,
    config::{self, ConfigError, Issuer, KeyTerms, Policy, Rules},
    credentials,
    exchange::Exchange,
    fetch::{KeyFetch, Progress},
    identity::Identity,
    keys::{Claim, Held, Lookup},
    limit::key::Caller,
    refusal::{Refusal, Reply},
    request::Head,
    reserved,
    step::{Forward, HttpOutcome, SetHeader, Step},
    time::UnixTime,
    token::Token,
    worker::Moment,
};
use limits::Limited;

/// How long a request waits for keys that others fetch: as long as that can take.
const LONGEST_WAIT: Duration = Duration::from_secs(4);

/// A route's gate: what it demands, or why it cannot tell and must refuse everybody.
///
/// On Kong a filter that rejects its configuration is left out of the chain and everything
/// passes; so an unusable configuration must be carried along and denied by.
pub struct Gate {
    name: String,
    policy: Result<Policy, ConfigError>,
}

impl Gate {
    /// The gate that `configuration` describes.
    #[must_use]
    pub fn new(configuration: &[u8]) -> Self {
        Self { name: config::name_of(configuration), policy: Policy::parse(configuration) }
    }

    /// What the gate is called in logs and metrics: the route's name, if the configuration tells.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Why the configuration cannot be used, if it cannot.
    #[must_use]
    pub fn unusable(&self) -> Option<&ConfigError> {
        self.policy.as_ref().err()
    }

    /// The issuers whose keys this gate needs.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        self.policy.as_ref().map_or(&[], Policy::issuers)
    }

    /// The exchange, if the gate may call it.
    #[must_use]
    pub fn exchange(&self) -> Option<&Exchange> {
        match &self.policy {
            Ok(Policy::Authenticated(rules)) => rules.exchange.as_ref(),
            _ => None,
        }
    }

    /// Whether it must be known where a request comes from.
    #[must_use]
    pub fn needs_source(&self) -> bool {
        self.policy
            .as_ref()
            .is_ok_and(|policy| policy.limits().need_source(matches!(policy, Policy::Public(_))))
    }

    /// Whether there is something to do for it from time to time.
    #[must_use]
    pub fn needs_tick(&self) -> bool {
        let limited = self.policy.as_ref().is_ok_and(|policy| !policy.limits().is_empty());
        limited || !self.issuers().is_empty()
    }

    /// For how long those keys are used, where there are any.
    #[must_use]
    pub fn key_terms(&self) -> Option<&KeyTerms> {
        match &self.policy {
            Ok(Policy::Authenticated(rules)) => Some(&rules.keys),
            _ => None,
        }
    }
}

/// One request on its way through a gate.
pub struct Passage {
    gate: Rc<Gate>,
    head: Head,
    waiting: Option<Waiting>,
    limited: Limited,
}

/// A request that waits for its issuer's keys.
struct Waiting {
    token: Token,
    cause: Cause,
}

/// What a request waits for.
enum Cause {
    /// The fetch that it makes itself.
    Fetch(KeyFetch, Claim),
    /// The fetch that another makes, since this moment; with a seat in the waiting room.
    Another { since: UnixTime, _seat: Rc<()> },
}

impl Passage {
    /// A request arrives.
    #[must_use]
    pub fn begin(gate: Rc<Gate>, head: Head, moment: &mut Moment<'_>) -> (Self, Step) {
        moment.worker.leases.seed(&head.request_id);
        let limited = Limited::default();
        let mut passage = Self { gate, head, waiting: None, limited };
        let step = passage.enter(moment);
        let step = passage.conclude(step, moment);
        (passage, step)
    }

    /// The call that was asked for has ended.
    pub fn resume(&mut self, outcome: HttpOutcome, moment: &mut Moment<'_>) -> Step {
        let step = self.with_answer(outcome, moment);
        self.conclude(step, moment)
    }

    /// The pause that was asked for is over.
    pub fn look_again(&mut self, moment: &mut Moment<'_>) -> Step {
        let step = self.with_keys_of_others(moment);
        self.conclude(step, moment)
    }

    /// The host cannot wait.
    pub fn cannot_wait(&mut self) -> Step {
        self.waiting = None;
        self.or_reply(Err(keys_awaited()))
    }

    /// The request is over, maybe before it was decided.
    pub fn end(&mut self, moment: &mut Moment<'_>) {
        if let Some(Waiting { cause: Cause::Fetch(_, claim), .. }) = self.waiting.take() {
            moment.worker.keys.orphan(&claim, moment.zone, moment.now);
        }
    }

    /// The gateway's id of this request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.head.request_id
    }

    /// The answer that refuses this request, in the protocol that its client speaks.
    #[must_use]
    pub fn reply_to(&self, refusal: Refusal) -> Reply {
        refusal.into_reply_to(&self.head)
    }

    fn enter(&mut self, moment: &mut Moment<'_>) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let policy = gate.policy.as_ref().map_err(|error| {
            Refusal::new(Code::ConfigurationInvalid, "the filter's configuration cannot be used")
                .because(Some(error))
        })?;
        reserved::refuse_reserved(&self.head)?;
        let limits = policy.limits();
        self.draw_on(limits.before(self.head.source), limits, moment)?;
        let rules = match policy {
            Policy::Public(limits) => {
                let caller = Caller { identity: None, source: self.head.source };
                self.draw_on(limits.after(&caller), limits, moment)?;
                return Ok(self.forward(Vec::new(), None));
            }
            Policy::Authenticated(rules) => rules,
        };
        let raw = credentials::bearer(&self.head, rules.max_token_bytes)?.jwt()?;
        if let Some(token) = moment.recall(raw, &rules.keys) {
            let issuer = issuer_of(&token, rules)?;
            token.check(issuer, &rules.validity, moment.now)?;
            return self.admit(rules, issuer, &token, moment);
        }
        let token = Token::parse(raw)?;
        let issuer = issuer_of(&token, rules)?;
        token.check(issuer, &rules.validity, moment.now)?;
        self.verify(rules, issuer, token, None, moment)
    }

    /// Verifies the signature, now or when there are keys. `since` is when the request began to
    /// wait for another's fetch, if it does.
    fn verify(
        &mut self,
        rules: &Rules,
        issuer: &Issuer,
        token: Token,
        since: Option<UnixTime>,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        match moment.find(&issuer.url.text, &token.key_id, &rules.keys) {
            Lookup::Found(held) => self.verify_with(&held, rules, issuer, token, moment),
            Lookup::Fetch(claim) => {
                let (fetch, call) = KeyFetch::begin(issuer);
                self.waiting = Some(Waiting { token, cause: Cause::Fetch(fetch, claim) });
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
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        held.keys.get(&token.key_id).ok_or_else(key_unknown)?.verify(&token)?;
        let token = Rc::new(token);
        let bearer = credentials::bearer(&self.head, rules.max_token_bytes)?;
        if let (Ok(raw), Ok(Some(expires))) = (bearer.jwt(), token.expires()) {
            let verified = Verified {
                token: Rc::clone(&token),
                issuer: issuer.url.text.as_str().into(),
                edition: held.edition,
            };
            moment.worker.tokens.remember(raw, verified, expires);
        }
        self.admit(rules, issuer, &token, moment)
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
        self.waiting = Some(Waiting { token, cause: Cause::Another { since, _seat: seat } });
        Ok(Step::Wait)
    }

    fn with_keys_of_others(&mut self, moment: &mut Moment<'_>) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let (
            Ok(Policy::Authenticated(rules)),
            Some(Waiting { token, cause: Cause::Another { since, .. } }),
        ) = (&gate.policy, self.waiting.take())
        else {
            // The host speaks of a pause that was never asked for.
            return Err(keys_unavailable());
        };
        let issuer = issuer_of(&token, rules)?;
        // The token may have expired while it waited.
        token.check(issuer, &rules.validity, moment.now)?;
        self.verify(rules, issuer, token, Some(since), moment)
    }

    fn with_answer(
        &mut self,
        outcome: HttpOutcome,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let (
            Ok(Policy::Authenticated(rules)),
            Some(Waiting { token, cause: Cause::Fetch(mut fetch, claim) }),
        ) = (&gate.policy, self.waiting.take())
        else {
            // The host answered a call that was never made.
            return Err(keys_unavailable());
        };
        let failure = match fetch.advance(outcome) {
            Ok(Progress::Call(call)) => {
                self.waiting = Some(Waiting { token, cause: Cause::Fetch(fetch, claim) });
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
        let issuer = issuer_of(&token, rules)?;
        // The token may have expired while it waited.
        token.check(issuer, &rules.validity, moment.now)?;
        match moment.find(&issuer.url.text, &token.key_id, &rules.keys) {
            Lookup::Found(held) => self.verify_with(&held, rules, issuer, token, moment),
            Lookup::Unavailable => Err(keys_unavailable().because(failure)),
            // Whatever others may do: this request has seen the issuer's answer.
            Lookup::Unknown | Lookup::Busy => Err(key_unknown().because(failure)),
            Lookup::Fetch(claim) => {
                moment.worker.keys.release(&claim, moment.zone, moment.now);
                Err(key_unknown().because(failure))
            }
        }
    }

    /// The token is verified: what remains is what its bearer may do.
    fn admit(
        &mut self,
        rules: &Rules,
        issuer: &Issuer,
        token: &Token,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let identity = Identity::of_verified(token, issuer)?;
        let mut headers = identity.headers();
        let allowed = rules.demands.check(&identity, &self.head.method).and_then(|()| {
            let caller = Caller { identity: Some(&identity), source: self.head.source };
            self.draw_on(rules.limits.after(&caller), &rules.limits, moment)
                .map_err(|refusal| refusal.about(&identity.subject))
        });
        if let Err(refusal) = allowed {
            // Who calls is known in shadow mode too, but only an assertion says that they may.
            return if rules.shadow {
                Ok(self.forward(headers, Some(refusal)))
            } else {
                Err(refusal)
            };
        }
        if let Some(signer) = &rules.signer {
            let value = signer.sign(&identity, &self.head, moment.now).ok_or_else(|| {
                Refusal::new(Code::ConfigurationInvalid, "the assertion could not be signed")
            })?;
            headers.push(SetHeader { name: header::ASSERTION, value });
        }
        Ok(self.forward(headers, None))
    }

    fn forward(&self, mut headers: Vec<SetHeader>, would_refuse: Option<Refusal>) -> Step {
        let value = self.head.request_id.clone();
        headers.push(SetHeader { name: header::REQUEST_ID, value });
        let would_refuse = would_refuse.or_else(|| self.limited.would_refuse.clone());
        Step::Forward(Forward { headers, would_refuse })
    }

    /// In shadow mode a refusal is told and the request goes on, as one without a token would on
    /// a public route. A reserved header is refused even so: it would pass for one of ours.
    fn or_reply(&self, step: Result<Step, Refusal>) -> Step {
        step.unwrap_or_else(|refusal| {
            let shadow = self.gate.policy.as_ref().is_ok_and(Policy::is_shadow);
            if shadow && refusal.code != Code::HeaderReserved {
                self.forward(Vec::new(), Some(refusal))
            } else {
                Step::Reply(self.reply_to(refusal))
            }
        })
    }
}

fn issuer_of<'a>(token: &Token, rules: &'a Rules) -> Result<&'a Issuer, Refusal> {
    let name = token.issuer()?;
    rules.issuers.iter().find(|issuer| issuer.url.text == name).ok_or_else(|| {
        Refusal::new(Code::IssuerUnknown, "the token's iss is not an issuer accepted here")
    })
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
fn keys_awaited() -> Refusal {
    Refusal::new(Code::KeysUnavailable, "the issuer's keys are being fetched")
}

#[cfg(test)]
mod tests;
