//! One call of a model on its way: from the request's head to the last byte of the answer.

use std::{iter, time::Duration};

use kombi_spec::{
    code::Code,
    problem::Problem,
    usage::{
        self, Endpoint,
        reserve::{self, Exhausted, Fallback, Reservation, ReserveRequest},
        settle::Settlement,
    },
};

use super::{
    Rules,
    answer::Passes,
    ask::Ask,
    departure::{Candidate, Departure},
    health::Health,
    models::Allowed,
    outcome::{FIRST_ATTEMPT, Sent},
    service::Service,
};
use crate::{
    exchange::Exchange, identity::Identity, refusal::Refusal, step::HttpCall, step::HttpOutcome,
    time::UnixTime,
};

/// What comes after the request's head.
#[derive(Debug)]
pub enum Entered {
    /// The gate knows the answer itself: a JSON document.
    Known(Vec<u8>),
    /// The body has to be read first.
    Asks(Box<Conversation>),
}

/// What comes after the request's body.
#[derive(Debug)]
pub struct Prepared {
    /// The tokens that the call may use, estimated.
    pub tokens: u64,
    /// What to do with it.
    pub then: Then,
}

/// What to do with a request whose body has been read.
#[derive(Debug)]
pub enum Then {
    /// Ask the exchange whether it may leave.
    Reserve(HttpCall),
    /// Send it.
    Send(Departure),
}

/// The head of a provider's answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerHead<'a> {
    /// The status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'a [u8],
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a [u8]>,
    /// The provider's id of the request.
    pub request_id: Option<&'a [u8]>,
    /// The status of each try, with colons in between; the last is that of this answer.
    pub tried: Option<&'a [u8]>,
    /// Whether the answer is the provider's; otherwise the gateway made it, because there was
    /// none.
    pub from_provider: bool,
    /// Whether something can be taken out of the body.
    pub changeable: bool,
}

/// A call on its way.
#[derive(Debug)]
pub struct Conversation {
    call: Whose,
    endpoint: Endpoint,
    stage: Stage,
}

/// Who calls, on which route.
#[derive(Debug, Clone)]
struct Whose {
    request_id: String,
    subject: String,
    org: Option<String>,
    plan: Option<String>,
    route: String,
}

#[derive(Debug)]
enum Stage {
    /// The body is awaited.
    Body,
    /// The exchange's word is awaited.
    Reserving { sent: Box<Sent>, candidates: Vec<Candidate>, without_ledger: bool },
    /// It has left.
    Under(Box<Sent>),
    /// It did not leave, and nothing is to be said of it.
    Over,
}

impl Conversation {
    /// A request of `who` arrives, for `path` of the gateway.
    pub fn begin(
        rules: &Rules,
        who: &Identity,
        (method, path): (&str, &str),
        (route, request_id): (&str, &str),
    ) -> Result<Entered, Refusal> {
        let plan = who.plan.as_deref();
        let json = |document: serde_json::Result<Vec<u8>>| {
            document.map(Entered::Known).map_err(|error| {
                Refusal::new(Code::Internal, "the models could not be listed").because(Some(error))
            })
        };
        match Service::find(&rules.path, method, path)? {
            Service::List => json(serde_json::to_vec(&rules.models.list(plan)?)),
            Service::Describe(model) => {
                json(serde_json::to_vec(&rules.models.describe(&model, plan)?))
            }
            Service::Call(endpoint) => {
                let call = Whose {
                    request_id: request_id.to_owned(),
                    subject: who.subject.clone(),
                    org: who.organisation.clone(),
                    plan: who.plan.clone(),
                    route: route.to_owned(),
                };
                Ok(Entered::Asks(Box::new(Self { call, endpoint, stage: Stage::Body })))
            }
        }
    }

