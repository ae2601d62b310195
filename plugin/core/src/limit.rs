//! How much a caller may use: rules, and the budgets that they give to each caller.
//!
//! A rule says how much (`pace`) whom (`key`) it allows. The budgets of a node lie in its zone
//! (`bucket`, `counters`), where all workers change them by compare-and-swap, so that they hold
//! exactly for the node. What one request draws on is judged in one step (`budgets`, `verdict`).
//!
//! Where a rule shall hold for several nodes together (`shared`), only the place of its budgets
//! changes: a node then draws on what it holds on `lease`, and everything before and after that is
//! the same.

use std::rc::Rc;

use crate::{
    identity::Identity,
    worker::{Moment, Worker},
    zone::Zone,
};

pub mod address;
mod answer;
mod bucket;
mod budgets;
mod counters;
pub mod headers;
mod kept;
pub mod key;
pub mod lease;
pub mod pace;
pub mod rule;
mod seed;
mod shared;
mod tally;
mod verdict;

pub use answer::Told;
pub use budgets::Budgets;
pub use counters::Fault;
pub use tally::{Counts, Outcome, Tally, Trouble};
pub use verdict::{Refused, Standing, Verdict};

use address::Source;
use budgets::Price;
use counters::{Counters, Memory};
use headers::Families;
use key::{Caller, Key, Part};
use rule::{Cost, Rule, Stage};

/// The limits of one route.
#[derive(Debug, Default)]
pub struct Limits {
    before: Vec<Group>,
    after: Vec<Group>,
    families: Families,
    /// What no rule gives.
    no_budgets: Rc<Budgets>,
}

/// Rules that tell callers apart by the same parts: their budgets lie together.
#[derive(Debug)]
struct Group {
    parts: Vec<Part>,
    rules: Vec<Rc<Rule>>,
}

impl Limits {
    /// The limits that `rules` say, told to the client in the headers of `families`.
    #[must_use]
    pub fn new(rules: Vec<Rule>, families: Families) -> Self {
        let mut limits = Self { families, ..Self::default() };
        for rule in rules {
            let groups = match rule.stage {
                Stage::Before => &mut limits.before,
                Stage::After => &mut limits.after,
            };
            let parts = rule.key.clone();
            match groups.iter_mut().find(|group| group.parts == parts) {
                Some(group) => group.rules.push(Rc::new(rule)),
                None => groups.push(Group { parts, rules: vec![Rc::new(rule)] }),
            }
        }
        limits
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// The headers that tell the client how its budgets stand.
    #[must_use]
    pub const fn families(&self) -> Families {
        self.families
    }

    /// Whether it must be known where a request comes from. On a `public` route nobody is known by
    /// anything else.
    #[must_use]
    pub fn need_source(&self, public: bool) -> bool {
        !self.before.is_empty() || self.after.iter().any(|group| public || group.is_by_source())
    }

    /// The budgets of whoever calls from `source`, before the token is looked at.
    #[must_use]
    pub fn before(&self, source: Option<Source>) -> Rc<Budgets> {
        self.bind(&self.before, &Caller { identity: None, source })
    }

    /// The budgets of a caller who may pass.
    #[must_use]
    pub fn after(&self, caller: &Caller<'_>) -> Rc<Budgets> {
        self.bind(&self.after, caller)
    }

    /// The budgets of `identity`, if they are the same wherever it calls from.
    #[must_use]
    pub fn after_anywhere(&self, identity: &Identity) -> Option<Rc<Budgets>> {
        let by_source = self.after.iter().any(Group::is_by_source);
        let caller = Caller { identity: Some(identity), source: None };
        (!by_source).then(|| self.after(&caller))
    }

    fn bind(&self, groups: &[Group], caller: &Caller<'_>) -> Rc<Budgets> {
        if groups.is_empty() {
            return Rc::clone(&self.no_budgets);
        }
        let plan = caller.identity.and_then(|identity: &Identity| identity.plan.as_deref());
        let mut budgets = Budgets::default();
        for Group { parts, rules } in groups {
            budgets.add(Key::of(parts, caller), rules, plan);
        }
        Rc::new(budgets)
    }
}

impl Group {
    fn is_by_source(&self) -> bool {
        self.parts.contains(&Part::Source)
    }
}

/// What one worker knows of the counters of its node.
#[derive(Default)]
pub struct Local {
    memory: Memory,
    /// What became of the limits.
    pub tally: Tally,
}

impl Local {
    /// What a worker knows that has just begun; nobody can guess `chance`.
    #[must_use]
    pub fn with_chance(chance: u64) -> Self {
        Self { memory: Memory::with_chance(chance), ..Self::default() }
    }

