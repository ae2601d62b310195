//! One request on its way through the gate, from top to bottom.

use std::rc::Rc;

use kombi_spec::{code::Code, header};

use crate::{
    config::{ConfigError, Issuer, Policy, Rules},
    credentials,
    fetch::{KeyFetch, Progress},
    identity::Identity,
    keys::{KeyStore, Lookup},
    refusal::Refusal,
    request::Head,
    reserved,
    step::{Forward, HttpCall, HttpOutcome, SetHeader, Step},
    time::UnixTime,
    token::Token,
};

/// A route's gate: what it demands, or why it cannot tell and must refuse everybody.
///
/// On Kong a filter that rejects its configuration is left out of the chain and everything
/// passes; so an unusable configuration must be carried along and denied by.
pub struct Gate {
    policy: Result<Policy, ConfigError>,
}

impl Gate {
    /// The gate that `configuration` describes.
    #[must_use]
    pub fn new(configuration: &[u8]) -> Self {
        Self { policy: Policy::parse(configuration) }
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
}

/// One request on its way through a gate.
pub struct Passage {
    gate: Rc<Gate>,
    head: Head,
    waiting: Option<Waiting>,
}

/// A request that waits for its issuer's keys.
struct Waiting {
    token: Token,
    fetch: KeyFetch,
}

impl Passage {
    /// A request arrives.
    #[must_use]
    pub fn begin(gate: Rc<Gate>, head: Head, keys: &KeyStore, now: UnixTime) -> (Self, Step) {
        let mut passage = Self { gate, head, waiting: None };
        let step = passage.enter(keys, now);
        let step = passage.or_reply(step);
        (passage, step)
    }

    /// The call that was asked for has ended.
    pub fn resume(&mut self, outcome: HttpOutcome, keys: &mut KeyStore, now: UnixTime) -> Step {
        let step = self.with_answer(outcome, keys, now);
        self.or_reply(step)
    }

    /// The gateway's id of this request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.head.request_id
    }

    fn enter(&mut self, keys: &KeyStore, now: UnixTime) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let policy = gate.policy.as_ref().map_err(|error| {
            Refusal::new(Code::ConfigurationInvalid, "the filter's configuration cannot be used")
                .because(Some(error))
        })?;
        reserved::refuse_reserved(&self.head)?;
        let rules = match policy {
            Policy::Public => return Ok(self.forward(Vec::new(), None)),
            Policy::Authenticated(rules) => rules,
        };
        let bearer = credentials::bearer(&self.head, rules.max_token_bytes)?;
        let token = Token::parse(bearer.jwt()?)?;
        let issuer = issuer_of(&token, rules)?;
        token.check(issuer, &rules.validity, now)?;
        match keys.find(&issuer.url.text, &token.key_id, now) {
            Lookup::Found(key) => {
                key.verify(&token)?;
                self.admit(rules, issuer, &token, now)
            }
            Lookup::Fetch => Ok(Step::Call(self.wait_for_keys(token, issuer))),
            Lookup::Unknown => Err(key_unknown()),
            Lookup::Unavailable => Err(keys_unavailable()),
        }
    }

    fn wait_for_keys(&mut self, token: Token, issuer: &Issuer) -> HttpCall {
        let (fetch, call) = KeyFetch::begin(issuer);
        self.waiting = Some(Waiting { token, fetch });
        call
    }

    fn with_answer(
        &mut self,
        outcome: HttpOutcome,
        keys: &mut KeyStore,
        now: UnixTime,
    ) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let (Ok(Policy::Authenticated(rules)), Some(mut waiting)) =
            (&gate.policy, self.waiting.take())
        else {
            // The host answered a call that was never made.
            return Err(keys_unavailable());
        };
        let issuer = issuer_of(&waiting.token, rules)?;
        let name = &issuer.url.text;
        let failure = match waiting.fetch.advance(outcome) {
            Ok(Progress::Call(call)) => {
                self.waiting = Some(waiting);
                return Ok(Step::Call(call));
            }
            Ok(Progress::Done(set)) => {
                keys.accept(name, set, now);
                None
            }
            Err(failure) => {
                keys.fetch_failed(name, now);
                Some(failure)
            }
        };
        let token = waiting.token;
        match keys.find(name, &token.key_id, now) {
            Lookup::Found(key) => {
                // The token may have expired while it waited.
                token.check(issuer, &rules.validity, now)?;
                key.verify(&token)?;
                self.admit(rules, issuer, &token, now)
            }
            Lookup::Unavailable => Err(keys_unavailable().because(failure)),
            Lookup::Fetch | Lookup::Unknown => {
                keys.fetch_was_fruitless(name, now);
                Err(key_unknown().because(failure))
            }
        }
    }

    /// The token is verified: what remains is what its bearer may do.
    fn admit(
        &self,
        rules: &Rules,
        issuer: &Issuer,
        token: &Token,
        now: UnixTime,
    ) -> Result<Step, Refusal> {
        let identity = Identity::of_verified(token, issuer)?;
        let mut headers = identity.headers();
        if let Err(refusal) = rules.demands.check(&identity, &self.head.method) {
            // Who calls is known in shadow mode too, but only an assertion says that they may.
            return if rules.shadow {
                Ok(self.forward(headers, Some(refusal)))
            } else {
                Err(refusal)
            };
        }
        if let Some(signer) = &rules.signer {
            let value = signer.sign(&identity, &self.head, now).ok_or_else(|| {
                Refusal::new(Code::ConfigurationInvalid, "the assertion could not be signed")
            })?;
            headers.push(SetHeader { name: header::ASSERTION, value });
        }
        Ok(self.forward(headers, None))
    }

    fn forward(&self, mut headers: Vec<SetHeader>, would_refuse: Option<Refusal>) -> Step {
        let value = self.head.request_id.clone();
        headers.push(SetHeader { name: header::REQUEST_ID, value });
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
                Step::Reply(refusal.into_reply_to(&self.head))
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
