//! What the limits of a stage say to one request.

use std::{rc::Rc, time::Duration};

use super::{
    budgets::{Budget, Judged},
    counters::Fault,
    pace::Pace,
    rule::{Cost, OnError, Rule},
    shared::Drawn,
    tally::{Outcome, Tally, Trouble},
};
use crate::time::UnixTime;

/// What the limits of a stage say to one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How the budgets stand that the client may know of.
    pub standings: Vec<Standing>,
    /// Why the request may not pass, if it may not.
    pub refused: Option<Refused>,
    /// In a dry run: why it would not.
    pub would_refuse: Option<Refused>,
    outcomes: Vec<(Rc<Rule>, Outcome)>,
}

/// How a budget stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its rule.
    pub rule: Rc<Rule>,
    /// How much the caller may use.
    pub pace: Pace,
    /// How much of it is left.
    pub left: u64,
    /// If something is left, when all of it is again; if nothing is, when something will be.
    pub resets_after: Duration,
}

/// Why a request may not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The budgets of these rules are used up.
    UsedUp {
        /// The rules.
        rules: Vec<Rc<Rule>>,
        /// When the request can be repeated.
        wait: Duration,
    },
    /// It could not be counted by this rule.
    Uncounted {
        /// The rule.
        rule: Rc<Rule>,
        /// Why not.
        fault: Fault,
    },
}

impl Verdict {
    /// Whether the request may pass.
    #[must_use]
    pub fn admits(&self) -> bool {
        self.refused.is_none()
    }

    /// The names of the rules that gave what was asked for.
    pub(super) fn admitted(&self) -> impl Iterator<Item = Rc<str>> {
        let admitted = self.outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Admitted);
        admitted.map(|(rule, _)| Rc::clone(&rule.name))
    }

    /// Whether units of `rule` were taken for a request, if that was admitted.
    pub(super) fn took(&self, rule: &Rule) -> bool {
        let admitted = |(by, outcome): &(Rc<Rule>, Outcome)| {
            **by == *rule && *outcome == Outcome::Admitted && rule.cost == Cost::Request
        };
        self.outcomes.iter().any(admitted)
    }

    /// `admitted` is whether the request passes, so that what was asked for is taken.
    pub(super) fn add(&mut self, judged: &Judged<'_>, admitted: bool, now: UnixTime) {
        let Judged { budget, used_up, .. } = judged;
        let whole_at = if admitted { judged.after } else { judged.before };
        let left = budget.pace.left(whole_at, now);
        let resets_after = match used_up {
            Some(used_up) if left == 0 => used_up.wait,
            None if left == 0 => budget.pace.next_after(whole_at, now),
            _ => whole_at.after(now),
        };
        self.judged(budget, used_up.map(|used_up| used_up.wait), left, resets_after);
    }

    pub(super) fn add_drawn(&mut self, budget: &Budget, drawn: Drawn, tally: &mut Tally) {
        match drawn {
            Drawn::Taken { left } => self.judged(budget, None, left, budget.pace.whole_after(left)),
            Drawn::UsedUp(used_up) => self.judged(budget, Some(used_up.wait), 0, used_up.wait),
            Drawn::Uncounted(fault) => self.uncounted([&budget.rule].into_iter(), fault, tally),
        }
    }

    fn judged(
        &mut self,
        budget: &Budget,
        wait: Option<Duration>,
        left: u64,
        resets_after: Duration,
    ) {
        let (rule, pace) = (&budget.rule, budget.pace);
        let outcome = match (wait, rule.dry_run) {
            (None, _) => Outcome::Admitted,
            (Some(_), false) => Outcome::Denied,
            (Some(_), true) => Outcome::WouldDeny,
        };
        self.outcomes.push((Rc::clone(rule), outcome));
        if let Some(wait) = wait {
            let refused = if rule.dry_run { &mut self.would_refuse } else { &mut self.refused };
            Refused::add(refused, rule, wait);
        }
        // Whose tokens are good need not know how many may fail.
        let private = rule.cost == Cost::FailedToken && wait.is_none();
        if !rule.dry_run && !private {
            self.standings.push(Standing { rule: Rc::clone(rule), pace, left, resets_after });
        }
    }

    pub(super) fn uncounted<'a>(
        &mut self,
        rules: impl Iterator<Item = &'a Rc<Rule>>,
        fault: Fault,
        tally: &mut Tally,
    ) {
        tally.trouble(Trouble::Uncounted(fault), 1);
        for rule in rules {
            let outcome = match rule.on_error {
                OnError::Allow => Outcome::UncountedAdmitted,
                OnError::Deny => Outcome::UncountedDenied,
            };
            if rule.on_error == OnError::Deny {
                let refused = if rule.dry_run { &mut self.would_refuse } else { &mut self.refused };
                refused.get_or_insert(Refused::Uncounted { rule: Rc::clone(rule), fault });
            }
            self.outcomes.push((Rc::clone(rule), outcome));
        }
    }

    /// Counts what each rule said. Where one refuses, what the others would have admitted is
    /// neither admitted nor refused by them.
    pub(super) fn tell(&self, tally: &mut Tally) {
        for (rule, outcome) in &self.outcomes {
            if self.admits() || *outcome != Outcome::Admitted {
                tally.decided(&rule.name, *outcome);
            }
        }
    }
}

impl Refused {
    /// A used up budget is the better reason, for it tells the client when to come back.
    fn add(refused: &mut Option<Self>, rule: &Rc<Rule>, wait: Duration) {
        match refused {
            Some(Self::UsedUp { rules, wait: longest }) => {
                rules.push(Rc::clone(rule));
                *longest = (*longest).max(wait);
            }
            _ => *refused = Some(Self::UsedUp { rules: vec![Rc::clone(rule)], wait }),
        }
    }
}