    /// The body is there.
    pub fn read(
        &mut self,
        rules: &Rules,
        exchange: Option<&Exchange>,
        health: &Health,
        body: &[u8],
        now: UnixTime,
    ) -> Result<Prepared, Refusal> {
        let ask = Ask::read(self.endpoint, body)?;
        let avoids = |provider: &str, model: &str| health.avoids(provider, model, now);
        let allowed = rules.models.find_but(&ask.model, self.call.plan.as_deref(), avoids)?;
        let candidates: Vec<_> = iter::once(&allowed.first)
            .chain(&allowed.fallbacks)
            .map(|place| Candidate {
                place: Fallback {
                    provider: place.provider.to_owned(),
                    model: place.model.to_owned(),
                },
                edits: ask.edits(place.model),
            })
            .collect();
        let sent = Box::new(Sent::new(self.call(&ask, &allowed), &ask, now));
        let tokens = ask.tokens();
        if !rules.ledger {
            let then = Then::Send(self.depart(sent, candidates, None, now));
            return Ok(Prepared { tokens, then });
        }
        let exchange = exchange.ok_or_else(|| {
            Refusal::new(Code::ConfigurationInvalid, "a ledger needs an exchange")
        })?;
        let request = ReserveRequest {
            request_id: self.call.request_id.clone(),
            attempt: FIRST_ATTEMPT,
            call: sent.call.clone(),
            fallbacks: candidates.iter().skip(1).map(|one| one.place.clone()).collect(),
            input_tokens: ask.input_tokens,
            max_output_tokens: ask.max_output,
            choices: ask.choices,
        };
        let reserve = serde_json::to_vec(&request)
            .ok()
            .and_then(|question| exchange.ask(reserve::PATH, &question, &self.call.request_id, now))
            .ok_or_else(|| unavailable().because(Some("the call could not be signed")))?;
        self.stage = Stage::Reserving { sent, candidates, without_ledger: allowed.without_ledger };
        Ok(Prepared { tokens, then: Then::Reserve(reserve) })
    }

    /// The exchange has answered, or did not.
    pub fn reserved(&mut self, outcome: HttpOutcome, now: UnixTime) -> Result<Departure, Refusal> {
        let Stage::Reserving { sent, candidates, without_ledger } =
            std::mem::replace(&mut self.stage, Stage::Over)
        else {
            return Err(unavailable().because(Some("an answer to no question")));
        };
        match judge(outcome) {
            Word::Granted(reservation) => {
                Ok(self.depart(sent, candidates, Some(&*reservation), now))
            }
            Word::Refused(refusal) => Err(refusal),
            Word::None(_) if without_ledger => Ok(self.depart(sent, candidates, None, now)),
            Word::None(cause) => {
                // It may have been reserved all the same.
                self.stage = Stage::Reserving { sent, candidates, without_ledger };
                Err(unavailable().because(Some(cause)))
            }
        }
    }

    /// The answer's head is there. Returns whether its body may change.
    pub fn answered(&mut self, head: &AnswerHead<'_>) -> bool {
        match &mut self.stage {
            Stage::Under(sent) => sent.begin_answer(head),
            _ => false,
        }
    }

    /// A chunk of the answer goes by; the last one if `ends`.
    pub fn pass(&mut self, chunk: &[u8], ends: bool, now: UnixTime) -> Passes {
        match &mut self.stage {
            Stage::Under(sent) => sent.pass(chunk, ends, now),
            _ => Passes::AsItIs,
        }
    }

    /// What the call used, once the answer has told all that it will: before the client gets the last
    /// of it, so that no whole answer is lost with the worker. What the try used that answered comes
    /// first; those before it, which used nothing, follow.
    pub fn complete(&mut self, now: UnixTime) -> Vec<Settlement> {
        let Stage::Under(sent) = &mut self.stage else { return Vec::new() };
        if sent.settled || !sent.is_over() {
            return Vec::new();
        }
        sent.settled = true;
        sent.settle(&self.call.request_id, now)
    }

    /// What the ledger is to be told if this worker dies before the call has left.
    #[must_use]
    pub fn unless_it_leaves(&self, now: UnixTime) -> Option<Settlement> {
        match &self.stage {
            Stage::Reserving { sent, .. } => Some(sent.not_sent(&self.call.request_id, now)),
            _ => None,
        }
    }