    /// To be called from time to time.
    pub fn tend(&mut self, zone: Option<&dyn Zone>) {
        if zone.is_some_and(|zone| self.memory.tend(zone)) {
            self.tally.trouble(Trouble::Lost, 1);
        }
    }
}

impl Budgets {
    /// A request arrives.
    #[must_use]
    pub fn admit(&self, moment: &mut Moment<'_>) -> Verdict {
        self.arrive(&mut moment.counters())
    }

    /// A request that `verdict` admitted was refused by rules that came later: gives back what was
    /// taken for it.
    pub fn take_back(&self, verdict: &Verdict, moment: &mut Moment<'_>) {
        self.give_back(&mut moment.counters(), |rule| {
            if verdict.took(rule) { Price::Units(1) } else { Price::Free }
        });
    }

    /// The token of the request was refused. The verdict refuses only where that cannot be counted.
    #[must_use]
    pub fn token_failed(&self, moment: &mut Moment<'_>) -> Verdict {
        self.pay_anyway(&mut moment.counters(), |rule| match rule.cost {
            Cost::FailedToken => Price::Units(1),
            Cost::Request | Cost::Tokens => Price::Free,
        })
    }

    /// The request has waited, and its token is about to be looked at: others from the same
    /// address may have failed since it arrived.
    #[must_use]
    pub fn look_at_failed_tokens(&self, moment: &mut Moment<'_>) -> Verdict {
        self.pay(&mut moment.counters(), |rule| match rule.cost {
            Cost::FailedToken => Price::Look,
            Cost::Request | Cost::Tokens => Price::Free,
        })
    }

    /// Sets `tokens` aside for a call that will use about so many. If a rule does not have them,
    /// nothing is set aside.
    pub fn reserve(
        self: &Rc<Self>,
        tokens: u64,
        moment: &mut Moment<'_>,
    ) -> (Verdict, Option<Reserved>) {
        let verdict = self.pay(&mut moment.counters(), priced(|_| tokens));
        let reserved = verdict.admits().then(|| Reserved {
            budgets: Rc::clone(self),
            tokens,
            paid: verdict.admitted().collect(),
        });
        (verdict, reserved)
    }
}

/// Tokens that were set aside for a call to a model.
#[derive(Debug)]
#[must_use = "what is not settled stays used"]
pub struct Reserved {
    budgets: Rc<Budgets>,
    tokens: u64,
    /// The rules whose budgets gave them; one in a dry run, or that could not count, did not.
    paid: Vec<Rc<str>>,
}

impl Reserved {
    /// The call has ended and used so many tokens: what is left of those set aside goes back, and
    /// what it used beyond them is used.
    pub fn settle(self, used: u64, moment: &mut Moment<'_>) {
        let counters = &mut moment.counters();
        let paid = |rule: &Rule| if self.paid.contains(&rule.name) { self.tokens } else { 0 };
        let budgets = &self.budgets;
        // What is counted is over already, so nobody can be refused for it.
        let _ = budgets.pay_anyway(counters, priced(|rule| used.saturating_sub(paid(rule))));
        budgets.give_back(counters, priced(|rule| paid(rule).saturating_sub(used)));
    }
}

/// What so many tokens cost.
fn priced(tokens: impl Fn(&Rule) -> u64) -> impl Fn(&Rule) -> Price {
    move |rule| match (rule.cost, tokens(rule)) {
        (Cost::Tokens, units @ 1..) => Price::Units(units),
        _ => Price::Free,
    }
}

impl Moment<'_> {
    fn counters(&mut self) -> Counters<'_> {
        let Worker { limits: Local { memory, tally }, leases, .. } = &mut *self.worker;
        Counters { zone: self.zone, memory, leases, tally, now: self.now }
    }
}

#[cfg(test)]
mod tests;
