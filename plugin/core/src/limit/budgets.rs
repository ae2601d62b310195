//! The budgets that one request draws on, and whether they have enough left.
//!
//! All budgets of one key lie together, so they are judged and changed in one step; with several
//! keys, all are looked at before any is changed. So what is refused uses up nothing.

use std::rc::Rc;

use super::{
    bucket::Record,
    counters::{Counters, Fault, Found},
    key::Key,
    pace::{Pace, UsedUp, WholeAt},
    rule::{Cost, OnError, Rule, RuleId},
    shared::{Drawn, Shared},
    verdict::Verdict,
};
use crate::time::UnixTime;

/// The budgets of a caller by the rules of one stage of a route.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    keyed: Vec<Keyed>,
    shared: Vec<Shared>,
}

/// The budgets of one key.
#[derive(Debug, Clone)]
struct Keyed {
    /// None, if there is nothing to tell the caller by.
    key: Option<Key>,
    budgets: Vec<Budget>,
}

/// One budget of a caller.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    pub(super) rule: Rc<Rule>,
    pub(super) id: RuleId,
    pub(super) pace: Pace,
}

/// What something costs by one rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Price {
    /// The rule does not ask.
    Free,
    /// Nothing, but one unit must be left.
    Look,
    /// These units.
    Units(u64),
}

/// What the budgets of one key say.
struct Opinion<'a> {
    keyed: &'a Keyed,
    state: State,
    pub(super) judged: Vec<Judged<'a>>,
}

enum State {
    /// This was found, and nothing is taken yet.
    Found(Found),
    /// What was asked for is taken.
    Paid,
    /// Nothing can be counted.
    Uncounted(Fault),
}

/// What one budget says.
pub(super) struct Judged<'a> {
    pub(super) budget: &'a Budget,
    /// What it was found to be.
    pub(super) before: WholeAt,
    /// What it becomes, if the request passes.
    pub(super) after: WholeAt,
    pub(super) used_up: Option<UsedUp>,
}

impl Budgets {
    /// The budgets of `rules` under `key`, for a caller with `plan`.
    pub(super) fn add(&mut self, key: Option<Key>, rules: &[Rc<Rule>], plan: Option<&str>) {
        let budget = |rule: &Rc<Rule>| {
            let pace = rule.pace(plan)?;
            Some(Budget { rule: Rc::clone(rule), id: rule.id(), pace })
        };
        let mut budgets: Vec<Budget> = rules.iter().filter_map(budget).collect();
        budgets.retain(|budget| match Shared::of(key.as_ref(), budget) {
            Some(shared) => {
                self.shared.push(shared);
                false
            }
            None => true,
        });
        if !budgets.is_empty() {
            self.keyed.push(Keyed { key, budgets });
        }
    }