    /// The request is over, whatever became of it. What it used, as [`Self::complete`] tells it, if
    /// that was not said already.
    pub fn end(&mut self, now: UnixTime) -> Vec<Settlement> {
        match std::mem::replace(&mut self.stage, Stage::Over) {
            Stage::Reserving { sent, .. } => vec![sent.not_sent(&self.call.request_id, now)],
            Stage::Under(sent) if !sent.settled => sent.settle(&self.call.request_id, now),
            _ => Vec::new(),
        }
    }

    fn call(&self, ask: &Ask, allowed: &Allowed<'_>) -> usage::Call {
        usage::Call {
            subject: self.call.subject.clone(),
            org: self.call.org.clone(),
            plan: allowed.plan.map(str::to_owned).or_else(|| self.call.plan.clone()),
            provider: allowed.first.provider.to_owned(),
            model: allowed.first.model.to_owned(),
            endpoint: self.endpoint,
            stream: ask.stream,
            route: self.call.route.clone(),
        }
    }

    fn depart(
        &mut self,
        mut sent: Box<Sent>,
        candidates: Vec<Candidate>,
        reservation: Option<&Reservation>,
        now: UnixTime,
    ) -> Departure {
        let (departure, places) = Departure::to(candidates, reservation, sent.forced);
        (sent.at, sent.places) = (now, places);
        self.stage = Stage::Under(sent);
        departure
    }
}

/// What the exchange says.
enum Word {
    /// The call may leave.
    Granted(Box<Reservation>),
    /// It must not.
    Refused(Refusal),
    /// Nothing that could be understood.
    None(String),
}

fn judge(outcome: HttpOutcome) -> Word {
    let (status, body) = match outcome {
        HttpOutcome::Answer { status, body, .. } => (status, body),
        HttpOutcome::Failure(reason) => return Word::None(reason),
    };
    if status == 200 {
        return match serde_json::from_slice::<Reservation>(&body) {
            Ok(reservation) => Word::Granted(Box::new(reservation)),
            // The error could quote the key.
            Err(_) => Word::None("the reservation could not be read".to_owned()),
        };
    }
    if let Ok(Exhausted { problem, budget }) = serde_json::from_slice(&body) {
        let resets_in = Duration::from_secs(budget.resets_in_s);
        let refusal = Refusal::new(problem.code, exhausted(&budget));
        return Word::Refused(refusal.retry_after(resets_in));
    }
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if is_final(problem.code) => {
            Word::Refused(Refusal::new(problem.code, problem.title))
        }
        Ok(problem) => Word::None(format!("{status} {}", problem.code.as_str())),
        Err(_) => Word::None(format!("status {status}")),
    }
}

/// Whether the exchange has decided, rather than failed.
const fn is_final(code: Code) -> bool {
    matches!(
        code,
        Code::BudgetExhausted
            | Code::QuotaExhausted
            | Code::ModelUnpriced
            | Code::PlanUnknown
            | Code::ProviderNotConfigured
    )
}

fn exhausted(budget: &reserve::Budget) -> String {
    use reserve::{Period, Scope, Unit};
    let whose = match budget.scope {
        Scope::Person => "your",
        Scope::Organisation => "your organisation's",
        Scope::Plan => "the plan's",
    };
    let unit = match budget.unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
        Unit::MoneyNano => "billionths of the currency's unit",
    };
    let period = match budget.period {
        Period::Minute => "minute",
        Period::Hour => "hour",
        Period::Day => "day",
        Period::Month => "month",
    };
    format!(
        "of {whose} {} {unit} per {period} {} are left, fewer than this call could use; the next \
         {period} begins in {} s",
        budget.limit, budget.remaining, budget.resets_in_s
    )
}

fn unavailable() -> Refusal {
    Refusal::new(Code::UsageUnavailable, "the ledger of usage does not answer")
}

#[cfg(test)]
mod tests;
