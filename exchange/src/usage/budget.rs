//! Budgets: how much of what somebody may use in a period, and how much of it is gone.
//!
//! What is gone is the sum over the rows of the period: of an open row the most that it could
//! use, of a settled one what it did use. The sums are kept in `usage_windows`, and summed up
//! from the rows when one is not there. All of it happens in the transaction that writes the row,
//! so of many calls at once no two can take the same rest.

use kombi_spec::usage::reserve::{Budget, Period, Scope, Unit};

use super::{call::Caller, period::Window, plan::Rule};
use crate::{
    store::{Connection, Row, StoreError, params},
    time::UnixTime,
};

/// What counts against budgets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Charge {
    pub(super) requests: i64,
    pub(super) tokens: i64,
    pub(super) cost_nano: i64,
}

impl Charge {
    const fn of(&self, unit: Unit) -> i64 {
        match unit {
            Unit::Requests => self.requests,
            Unit::Tokens => self.tokens,
            Unit::MoneyNano => self.cost_nano,
        }
    }

    /// What must be added to `other` to make it this.
    pub(super) const fn more_than(&self, other: &Self) -> Self {
        Self {
            requests: self.requests - other.requests,
            tokens: self.tokens - other.tokens,
            cost_nano: self.cost_nano - other.cost_nano,
        }
    }
}

impl Caller {
    /// Whose the sums of `scope` are.
    fn who(&self, scope: Scope) -> &str {
        match scope {
            Scope::Person => &self.subject,
            Scope::Organisation => &self.org,
            Scope::Plan => &self.plan,
        }
    }
}

/// How a budget stands before `charge` is taken from it.
pub(super) struct Standing {
    rule: Rule,
    window: Window,
    used: i64,
    charge: i64,
}

impl Standing {
    /// Whether there is enough left.
    pub(super) const fn suffices(&self) -> bool {
        self.charge <= self.rule.limit.saturating_sub(self.used)
    }

    /// When the budget is whole again.
    pub(super) const fn resets_at(&self) -> UnixTime {
        self.window.ends_at
    }

    /// The budget as it is told, with the charge taken off or not.
    pub(super) fn told(&self, now: UnixTime, taken: bool) -> Budget {
        let Rule { scope, period, unit, limit } = self.rule;
        let charge = if taken { self.charge } else { 0 };
        let left = limit.saturating_sub(self.used).saturating_sub(charge);
        Budget {
            scope,
            unit,
            period,
            limit: u64::try_from(limit).unwrap_or(0),
            remaining: u64::try_from(left).unwrap_or(0),
            resets_in_s: self.resets_at().as_secs().saturating_sub(now.as_secs()),
        }
    }
}

/// How the budgets stand that a call of `caller` must keep within.
pub(super) fn standings(
    connection: &Connection,
    caller: &Caller,
    rules: impl Iterator<Item = Rule>,
    charge: &Charge,
    now: UnixTime,
) -> Result<Vec<Standing>, StoreError> {
    rules
        .map(|rule| {
            let window = Window::of(rule.period, now);
            let used = sums(connection, caller, rule.scope, rule.period, now)?;
            Ok(Standing { rule, window, used: used.of(rule.unit), charge: charge.of(rule.unit) })
        })
        .collect()
}

/// Adds `change` to the sums that the rows of `caller` at the time `at` belong to.
pub(super) fn charge(
    connection: &Connection,
    caller: &Caller,
    at: UnixTime,
    change: &Charge,
) -> Result<(), StoreError> {
    if *change == Charge::default() {
        return Ok(());
    }
    let starts = |period| Window::of(period, at).starts_at.as_sql();
    let add = "UPDATE usage_windows
               SET requests = requests + ?1, tokens = tokens + ?2, cost_nano = cost_nano + ?3
               WHERE scope = ?4 AND who = ?5 AND starts_at IN (?6, ?7, ?8, ?9) AND ends_at > ?10";
    for scope in [Scope::Person, Scope::Organisation, Scope::Plan] {
        connection.execute(
            add,
            params![
                change.requests,
                change.tokens,
                change.cost_nano,
                label(scope),
                caller.who(scope),
                starts(Period::Minute),
                starts(Period::Hour),
                starts(Period::Day),
                starts(Period::Month),
                at.as_sql(),
            ],
        )?;
    }
    Ok(())
}

/// Deletes sums of periods that ended before `at`.
pub(super) fn forget(connection: &Connection, at: UnixTime) -> Result<usize, StoreError> {
    connection.execute("DELETE FROM usage_windows WHERE ends_at < ?1", params![at.as_sql()])
}

/// What `caller`, or all of the same organisation or plan, have used in the `period` of `at`.
pub(super) fn sums(
    connection: &Connection,
    caller: &Caller,
    scope: Scope,
    period: Period,
    at: UnixTime,
) -> Result<Charge, StoreError> {
    let (who, window) = (caller.who(scope), Window::of(period, at));
    let (start, end) = (window.starts_at.as_sql(), window.ends_at.as_sql());
    let read = |row: &Row<'_>| {
        Ok(Charge { requests: row.get(0)?, tokens: row.get(1)?, cost_nano: row.get(2)? })
    };
    let known = "SELECT requests, tokens, cost_nano FROM usage_windows
                 WHERE scope = ?1 AND who = ?2 AND starts_at = ?3 AND ends_at = ?4";
    let known = connection.query_optional(known, params![label(scope), who, start, end], read)?;
    if let Some(known) = known {
        return Ok(known);
    }
    let used = connection.query_row(sum(scope), params![who, start, end], read)?;
    let Charge { requests, tokens, cost_nano } = used;
    connection.execute(
        "INSERT INTO usage_windows (scope, who, starts_at, ends_at, requests, tokens, cost_nano)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![label(scope), who, start, end, requests, tokens, cost_nano],
    )?;
    Ok(used)
}

/// Sums up the rows of one person, organisation or plan.
const fn sum(scope: Scope) -> &'static str {
    match scope {
        Scope::Person => {
            "SELECT CAST(coalesce(sum(requests), 0) AS BIGINT),
                    CAST(coalesce(sum(input_tokens + output_tokens), 0) AS BIGINT),
                    CAST(coalesce(sum(cost_nano), 0) AS BIGINT)
             FROM usage_metrics WHERE subject = ?1 AND reserved_at >= ?2 AND reserved_at < ?3"
        }
        Scope::Organisation => {
            "SELECT CAST(coalesce(sum(requests), 0) AS BIGINT),
                    CAST(coalesce(sum(input_tokens + output_tokens), 0) AS BIGINT),
                    CAST(coalesce(sum(cost_nano), 0) AS BIGINT)
             FROM usage_metrics WHERE org = ?1 AND reserved_at >= ?2 AND reserved_at < ?3"
        }
        Scope::Plan => {
            "SELECT CAST(coalesce(sum(requests), 0) AS BIGINT),
                    CAST(coalesce(sum(input_tokens + output_tokens), 0) AS BIGINT),
                    CAST(coalesce(sum(cost_nano), 0) AS BIGINT)
             FROM usage_metrics WHERE plan = ?1 AND reserved_at >= ?2 AND reserved_at < ?3"
        }
    }
}

const fn label(scope: Scope) -> &'static str {
    match scope {
        Scope::Person => "person",
        Scope::Organisation => "organisation",
        Scope::Plan => "plan",
    }
}
