//! One request on its way through the gate, from top to bottom.

mod keys;
mod limits;
mod opaque;

use std::{rc::Rc, time::Duration};

use kombi_spec::{
    code::Code,
    header::{self, AI_TRIES},
    usage::settle::{Settlement, Tokens},
};

use crate::{
    admission::Admission,
    ai::{
        self,
        answer::Passes,
        conversation::{AnswerHead, Conversation, Entered, Then},
        departure::{KEPT_HEADERS, Way},
        outbox::Will,
    },
    cache::Recalled,
    config::{self, ConfigError, Issuer, KeyTerms, Policy, Rules},
    credentials::{self, Bearer},
    exchange::Exchange,
    identity::Identity,
    limit::key::Caller,
    refusal::{Refusal, Reply},
    request::Head,
    reserved,
    step::{Departure, Forward, HttpOutcome, SetHeader, Step},
    token::{Claims, Token, Window},
    worker::Moment,
};
use keys::{Cause, keys_awaited};
use limits::Limited;
use opaque::Verdict;

/// How long a request waits for what others fetch: as long as that can take.
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

    /// The exchange that keeps the ledger, where calls of models are accounted for.
    #[must_use]
    pub fn ledger(&self) -> Option<&Exchange> {
        let rules = self.rules()?;
        rules.ai.as_ref().filter(|ai| ai.ledger).and(rules.exchange.as_deref())
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
        self.rules()?.exchange.as_deref()
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
        self.rules().map(|rules| &rules.keys)
    }

    /// What is demanded of those who pass, where somebody has to be known.
    fn rules(&self) -> Option<&Rules> {
        match &self.policy {
            Ok(Policy::Authenticated(rules)) => Some(rules),
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
    /// The call of a model, where the route leads to some.
    conversation: Option<Box<Conversation>>,
    /// What is told of that call if this worker dies before it leaves.
    will: Option<Will>,
}

/// A request that waits.
enum Waiting {
    /// For its issuer's keys.
    Keys { token: Box<Token>, cause: Cause },
    /// For what its opaque token means.
    Verdict(Verdict),
}

impl Passage {
    /// A request arrives.
    #[must_use]
    pub fn begin(gate: Rc<Gate>, head: Head, moment: &mut Moment<'_>) -> (Self, Step) {
        moment.worker.leases.seed(head.request_id());
        let limited = Limited::default();
        let mut passage =
            Self { gate, head, waiting: None, limited, conversation: None, will: None };
        let step = passage.enter(moment);
        let step = passage.conclude(step, moment);
        (passage, step)
    }

    /// The call that was asked for has ended.
    pub fn resume(&mut self, outcome: HttpOutcome, moment: &mut Moment<'_>) -> Step {
        self.revoke_will(moment);
        let step = match (&mut self.conversation, self.waiting.take()) {
            (Some(conversation), _) => {
                let departure = conversation.reserved(outcome, moment.now);
                departure.map(|departure| self.depart(departure))
            }
            (None, Some(Waiting::Keys { token, cause: Cause::Fetch(fetch, claim) })) => {
                self.with_answer(*token, fetch, claim, outcome, moment)
            }
            (None, Some(Waiting::Verdict(Verdict::Own(ticket)))) => {
                self.with_verdict(&ticket, outcome, moment)
            }
            _ => Err(unasked()),
        };
        self.conclude(step, moment)
    }

    /// The body that was asked for is there; `None` if it is too large.
    pub fn read(&mut self, body: Option<&[u8]>, moment: &mut Moment<'_>) -> Step {
        match self.with_body(body, moment) {
            Ok(step) => step,
            Err(refusal) => self.conclude(Err(refusal), moment),
        }
    }

    /// The head of the upstream's answer is there. Returns whether its body may change.
    pub fn answered(&mut self, head: &AnswerHead<'_>) -> bool {
        self.conversation.as_mut().is_some_and(|conversation| conversation.answered(head))
    }

    /// A chunk of the upstream's answer goes by; the last one if `ends`. Returns what becomes of
    /// it, and as [`Self::end`] lines for the log, to be written before the chunk goes on.
    pub fn pass(
        &mut self,
        chunk: &[u8],
        ends: bool,
        moment: &mut Moment<'_>,
    ) -> (Passes, Vec<String>) {
        let Some(conversation) = &mut self.conversation else {
            return (Passes::AsItIs, Vec::new());
        };
        let passes = conversation.pass(chunk, ends, moment.now);
        let settlements = conversation.complete(moment.now);
        (passes, self.account(settlements, moment))
    }

    /// Whether the upstream's answer has to be seen.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.conversation.is_some()
    }

    /// The pause that was asked for is over.
    pub fn look_again(&mut self, moment: &mut Moment<'_>) -> Step {
        let step = match self.waiting.take() {
            Some(Waiting::Keys { token, cause: Cause::Another { since, seat } }) => {
                // Free before it is asked for again.
                drop(seat);
                self.with_keys_of_others(*token, since, moment)
            }
            Some(Waiting::Verdict(Verdict::Another { since, seat })) => {
                drop(seat);
                self.with_verdict_of_another(since, moment)
            }
            _ => Err(unasked()),
        };
        self.conclude(step, moment)
    }

    /// The host cannot wait.
    pub fn cannot_wait(&mut self) -> Step {
        let refusal = match self.waiting.take() {
            Some(Waiting::Verdict(_)) => opaque::verdict_awaited(),
            _ => keys_awaited(),
        };
        self.or_reply(Err(refusal))
    }

    /// Whether something is left to be done once the request is over.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.waiting.is_some() || self.conversation.is_some()
    }

    /// The request is over, maybe before it was decided. Returns lines for the gateway's log, if
    /// the ledger is to know of it.
    pub fn end(&mut self, moment: &mut Moment<'_>) -> Vec<String> {
        match self.waiting.take() {
            Some(Waiting::Keys { cause: Cause::Fetch(_, claim), .. }) => {
                moment.worker.keys.orphan(&claim, moment.zone, moment.now);
            }
            Some(Waiting::Verdict(Verdict::Own(ticket))) => {
                moment.worker.verdicts.release(&ticket);
            }
            _ => {}
        }
        self.revoke_will(moment);
        let Some(mut conversation) = self.conversation.take() else { return Vec::new() };
        let traces = self.account(conversation.end(moment.now), moment);
        self.charge_tokens(Tokens::default(), moment);
        traces
    }

    /// Charges the limits with what a call used, and has the ledger told of its tries, where there
    /// is one. Returns a line for the gateway's log for each.
    fn account(&mut self, tries: Vec<Settlement>, moment: &mut Moment<'_>) -> Vec<String> {
        // Those that follow used nothing.
        if let Some(answered) = tries.first() {
            self.charge_tokens(answered.usage, moment);
        }
        let mut traces = Vec::new();
        for settlement in tries {
            moment.worker.health.note(&settlement, moment.now);
            if let Some(exchange) = self.gate.ledger() {
                traces.extend(exchange.trace(&settlement));
                moment.worker.outbox.put(settlement, moment.zone, moment.now);
            }
        }
        traces
    }

    fn revoke_will(&mut self, moment: &mut Moment<'_>) {
        if let Some(will) = self.will.take() {
            will.revoke(moment.zone);
        }
    }

    /// The gateway's id of this request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.head.request_id()
    }

    /// The headers to set on this request, which goes on as `forward` says: names in lower case,
    /// and values of visible ASCII only, so nothing can be smuggled in.
    pub fn headers<'a>(
        &'a self,
        forward: &'a Forward,
    ) -> impl Iterator<Item = (&'static str, &'a str)> {
        let identity = forward.identity.iter().flat_map(|headers| headers.iter());
        let set = identity.chain(&forward.headers);
        set.map(|header| (header.name, header.value.as_str()))
            .chain([(header::REQUEST_ID, self.request_id())])
    }

    /// The answer that refuses this request, in the protocol that its client speaks.
    #[must_use]
    pub fn reply_to(&self, refusal: Refusal) -> Reply {
        if self.gate.policy.as_ref().is_ok_and(Policy::is_ai) {
            refusal.into_openai_reply(self.head.request_id())
        } else {
            refusal.into_reply_to(&self.head)
        }
    }

    fn enter(&mut self, moment: &mut Moment<'_>) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let policy = gate.policy.as_ref().map_err(|error| {
            Refusal::new(Code::ConfigurationInvalid, "the filter's configuration cannot be used")
                .because(Some(error))
        })?;
        reserved::refuse_reserved(&self.head)?;
        let limits = policy.limits();
        self.draw_on_before(limits, moment)?;
        let rules = match policy {
            Policy::Public(limits) => {
                let caller = Caller { identity: None, source: self.head.source };
                self.draw_on_after(&limits.after(&caller), limits, moment)?;
                return Ok(self.forward(Forward::default()));
            }
            Policy::Authenticated(rules) => rules,
        };
        let presented = credentials::presented(&self.head)?;
        let recalled = moment.recall(presented.bytes(), &gate, self.head.method(), &rules.keys);
        if let Some(Recalled::Admitted(admission)) = &recalled {
            return self.proceed(rules, admission, moment);
        }
        let bearer = presented.bearer(rules.max_token_bytes)?;
        if let (Bearer::Opaque(_), Some(_)) = (bearer, &rules.introspection) {
            return self.introspect(rules, None, moment);
        }
        let raw = bearer.jwt()?;
        if let Some(Recalled::Verified(token)) = &recalled {
            let issuer = issuer_of(token, rules)?;
            let window = token.check(issuer, &rules.validity, moment.now)?;
            return self.admit(rules, issuer, &token.claims, window, moment);
        }
        let token = Token::parse(raw)?;
        let issuer = issuer_of(&token, rules)?;
        let window = token.check(issuer, &rules.validity, moment.now)?;
        self.verify(rules, issuer, token, window, None, moment)
    }

    fn with_body(&mut self, body: Option<&[u8]>, moment: &mut Moment<'_>) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let (Some(rules), Some(conversation)) = (gate.rules(), &mut self.conversation) else {
            return Err(Refusal::new(Code::Internal, "a body that nobody asked for"));
        };
        let ai = rules.ai.as_ref().ok_or_else(|| {
            Refusal::new(Code::ConfigurationInvalid, "this route leads to no models")
        })?;
        let body = body.ok_or_else(ai::ask::too_large)?;
        let (exchange, health) = (rules.exchange.as_deref(), &moment.worker.health);
        let prepared = conversation.read(ai, exchange, health, body, moment.now)?;
        if let Err(refusal) = self.set_aside(prepared.tokens, &rules.limits, moment) {
            // Nobody was asked about it yet.
            self.conversation = None;
            return Err(refusal);
        }
        Ok(match prepared.then {
            Then::Reserve(call) => {
                let conversation = self.conversation.as_ref();
                let unsent = conversation.and_then(|call| call.unless_it_leaves(moment.now));
                let outbox = &mut moment.worker.outbox;
                self.will = unsent.and_then(|told| outbox.bequeath(told, moment.zone?, moment.now));
                Step::Call(call)
            }
            Then::Send(departure) => self.depart(departure),
        })
    }

    /// The token is verified: what remains is what its bearer may do. Whoever may pass is admitted,
    /// and the next request with this token begins at [`Self::proceed`].
    fn admit(
        &mut self,
        rules: &Rules,
        issuer: &Issuer,
        claims: &Claims,
        window: Window,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let identity = Identity::of_verified(claims, issuer)?;
        let method = self.head.method();
        if let Err(refusal) = rules.demands.check(&identity, method) {
            return shadowed(rules, identity.headers().into(), refusal);
        }
        let method = rules.demands.depend_on_method().then_some(method);
        let budgets = rules.limits.after_anywhere(&identity);
        let admission = Rc::new(Admission::new(&self.gate, method, window, identity, budgets));
        let presented = credentials::presented(&self.head)?;
        moment.worker.tokens.admit(presented.bytes(), Rc::clone(&admission));
        self.proceed(rules, &admission, moment)
    }

    /// The bearer is admitted: what remains differs from one request to the next.
    fn proceed(
        &mut self,
        rules: &Rules,
        admission: &Admission,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let budgets = match &admission.budgets {
            Some(budgets) => Rc::clone(budgets),
            None => rules
                .limits
                .after(&Caller { identity: Some(&admission.identity), source: self.head.source }),
        };
        if let Err(refusal) = self.draw_on_after(&budgets, &rules.limits, moment) {
            let refusal = refusal.about(&admission.identity.subject);
            return shadowed(rules, Rc::clone(&admission.headers), refusal);
        }
        if let Some(ai) = &rules.ai {
            self.count_tokens_of(budgets);
            return self.converse(ai, &admission.identity);
        }
        let mut headers = Vec::new();
        if let Some(signer) = &rules.signer {
            let signed = signer.sign(&admission.identity, &self.head, moment.now);
            let value = signed.ok_or_else(|| {
                Refusal::new(Code::ConfigurationInvalid, "the assertion could not be signed")
            })?;
            headers.push(SetHeader { name: header::ASSERTION, value });
        }
        let identity = Some(Rc::clone(&admission.headers));
        Ok(self.forward(Forward { identity, headers, ..Forward::default() }))
    }

    /// The bearer may call models: what remains is which.
    fn converse(&mut self, ai: &ai::Rules, who: &Identity) -> Result<Step, Refusal> {
        let (head, route) = (&self.head, self.gate.name());
        let path = head.path();
        let what = (head.method(), &*path);
        match Conversation::begin(ai, who, what, (route, head.request_id()))? {
            Entered::Known(document) => Ok(Step::Answer(document)),
            Entered::Asks(conversation) => {
                ai::ask::refuse_large(head)?;
                self.conversation = Some(conversation);
                Ok(Step::Body)
            }
        }
    }

    /// Lets a call of a model leave for its provider, and those in its place.
    fn depart(&self, departure: ai::departure::Departure) -> Step {
        let mut headers = Vec::new();
        for (names, way) in AI_TRIES.iter().zip(departure.ways) {
            let Way { provider, authorization, edits } = way;
            headers.push(SetHeader { name: names.provider, value: provider });
            // In place of the user's token, also where the provider needs none.
            headers.push(SetHeader { name: names.authorization, value: authorization });
            if !edits.is_empty() {
                headers.push(SetHeader { name: names.edits, value: edits.to_string() });
            }
        }
        if departure.hides_usage {
            headers.push(SetHeader { name: header::AI_HIDES_USAGE, value: "true".to_owned() });
        }
        let departure = Some(Departure { keeps: KEPT_HEADERS });
        self.forward(Forward { headers, departure, ..Forward::default() })
    }

    /// Lets the request go on. Where nothing else would have refused it, a rule in a dry run may.
    fn forward(&self, forward: Forward) -> Step {
        let would_refuse = forward.would_refuse.or_else(|| self.limited.would_refuse.clone());
        Step::Forward(Forward { would_refuse, ..forward })
    }

    /// In shadow mode a refusal is told and the request goes on, as one without a token would on
    /// a public route. A reserved header is refused even so: it would pass for one of ours.
    fn or_reply(&self, step: Result<Step, Refusal>) -> Step {
        step.unwrap_or_else(|refusal| {
            let shadow = self.gate.policy.as_ref().is_ok_and(Policy::is_shadow);
            if shadow && refusal.code != Code::HeaderReserved {
                Step::Forward(Forward { would_refuse: Some(refusal), ..Forward::default() })
            } else {
                Step::Reply(self.reply_to(refusal))
            }
        })
    }
}

/// Refuses somebody who is known, or in shadow mode lets them pass as who they are: but only an
/// assertion says that they may, and there is none.
fn shadowed(rules: &Rules, identity: Rc<[SetHeader]>, refusal: Refusal) -> Result<Step, Refusal> {
    if !rules.shadow {
        return Err(refusal);
    }
    Ok(Step::Forward(Forward {
        identity: Some(identity),
        would_refuse: Some(refusal),
        ..Forward::default()
    }))
}

fn issuer_of<'a>(token: &Token, rules: &'a Rules) -> Result<&'a Issuer, Refusal> {
    let name = token.claims.issuer()?;
    rules.issuers.iter().find(|issuer| issuer.url.text == name).ok_or_else(|| {
        Refusal::new(Code::IssuerUnknown, "the token's iss is not an issuer accepted here")
    })
}

/// The host speaks of a call or a pause that was never asked for.
fn unasked() -> Refusal {
    Refusal::new(Code::Internal, "the gateway could not handle the request")
        .because(Some("the host answered what it was not asked"))
}

#[cfg(test)]
mod tests;
