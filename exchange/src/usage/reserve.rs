//! Before a call leaves: budgets are checked and the row is written, in one transaction.

use kombi_spec::{
    code::Code,
    usage::reserve::{Budget, MAX_CHOICES, ReserveRequest, Unit},
};

use super::{
    budget::{self, Standing},
    call::{Call, CallId, Unfit},
    plan::Plan,
    row::{self, Estimate, New, State},
    terms::Terms,
    tokens::{self, Tokens},
};
use crate::{
    refusal::Refusal,
    store::{Connection, StoreError},
    time::UnixTime,
};

/// A call that wants to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: CallId,
    pub(super) call: Call,
    input: u32,
    max_output: Option<u32>,
    choices: u32,
}

/// Why a call may not leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Denial {
    PlanUnknown,
    Unpriced,
    /// The attempt is settled, or was reserved for another call.
    Conflict,
    /// This budget has not enough left.
    Exhausted(Budget),
}

impl Wanted {
    pub(super) fn parse(wire: ReserveRequest) -> Result<Self, Unfit> {
        let ReserveRequest { request_id, attempt, call, input_tokens, max_output_tokens, choices } =
            wire;
        let number = |field, tokens| {
            let expected = "a number of tokens up to 1000000000";
            tokens::count(tokens).ok_or(Unfit { field, expected })
        };
        if choices > MAX_CHOICES {
            return Err(Unfit { field: "choices", expected: "a number from 0 to 128" });
        }
        Ok(Self {
            id: CallId::parse(request_id, attempt)?,
            call: Call::parse(call)?,
            input: number("input_tokens", input_tokens)?,
            max_output: max_output_tokens
                .map(|tokens| number("max_output_tokens", tokens))
                .transpose()?,
            choices,
        })
    }

    /// The most that the call can use, as far as `plan` lets it.
    fn at_most(&self, plan: &Plan) -> Tokens {
        let each = self.max_output.map_or(plan.max_output, |limit| limit.min(plan.max_output));
        let output = u64::from(each) * u64::from(self.choices);
        let output = tokens::count(output.min(kombi_spec::usage::MAX_TOKENS)).unwrap_or(u32::MAX);
        Tokens { input: self.input, output, ..Tokens::default() }
    }
}

/// Writes the row of `wanted`, which the reaper may close at `closes_at`, or says why not. The
/// answer holds the budgets and what they have left. Sent again, it is answered again.
pub(super) fn reserve(
    connection: &Connection,
    wanted: &Wanted,
    terms: &Terms,
    now: UnixTime,
    closes_at: UnixTime,
) -> Result<Result<Vec<Budget>, Denial>, StoreError> {
    let Wanted { id, call, .. } = wanted;
    let Some(plan) = terms.plan(call) else { return Ok(Err(Denial::PlanUnknown)) };
    let price = terms.price(call.provider.as_str(), &call.model, now);
    if plan.billed && price.is_none() {
        return Ok(Err(Denial::Unpriced));
    }
    let most = wanted.at_most(plan);
    let cost_nano = price.map_or(0, |price| price.at_most(most));
    let estimate = Estimate { input: most.input, output: most.output, cost_nano };
    let (caller, charge) = (call.caller(&plan.name), estimate.charge());
    let rules = terms.rules(plan, &caller);

    if let Some(row) = row::find(connection, id)? {
        let same = row.state == State::Open
            && row.caller == caller
            && (&*row.provider, &*row.model) == (call.provider.as_str(), &*call.model)
            && (row.reserved.input, row.reserved.output) == (most.input, most.output);
        if !same {
            return Ok(Err(Denial::Conflict));
        }
        let standings = budget::standings(connection, &caller, rules, &charge, now)?;
        return Ok(Ok(standings.iter().map(|standing| standing.told(now, false)).collect()));
    }

    let standings = budget::standings(connection, &caller, rules, &charge, now)?;
    let short = standings.iter().filter(|standing| !standing.suffices());
    if let Some(short) = short.max_by_key(|standing| standing.resets_at()) {
        return Ok(Err(Denial::Exhausted(short.told(now, false))));
    }
    let new = New {
        id,
        call,
        plan: &plan.name,
        billed: plan.billed,
        currency: if price.is_some() { terms.currency() } else { "" },
        reserved_at: now,
        closes_at,
        reserved: estimate,
    };
    row::open(connection, &new)?;
    budget::charge(connection, &caller, now, &charge)?;
    Ok(Ok(standings.iter().map(|standing: &Standing| standing.told(now, true)).collect()))
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::PlanUnknown => Self::new(Code::PlanUnknown, "there is no such plan"),
            Denial::Unpriced => {
                Self::new(Code::ModelUnpriced, "the plan is billed, and the model has no price")
            }
            Denial::Conflict => {
                let detail = "this attempt of the request is settled, or another call's";
                Self::new(Code::ReservationConflict, detail)
            }
            Denial::Exhausted(budget) => {
                let code = match budget.unit {
                    Unit::MoneyNano => Code::BudgetExhausted,
                    Unit::Requests | Unit::Tokens => Code::QuotaExhausted,
                };
                let detail = format!(
                    "{} of {} {} are left for this {}, and the next begins in {} s",
                    budget.remaining,
                    budget.limit,
                    unit(budget.unit),
                    period(&budget),
                    budget.resets_in_s
                );
                Self::new(code, detail).with_budget(budget)
            }
        }
    }
}

const fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Requests => "requests",
        Unit::Tokens => "tokens",
        Unit::MoneyNano => "billionths of the currency's unit",
    }
}

const fn period(budget: &Budget) -> &'static str {
    use kombi_spec::usage::reserve::Period;
    match budget.period {
        Period::Minute => "minute",
        Period::Hour => "hour",
        Period::Day => "day",
        Period::Month => "month",
    }
}
