//! Before a call leaves: budgets are checked and the row is written, in one transaction.

use kombi_spec::{
    code::Code,
    usage::reserve::{Budget, Fallback, MAX_CHOICES, MAX_FALLBACKS, ReserveRequest, Unit},
};

use super::{
    budget::{self, Standing},
    call::{Call, CallId, Place, Unfit},
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
    /// Where it may go to instead.
    pub(super) fallbacks: Vec<Place>,
    input: u32,
    max_output: Option<u32>,
    choices: u32,
}

/// A call may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Granted {
    /// The budgets that apply, and what they have left.
    pub(super) budgets: Vec<Budget>,
    /// Where it may go to instead.
    pub(super) fallbacks: Vec<Place>,
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
        let ReserveRequest {
            request_id,
            attempt,
            call,
            fallbacks,
            input_tokens,
            max_output_tokens,
            choices,
        } = wire;
        let number = |field, tokens| {
            let expected = "a number of tokens up to 1000000000";
            tokens::count(tokens).ok_or(Unfit { field, expected })
        };
        if choices > MAX_CHOICES {
            return Err(Unfit { field: "choices", expected: "a number from 0 to 128" });
        }
        if fallbacks.len() > MAX_FALLBACKS {
            return Err(Unfit { field: "fallbacks", expected: "at most 2 of them" });
        }
        let place = |Fallback { provider, model }| Place::parse(&provider, model);
        Ok(Self {
            id: CallId::parse(request_id, attempt)?,
            call: Call::parse(call)?,
            fallbacks: fallbacks.into_iter().map(place).collect::<Result<_, _>>()?,
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

/// Writes the row of `wanted`, which the reaper may close at `closes_at`, or says why not. There is
/// one row, with what the dearest place could cost that it may go to: only one of them answers.
/// Sent again, it is answered again.
pub(super) fn reserve(
    connection: &Connection,
    wanted: &Wanted,
    terms: &Terms,
    now: UnixTime,
    closes_at: UnixTime,
) -> Result<Result<Granted, Denial>, StoreError> {
    let Wanted { id, call, .. } = wanted;
    let Some(plan) = terms.plan(call) else { return Ok(Err(Denial::PlanUnknown)) };
    let price = |place: &Place| terms.price(place.provider.as_str(), &place.model, now);
    let first = price(&call.place);
    if plan.billed && first.is_none() {
        return Ok(Err(Denial::Unpriced));
    }
    let most = wanted.at_most(plan);
    let mut fallbacks = wanted.fallbacks.clone();
    fallbacks.retain(|place| !plan.billed || price(place).is_some());
    let prices: Vec<_> = first.into_iter().chain(fallbacks.iter().filter_map(price)).collect();
    let cost_nano = prices.iter().map(|price| price.at_most(most)).max().unwrap_or_default();
    let estimate = Estimate { input: most.input, output: most.output, cost_nano };
    let (caller, charge) = (call.caller(&plan.name), estimate.charge());
    let rules = terms.rules(plan, &caller);

    if let Some(row) = row::find(connection, id)? {
        let place = (call.place.provider.as_str(), &*call.place.model);
        let same = row.state == State::Open
            && row.caller == caller
            && (&*row.provider, &*row.model) == place
            && (row.reserved.input, row.reserved.output) == (most.input, most.output);
        if !same {
            return Ok(Err(Denial::Conflict));
        }
        let standings = budget::standings(connection, &caller, rules, &charge, now)?;
        let budgets = standings.iter().map(|standing| standing.told(now, false)).collect();
        return Ok(Ok(Granted { budgets, fallbacks }));
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
        currency: if prices.is_empty() { "" } else { terms.currency() },
        reserved_at: now,
        closes_at,
        reserved: estimate,
    };
    row::open(connection, &new)?;
    budget::charge(connection, &caller, now, &charge)?;
    let budgets = standings.iter().map(|standing: &Standing| standing.told(now, true)).collect();
    Ok(Ok(Granted { budgets, fallbacks }))
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
