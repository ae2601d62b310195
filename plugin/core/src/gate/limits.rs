//! The limits on a request's way through the gate.
//!
//! The tokens of a model's call are counted in two steps: what the call may use is set aside before
//! it leaves, and when it has ended it is charged with what it did use.

use std::rc::Rc;

use kombi_spec::{code::Code, usage::settle::Tokens};

use super::Passage;
use crate::{
    limit::{Budgets, Limits, Reserved, Standing, Verdict, headers},
    refusal::Refusal,
    step::Step,
    worker::Moment,
};

/// What the limits have said to a request so far.
#[derive(Default)]
pub(super) struct Limited {
    standings: Vec<Standing>,
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

    /// Takes what the request costs from `budgets`, or refuses it.
    pub(super) fn draw_on(
        &mut self,
        budgets: &Budgets,
        limits: &Limits,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        if budgets.is_empty() {
            return Ok(());
        }
        let verdict = budgets.admit(moment);
        self.heed(verdict, limits)
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
        self.heed(verdict, limits)
    }

    /// The call has ended and used this; nothing, if it did not leave.
    pub(super) fn charge_tokens(&mut self, used: Tokens, moment: &mut Moment<'_>) {
        if let Some(reserved) = self.limited.set_aside.take() {
            reserved.settle(used.input.saturating_add(used.output), moment);
        }
    }

    fn heed(&mut self, verdict: Verdict, limits: &Limits) -> Result<(), Refusal> {
        if let Some(refusal) = verdict.refusal(limits.families()) {
            return Err(refusal);
        }
        if let Some(refusal) = verdict.would_be_refusal(limits.families()) {
            self.limited.would_refuse.get_or_insert(refusal);
        }
        let standings = &mut self.limited.standings;
        for standing in verdict.standings {
            // How a budget stands now is what the client is to know.
            standings.retain(|earlier| earlier.rule != standing.rule);
            standings.push(standing);
        }
        Ok(())
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
    /// where it came from.
    pub(super) fn conclude(
        &self,
        decision: Result<Step, Refusal>,
        moment: &mut Moment<'_>,
    ) -> Step {
        if let (Err(refusal), Some(rules)) = (&decision, self.gate.rules())
            && is_of_token(refusal.code)
        {
            rules.limits.before(self.head.source).token_failed(moment);
        }
        self.or_reply(decision)
    }
}

/// Whether it is the token that was refused, and there was one.
fn is_of_token(code: Code) -> bool {
    code == Code::CredentialsMalformed || code.status() == 401 && code != Code::TokenMissing
}

#[cfg(test)]
mod tests;
