//! The limits on a request's way through the gate.
//!
//! The tokens of a model's call are counted in two steps: what the call may use is set aside before
//! it leaves, and when it has ended it is charged with what it did use.

use std::rc::Rc;

use kombi_spec::{code::Code, usage::settle::Tokens};

use super::Passage;
use crate::{
    config::Policy,
    limit::{Budgets, Limits, Reserved, Standing, Verdict, headers},
    refusal::Refusal,
    step::Step,
    worker::Moment,
};

/// What the limits have said to a request so far.
#[derive(Default)]
pub(super) struct Limited {
    standings: Vec<Standing>,
    /// What was taken for it, where a later rule may refuse it yet.
    taken: Vec<(Rc<Budgets>, Verdict)>,
    /// What a rule in a dry run would have refused it with.
    pub(super) would_refuse: Option<Refusal>,
    /// The budgets that the tokens of a call come out of.
    tokens: Option<Rc<Budgets>>,
    /// What came out of them for this call.
    set_aside: Option<Reserved>,
}

impl Passage {
    /// Calls `tell` with the name and the value of each header that tells the client how its budgets
    /// stand, for the response.
    pub fn each_limit_header(&self, tell: impl FnMut(&'static str, &str)) {
        let families = self.gate.policy.as_ref().map(|policy| policy.limits().families());
        headers::each(&self.limited.standings, families.unwrap_or_default(), tell);
    }

    /// Takes what the request costs before it is known who calls, or refuses it.
    pub(super) fn draw_on_before(
        &mut self,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        let budgets = limits.before(self.head.source);
        self.draw_on(&budgets, true, limits, moment)
    }

    /// Takes what the request costs from `budgets` of somebody who may pass, or refuses it.
    pub(super) fn draw_on_after(
        &mut self,
        budgets: &Rc<Budgets>,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        self.draw_on(budgets, budgets.count_tokens(), limits, moment)
    }

    /// `more` rules may have something to say later.
    fn draw_on(
        &mut self,
        budgets: &Rc<Budgets>,
        more: bool,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        if budgets.is_empty() {
            return Ok(());
        }
        let verdict = budgets.admit(moment);
        let verdict = self.heed(verdict, limits, moment)?;
        if more {
            self.limited.taken.push((Rc::clone(budgets), verdict));
        }
        Ok(())
    }

    /// The request is a model's call, whose tokens come out of `budgets`.
    pub(super) fn count_tokens_of(&mut self, budgets: Rc<Budgets>) {
        self.limited.tokens = budgets.count_tokens().then_some(budgets);
    }

    /// Sets aside the tokens that the call may use, or refuses it.
    pub(super) fn set_aside(
        &mut self,
        tokens: u64,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        let Some(budgets) = self.limited.tokens.take() else { return Ok(()) };
        let (verdict, reserved) = budgets.reserve(tokens, moment);
        self.limited.set_aside = reserved;
        self.heed(verdict, limits, moment).map(drop)
    }

    /// The call has ended and used this; nothing, if it did not leave.
    pub(super) fn charge_tokens(&mut self, used: Tokens, moment: &mut Moment<'_>) {
        if let Some(reserved) = self.limited.set_aside.take() {
            reserved.settle(used.input.saturating_add(used.output), moment);
        }
    }

    /// Does as the verdict says. What was taken for a request that it refuses goes back, unless the
    /// route only tells and lets it pass.
    fn heed(
        &mut self,
        mut verdict: Verdict,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<Verdict, Refusal> {
        if let Some(refusal) = verdict.refusal(limits.families()) {
            let shadow = self.gate.policy.as_ref().is_ok_and(Policy::is_shadow);
            for (budgets, verdict) in self.limited.taken.drain(..).filter(|_| !shadow) {
                budgets.take_back(&verdict, moment);
            }
            return Err(refusal);
        }
        if let Some(refusal) = verdict.would_be_refusal(limits.families()) {
            self.limited.would_refuse.get_or_insert(refusal);
        }
        let standings = &mut self.limited.standings;
        for standing in std::mem::take(&mut verdict.standings) {
            // How a budget stands now is what the client is to know.
            standings.retain(|earlier| earlier.rule != standing.rule);
            standings.push(standing);
        }
        Ok(verdict)
    }

    /// The request has waited: where its address has sent too many bad tokens meanwhile, its own is
    /// not looked at.
    pub(super) fn look_again_at_failures(
        &self,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        let verdict = limits.before(self.head.source).look_at_failed_tokens(moment);
        verdict.refusal(limits.families()).map_or(Ok(()), Err)
    }

    /// What a decision comes to. Where the token was refused, whoever sent it is told from others by
    /// where it came from; if that cannot be counted, they may learn nothing of the token.
    pub(super) fn conclude(
        &self,
        decision: Result<Step, Refusal>,
        moment: &mut Moment<'_>,
    ) -> Step {
        let uncounted = match (&decision, self.gate.rules()) {
            (Err(refusal), Some(rules)) if is_of_token(refusal.code) => {
                let verdict = rules.limits.before(self.head.source).token_failed(moment);
                verdict.refusal(rules.limits.families())
            }
            _ => None,
        };
        self.or_reply(uncounted.map_or(decision, Err))
    }
}

/// Whether it is the token that was refused, and there was one.
fn is_of_token(code: Code) -> bool {
    code == Code::CredentialsMalformed || code.status() == 401 && code != Code::TokenMissing
}

#[cfg(test)]
mod tests;
