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
    /// The caller's key after the rule's id and what their plan allows, as the exchange knows rules by
    /// their names alone, and quotas by one size; none, if there is nothing to tell the caller by.
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
        let id = budget.id.of(budget.pace).0.to_le_bytes();
        let key = key.map(|key| [&id, key.bytes()].concat().into());
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        identity::Identity,
        limit::{
            key::{Caller, Part},
            pace::{Pace, Period},
            rule::{Allowance, Cost, Stage},
        },
    };

    fn key_of(rule: &str, plan: Option<&str>) -> Box<[u8]> {
        let hourly = |amount| Allowance::Limited(Pace::new(amount, Period::Hour, amount));
        let rule = Rc::new(Rule {
            name: rule.into(),
            key: vec![Part::Subject],
            cost: Cost::Request,
            stage: Stage::After,
            allowance: hourly(1_000),
            plans: [("pro".to_owned(), hourly(10_000))].into(),
            on_error: OnError::Deny,
            dry_run: false,
            scope: Scope::Shared { grace: Duration::from_secs(30) },
        });
        let ada = Identity { subject: "ada".to_owned(), ..Identity::default() };
        let key = Key::of(&rule.key, &Caller { identity: Some(&ada), source: None });
        let pace = rule.pace(plan).unwrap();
        Shared::of(key.as_ref(), &Budget { id: rule.id(), rule, pace }).unwrap().key.unwrap()
    }

    /// The exchange keeps one size for each quota, so callers of two plans must not meet in one.
    #[test]
    fn what_allows_another_amount_is_another_quota() {
        let ordinary = key_of("calls", None);
        assert_eq!(ordinary, key_of("calls", Some("unheard-of")));
        assert_ne!(ordinary, key_of("calls", Some("pro")));
        assert_ne!(ordinary, key_of("others", None));
    }
}
