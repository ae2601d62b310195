//! A budget that several nodes share: this one draws on what it holds on [lease](super::lease).

use std::rc::Rc;

use super::{
    budgets::{Budget, Price},
    counters::{Counters, Fault},
    key::Key,
    lease::{Quota, Taken, Terms},
    pace::UsedUp,
    rule::{OnError, Rule, Scope},
    tally::Trouble,
};

/// One budget of a caller that several nodes share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    /// The caller's key after the rule's id, as the exchange knows rules by their names alone; none,
    /// if there is nothing to tell the caller by.
    key: Option<Box<[u8]>>,
    pub(super) budget: Budget,
    terms: Terms,
}

/// What the node's part of such a budget says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drawn {
    /// What was asked for is taken; so much is left, as far as this node knows.
    Taken { left: u64 },
    /// It is not there.
    UsedUp(UsedUp),
    /// Nothing can be counted.
    Uncounted(Fault),
}

impl Shared {
    /// None, if the budget's rule is for one node.
    pub(super) fn of(key: Option<&Key>, budget: &Budget) -> Option<Self> {
        let Scope::Shared { grace } = budget.rule.scope else { return None };
        let terms = Terms {
            amount: budget.pace.amount(),
            period: std::time::Duration::from_secs(budget.pace.period().seconds()),
            burst: budget.pace.burst(),
            grace,
        };
        let key = key.map(|key| [&budget.id.0.to_le_bytes(), key.bytes()].concat().into());
        Some(Self { key, budget: budget.clone(), terms })
    }

    pub(super) const fn rule(&self) -> &Rc<Rule> {
        &self.budget.rule
    }

    /// Takes what `price` says; none, if the rule does not ask.
    pub(super) fn take(
        &self,
        counters: &mut Counters<'_>,
        price: &impl Fn(&Rule) -> Price,
    ) -> Option<Drawn> {
        let units = match price(self.rule()) {
            Price::Free => return None,
            // Whether more can be had shows when it is asked for.
            Price::Look => 0,
            Price::Units(units) => units,
        };
        let Some(quota) = self.quota() else { return Some(Drawn::Uncounted(Fault::NoKey)) };
        let Counters { leases, zone, now, tally, .. } = counters;
        let taken = leases.take(quota, units, *zone, *now);
        let displaced = leases.take_displaced();
        if displaced > 0 {
            tally.trouble(Trouble::Displaced, displaced);
        }
        Some(match taken {
            Taken::Granted { left } => Drawn::Taken { left },
            Taken::Exhausted(wait) => Drawn::UsedUp(UsedUp { wait }),
            Taken::NoRoom => Drawn::Uncounted(Fault::NoRoom),
            Taken::Unknown if zone.is_none() => Drawn::Uncounted(Fault::NoZone),
            Taken::Unknown => Drawn::Uncounted(Fault::NoWord),
        })
    }

    /// Takes what `price` says whether it is there or not.
    pub(super) fn charge(&self, counters: &mut Counters<'_>, price: &impl Fn(&Rule) -> Price) {
        if let (Price::Units(units), Some(quota)) = (price(self.rule()), self.quota()) {
            counters.leases.charge(quota, units, counters.zone, counters.now);
        }
    }

    /// Gives back what `price` says.
    pub(super) fn give_back(&self, counters: &mut Counters<'_>, price: &impl Fn(&Rule) -> Price) {
        if let (Price::Units(units), Some(quota)) = (price(self.rule()), self.quota()) {
            counters.leases.give_back(quota, units, counters.zone);
        }
    }

    fn quota(&self) -> Option<Quota<'_>> {
        let key = self.key.as_deref()?;
        Some(Quota { rule: &self.rule().name, key, terms: self.terms })
    }
}

impl Drawn {
    /// Whether a request that drew this must not pass.
    pub(super) fn refuses(self, rule: &Rule) -> bool {
        !rule.dry_run
            && match self {
                Self::Taken { .. } => false,
                Self::UsedUp(_) => true,
                Self::Uncounted(_) => rule.on_error == OnError::Deny,
            }
    }
}