    /// About how much memory this takes, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let keyed = self.keyed.iter().map(|keyed| 192 + keyed.budgets.len() * size_of::<Budget>());
        let shared = self.shared.len() * (128 + size_of::<Shared>());
        keyed.sum::<usize>() + shared
    }

    /// Whether no rule applies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keyed.is_empty() && self.shared.is_empty()
    }

    /// Whether one of the rules counts tokens.
    #[must_use]
    pub fn count_tokens(&self) -> bool {
        let mut budgets = self.keyed.iter().flat_map(|keyed| &keyed.budgets);
        budgets.any(|budget| budget.rule.cost == Cost::Tokens)
    }

    /// A request arrives.
    pub(super) fn arrive(&self, counters: &mut Counters<'_>) -> Verdict {
        self.pay(counters, |rule| match rule.cost {
            Cost::Request => Price::Units(1),
            Cost::Tokens | Cost::FailedToken => Price::Look,
        })
    }

    /// Takes what `price` says from all budgets, or from none.
    pub(super) fn pay(
        &self,
        counters: &mut Counters<'_>,
        price: impl Fn(&Rule) -> Price,
    ) -> Verdict {
        // With several keys, what one says may go to the client although another refuses, so that
        // nothing is taken and nothing shows whether it is still so.
        let recalls = self.keyed.len() == 1;
        let look = |keyed| Opinion::new(keyed, recalls, counters, &price);
        let mut opinions: Vec<Opinion<'_>> = self.keyed.iter().map(look).collect();
        if !opinions.iter().any(Opinion::refuses) {
            for index in 0..opinions.len() {
                let Some(opinion) = opinions.get_mut(index) else { break };
                opinion.take(counters, &price);
                if opinion.refuses() {
                    // Somebody else was faster. What was taken elsewhere goes back.
                    let taken = opinions.iter().take(index);
                    taken.for_each(|opinion| opinion.give_back(counters, &price));
                    break;
                }
            }
        }
        let mut admitted = !opinions.iter().any(Opinion::refuses);
        let mut drawn: Vec<(&Shared, Drawn)> = Vec::new();
        let shared = if admitted { self.shared.as_slice() } else { &[] };
        for shared in shared {
            let Some(found) = shared.take(counters, &price) else { continue };
            if found.refuses(shared.rule()) {
                admitted = false;
                opinions.iter().for_each(|opinion| opinion.give_back(counters, &price));
                let taken = |drawn: &Drawn| matches!(drawn, Drawn::Taken { .. });
                for (shared, _) in drawn.iter().filter(|(_, drawn)| taken(drawn)) {
                    shared.give_back(counters, &price);
                }
            }
            drawn.push((shared, found));
            if !admitted {
                break;
            }
        }
        let mut verdict = Verdict::default();
        for opinion in &opinions {
            match opinion.state {
                State::Uncounted(fault) => {
                    let rules = opinion.keyed.budgets.iter().map(|budget| &budget.rule);
                    verdict.uncounted(rules, fault, counters.tally);
                }
                _ => {
                    let judged = opinion.judged.iter();
                    judged.for_each(|judged| verdict.add(judged, admitted, counters.now));
                }
            }
        }
        for (shared, drawn) in drawn {
            verdict.add_drawn(&shared.budget, drawn, counters.tally);
        }
        verdict.tell(counters.tally);
        verdict
    }

    /// Takes what `price` says whether it is there or not. The verdict is about what cannot be
    /// counted, and about nothing else.
    pub(super) fn pay_anyway(
        &self,
        counters: &mut Counters<'_>,
        price: impl Fn(&Rule) -> Price,
    ) -> Verdict {
        let mut verdict = Verdict::default();
        for keyed in &self.keyed {
            let asks = |rule: &&Rc<Rule>| price(rule) != Price::Free;
            let rules = || keyed.budgets.iter().map(|budget| &budget.rule).filter(asks);
            if rules().next().is_none() {
                continue;
            }
            if let Err(fault) = keyed.change(counters, &price, Pace::take_anyway) {
                verdict.uncounted(rules(), fault, counters.tally);
            }
        }
        self.shared.iter().for_each(|shared| shared.charge(counters, &price));
        verdict.tell(counters.tally);
        verdict
    }

    /// Gives back what `price` says.
    pub(super) fn give_back(&self, counters: &mut Counters<'_>, price: impl Fn(&Rule) -> Price) {
        for keyed in &self.keyed {
            keyed.give_back(counters, &price);
        }
        self.shared.iter().for_each(|shared| shared.give_back(counters, &price));
    }
}

impl Keyed {
    /// What this worker remembers of the budgets, if it is what a worker with this clock can have left.
    fn recall(&self, counters: &mut Counters<'_>) -> Option<Found> {
        let found = counters.recall(self.key.as_ref()?)?;
        let plausible = |budget: &Budget| {
            let whole_at = found.whole_at(budget.id);
            budget.plausible(whole_at, counters.now) == whole_at
        };
        self.budgets.iter().all(plausible).then_some(found)
    }

    /// What is in the zone. Where a budget is only looked at, what is taken from it later must have
    /// a place, or else nobody would be kept out by what cannot be counted.
    fn look(
        &self,
        counters: &mut Counters<'_>,
        price: &impl Fn(&Rule) -> Price,
    ) -> Result<Found, Fault> {
        let key = self.key.as_ref().ok_or(Fault::NoKey)?;
        let found = self.look_up(key, counters)?;
        let looked_at = |budget: &&Budget| price(&budget.rule) == Price::Look;
        let later: Vec<Record> = self
            .budgets
            .iter()
            .filter(looked_at)
            .map(|budget| {
                budget.record(budget.pace.take_anyway(WholeAt::default(), 1, counters.now))
            })
            .collect();
        if later.is_empty() || found.has_room(key, &later, counters.now) {
            Ok(found)
        } else {
            Err(Fault::NoRoom)
        }
    }

    fn look_up(&self, key: &Key, counters: &mut Counters<'_>) -> Result<Found, Fault> {
        let found = counters.find(key)?;
        let now = counters.now;
        let set_right = |found: &Found| -> Vec<Record> {
            let right = |budget: &Budget| {
                let whole_at = found.whole_at(budget.id);
                let right = budget.plausible(whole_at, now);
                (right != whole_at).then(|| budget.record(right))
            };
            self.budgets.iter().filter_map(right).collect()
        };
        if set_right(&found).is_empty() {
            return Ok(found);
        }
        // The clock was set back since.
        counters.change(key, set_right)?;
        counters.find(key)
    }

    fn change(
        &self,
        counters: &mut Counters<'_>,
        price: &impl Fn(&Rule) -> Price,
        change: impl Fn(&Pace, WholeAt, u64, UnixTime) -> WholeAt,
    ) -> Result<(), Fault> {
        let key = self.key.as_ref().ok_or(Fault::NoKey)?;
        let now = counters.now;
        counters.change(key, |found| {
            let changed = |budget: &Budget| match price(&budget.rule) {
                Price::Units(units) => {
                    let whole_at = found.whole_at(budget.id);
                    Some(budget.record(change(&budget.pace, whole_at, units, now)))
                }
                Price::Free | Price::Look => None,
            };
            self.budgets.iter().filter_map(changed).collect()
        })
    }

