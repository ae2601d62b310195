//! A request with an opaque token: judged by what the exchange says about it.

use std::rc::Rc;

use kombi_spec::code::Code;

use super::{LONGEST_WAIT, Passage, Waiting};
use crate::{
    config::{Introspection, Rules},
    credentials::{self, Bearer},
    introspect::{Answer, Known, Opaque, Ticket},
    refusal::Refusal,
    step::{HttpOutcome, Step},
    time::UnixTime,
    token::Claims,
    worker::Moment,
};

/// What a request with an opaque token waits for.
pub(super) enum Verdict {
    /// The answer to its own question.
    Own(Ticket),
    /// What another learns, since this moment; with a seat among those who wait.
    Another { since: UnixTime, seat: Rc<()> },
}

impl Passage {
    /// Judges the request's opaque token, now or when the exchange has said what it means. `since`
    /// is when the request began to wait for another's question, if it does.
    pub(super) fn introspect(
        &mut self,
        rules: &Rules,
        since: Option<UnixTime>,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let bearer = credentials::presented(&self.head)?.bearer(rules.max_token_bytes)?;
        let (Some(Introspection { issuer, exchange }), Bearer::Opaque(raw)) =
            (&rules.introspection, bearer)
        else {
            return Err(unavailable());
        };
        let (token, name) = (Opaque::parse(raw)?, issuer.url.text.as_str());
        match moment.worker.verdicts.find(token, name, exchange, moment.now) {
            Known::Active(claims) => self.admit_introspected(rules, &claims, moment),
            Known::Inactive => Err(inactive()),
            Known::Unavailable => Err(unavailable()),
            Known::Ask(ticket) => {
                let Some(call) = token.ask(name, exchange, self.head.request_id(), moment.now)
                else {
                    moment.worker.verdicts.release(&ticket);
                    return Err(unavailable().because(Some("the question could not be signed")));
                };
                self.waiting = Some(Waiting::Verdict(Verdict::Own(ticket)));
                Ok(Step::Call(call))
            }
            Known::Busy => self.await_verdict(since.unwrap_or(moment.now), moment),
        }
    }

    /// Waits for what others ask, if there is room and time.
    fn await_verdict(&mut self, since: UnixTime, moment: &Moment<'_>) -> Result<Step, Refusal> {
        let seat = moment.worker.verdicts.seat().ok_or_else(verdict_awaited)?;
        if moment.now.since(since) >= LONGEST_WAIT {
            return Err(verdict_awaited());
        }
        self.waiting = Some(Waiting::Verdict(Verdict::Another { since, seat }));
        Ok(Step::Wait)
    }

    /// The pause of a request that waits since this moment for another's question is over.
    pub(super) fn with_verdict_of_another(
        &mut self,
        since: UnixTime,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let gate = Rc::clone(&self.gate);
        let rules = gate.rules().ok_or_else(unavailable)?;
        self.look_again_at_failures(&rules.limits, moment)?;
        self.introspect(rules, Some(since), moment)
    }

    /// The exchange has answered the question of this request, or has not.
    pub(super) fn with_verdict(
        &mut self,
        ticket: &Ticket,
        outcome: HttpOutcome,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let said = Answer::read(outcome);
        moment.worker.verdicts.settle(ticket, said.as_ref(), moment.now);
        let gate = Rc::clone(&self.gate);
        let rules = gate.rules().ok_or_else(unavailable)?;
        match said {
            Ok(Answer::Active(claims, _)) => self.admit_introspected(rules, &claims, moment),
            Ok(Answer::Inactive(_)) => Err(inactive()),
            Err(error) => Err(unavailable().because(Some(error))),
        }
    }

    /// The issuer holds the token to be good. Whether what it says is good here is judged by the
    /// rules for a JWT's claims, for every request anew.
    fn admit_introspected(
        &mut self,
        rules: &Rules,
        claims: &Claims,
        moment: &mut Moment<'_>,
    ) -> Result<Step, Refusal> {
        let Some(Introspection { issuer, .. }) = &rules.introspection else {
            return Err(unavailable());
        };
        if claims.issuer()? != issuer.url.text {
            return Err(Refusal::new(
                Code::IssuerUnknown,
                "the token's iss is not the issuer that was asked about it",
            ));
        }
        refuse_bound(claims)?;
        let window = claims.check(issuer, &rules.validity, moment.now)?;
        self.admit(rules, issuer, claims, window, moment)
    }
}

/// Refuses what is not good in the hands of whoever holds it (`token_type`, RFC 7662 section 2.2): a
/// token that is bound to a key (RFC 9449), say.
fn refuse_bound(claims: &Claims) -> Result<(), Refusal> {
    match claims.string("token_type")? {
        Some(kind) if !kind.eq_ignore_ascii_case("bearer") => {
            Err(Refusal::new(Code::NotAnAccessToken, "the opaque token's token_type is not Bearer"))
        }
        _ => Ok(()),
    }
}

fn inactive() -> Refusal {
    Refusal::new(Code::TokenInactive, "the issuer says that the opaque token is not active")
}

fn unavailable() -> Refusal {
    let detail = "the exchange could not find out what the opaque token means";
    Refusal::new(Code::IntrospectionUnavailable, detail)
}

/// Others ask, and this request can wait for them no longer.
pub(super) fn verdict_awaited() -> Refusal {
    let detail = "too many requests wait to learn what opaque tokens mean";
    Refusal::new(Code::IntrospectionUnavailable, detail)
}

#[cfg(test)]
mod tests;
