//! The limits on a request's way through the gate.

use kombi_spec::code::Code;

use super::Passage;
use crate::{
    limit::{Budgets, Limits, Standing, headers},
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
        let mut verdict = budgets.admit(moment);
        if let Some(refusal) = verdict.refusal(limits.families()) {
            return Err(refusal);
        }
        if let Some(refusal) = verdict.would_be_refusal(limits.families()) {
            self.limited.would_refuse.get_or_insert(refusal);
        }
        self.limited.standings.append(&mut verdict.standings);
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