    fn give_back(&self, counters: &mut Counters<'_>, price: &impl Fn(&Rule) -> Price) {
        let give_back = |pace: &Pace, whole_at, units, _| pace.give_back(whole_at, units);
        // Where nothing can be counted, nothing was taken either.
        let _ = self.change(counters, price, give_back);
    }
}

impl Budget {
    fn plausible(&self, whole_at: WholeAt, now: UnixTime) -> WholeAt {
        let by_this_plan = self.pace.plausible(whole_at, now);
        if by_this_plan == whole_at { whole_at } else { self.rule.plausible(whole_at, now) }
    }

    fn record(&self, whole_at: WholeAt) -> Record {
        Record { rule: self.id, whole_at, whole_after_ns: self.pace.whole_after_ns() }
    }

    fn judge(&self, found: &Found, price: Price, now: UnixTime) -> Option<Judged<'_>> {
        let before = found.whole_at(self.id);
        let taken = match price {
            Price::Free => return None,
            Price::Look => self.pace.take(before, 1, now).map(|_| before),
            Price::Units(units) => self.pace.take(before, units, now),
        };
        let after = taken.unwrap_or(before);
        Some(Judged { budget: self, before, after, used_up: taken.err() })
    }
}

impl<'a> Opinion<'a> {
    /// What the budgets under `keyed` say; if it `recalls`, maybe from memory.
    fn new(
        keyed: &'a Keyed,
        recalls: bool,
        counters: &mut Counters<'_>,
        price: &impl Fn(&Rule) -> Price,
    ) -> Self {
        let mut opinion = Self { keyed, state: State::Paid, judged: Vec::new() };
        if let Some(found) = recalls.then(|| keyed.recall(counters)).flatten() {
            opinion.judge(found, counters.now, price);
        }
        if !opinion.changes_all() {
            opinion.look(counters, price);
        }
        opinion
    }

    fn look(&mut self, counters: &mut Counters<'_>, price: &impl Fn(&Rule) -> Price) {
        match self.keyed.look(counters, price) {
            Err(fault) => {
                self.judged.clear();
                self.state = State::Uncounted(fault);
            }
            Ok(found) => self.judge(found, counters.now, price),
        }
    }

    fn judge(&mut self, found: Found, now: UnixTime, price: &impl Fn(&Rule) -> Price) {
        self.judged.clear();
        let budgets = self.keyed.budgets.iter();
        let judge = |budget: &'a Budget| budget.judge(&found, price(&budget.rule), now);
        self.judged.extend(budgets.filter_map(judge));
        self.state = State::Found(found);
    }

    /// Whether every budget that is asked has what is wanted, and less of it afterwards: then to
    /// take it shows whether what was found is still so.
    fn changes_all(&self) -> bool {
        let changes =
            |judged: &Judged<'_>| judged.used_up.is_none() && judged.after != judged.before;
        !self.judged.is_empty() && self.judged.iter().all(changes)
    }

    /// Whether the request must not pass.
    fn refuses(&self) -> bool {
        let strict = |rule: &Rule| rule.on_error == OnError::Deny && !rule.dry_run;
        match self.state {
            State::Uncounted(_) => self.keyed.budgets.iter().any(|budget| strict(&budget.rule)),
            _ => self
                .judged
                .iter()
                .any(|judged| judged.used_up.is_some() && !judged.budget.rule.dry_run),
        }
    }

    fn take(&mut self, counters: &mut Counters<'_>, price: &impl Fn(&Rule) -> Price) {
        for _ in Counters::attempts() {
            let records: Vec<Record> = self
                .judged
                .iter()
                .filter(|judged| judged.after != judged.before)
                .map(|judged| judged.budget.record(judged.after))
                .collect();
            let Some(key) = self.keyed.key.as_ref().filter(|_| !self.refuses()) else { return };
            let found = match std::mem::replace(&mut self.state, State::Paid) {
                State::Found(found) => found,
                state => return self.state = state,
            };
            if records.is_empty() {
                return;
            }
            match counters.write(found, key, &records) {
                Ok(Ok(())) => return,
                Ok(Err(_)) => self.look(counters, price),
                Err(fault) => {
                    self.state = State::Uncounted(fault);
                    return;
                }
            }
        }
        self.state = State::Uncounted(Fault::NotWritten);
    }

    /// Gives back what was taken.
    fn give_back(&self, counters: &mut Counters<'_>, price: &impl Fn(&Rule) -> Price) {
        if !matches!(self.state, State::Paid) {
            return;
        }
        let taken = |rule: &Rule| {
            let mut judged = self.judged.iter();
            let taken = judged
                .any(|judged| judged.after != judged.before && judged.budget.rule.as_ref() == rule);
            if taken { price(rule) } else { Price::Free }
        };
        self.keyed.give_back(counters, &taken);
    }
}
