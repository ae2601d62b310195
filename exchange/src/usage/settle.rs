//! When a call has ended: its numbers take the place of the estimate, unless the row has better
//! ones.

use kombi_spec::usage::settle::{
    EndReason, MAX_PROVIDER_REQUEST_ID_BYTES, MAX_TIME_MS, Outcome, Settlement, UsageSource,
};

use super::{
    budget::{self, Charge},
    call::{self, Call, CallId, Place, Unfit},
    row::{self, Cost, Estimate, New, Rank, State},
    terms::Terms,
    tokens::Tokens,
};
use crate::{
    store::{Connection, StoreError},
    time::UnixTime,
};

/// Calls left after this moment, the start of 2020; a gate whose clock says otherwise has none.
const EARLIEST: UnixTime = UnixTime::from_secs(1_577_836_800);

/// A call that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settling {
    pub(super) id: CallId,
    call: Call,
    sent_at: UnixTime,
    pub(super) ended: Ended,
}

/// How a call ended, and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) tokens: Tokens,
    pub(super) source: UsageSource,
    pub(super) reason: EndReason,
    pub(super) status: Option<u16>,
    pub(super) provider_request_id: Option<String>,
    pub(super) first_token_ms: Option<i64>,
    pub(super) duration_ms: i64,
}

impl Ended {
    /// How many requests it counts as.
    pub(super) const fn requests(&self) -> i64 {
        match self.reason {
            EndReason::Completed
            | EndReason::ClientLeft
            | EndReason::ProviderCut
            | EndReason::Expired => 1,
            EndReason::ProviderError | EndReason::ProviderUnreachable | EndReason::NotSent => 0,
        }
    }
}

impl Settling {
    /// To whom the call went.
    pub(super) fn provider(&self) -> &str {
        self.call.place.provider.as_str()
    }

    /// What it cost, in billionths of the terms' currency, if it has a price.
    pub(super) fn cost(&self, terms: &Terms) -> Option<i64> {
        let Place { provider, model } = &self.call.place;
        let price = terms.price(provider.as_str(), model, self.sent_at);
        price.map(|price| price.of(self.ended.tokens))
    }

    pub(super) fn parse(wire: Settlement) -> Result<Self, Unfit> {
        let of_the_reaper = wire.usage_source == UsageSource::Reaper;
        if of_the_reaper || wire.end_reason == EndReason::Expired {
            let expected = "a source and an end that the gate can know";
            return Err(Unfit { field: "usage_source", expected });
        }
        let time = |field, ms: u64| {
            let expected = "a time of at most a day";
            let ms = i64::try_from(ms.min(MAX_TIME_MS + 1)).unwrap_or(i64::MAX);
            if ms.unsigned_abs() > MAX_TIME_MS { Err(Unfit { field, expected }) } else { Ok(ms) }
        };
        let sent_at = UnixTime::from_secs(wire.sent_at);
        if sent_at < EARLIEST {
            return Err(Unfit { field: "sent_at", expected: "a time since 2020" });
        }
        if wire.status.is_some_and(|status| !(100..=999).contains(&status)) {
            return Err(Unfit { field: "status", expected: "an HTTP status" });
        }
        let provider_request_id = wire
            .provider_request_id
            .map(|id| call::text("provider_request_id", id, MAX_PROVIDER_REQUEST_ID_BYTES));
        let expected = "numbers of tokens up to 1000000000";
        Ok(Self {
            id: CallId::parse(wire.request_id, wire.attempt)?,
            call: Call::parse(wire.call)?,
            sent_at,
            ended: Ended {
                tokens: Tokens::parse(wire.usage).ok_or(Unfit { field: "usage", expected })?,
                source: wire.usage_source,
                reason: wire.end_reason,
                status: wire.status,
                provider_request_id: provider_request_id.transpose()?,
                first_token_ms: wire
                    .first_token_ms
                    .map(|ms| time("first_token_ms", ms))
                    .transpose()?,
                duration_ms: time("duration_ms", wire.duration_ms)?,
            },
        })
    }
}

/// Settles the row of `settling`, or makes it.
pub(super) fn settle(
    connection: &Connection,
    settling: &Settling,
    terms: &Terms,
    now: UnixTime,
) -> Result<Outcome, StoreError> {
    let ended = &settling.ended;
    let Some(row) = row::find(connection, &settling.id)? else {
        return make(connection, settling, terms, now).map(|()| Outcome::Accepted);
    };
    let outcome = match row.state {
        State::Open => Outcome::Accepted,
        State::Settled(rank) if rank < Rank::from(ended.source) => Outcome::Replaced,
        State::Settled(_) => return Ok(Outcome::Duplicate),
    };
    let priced = (&*row.provider, &*row.model, row.reserved_at);
    let cost = cost(terms, priced, ended.tokens, row.billed);
    row.settle(connection, ended, cost, now)?;
    let change = charge(ended, cost).more_than(&row.charge);
    budget::charge(connection, &row.caller, row.reserved_at, &change)?;
    Ok(outcome)
}

/// Makes the row of a call that left without a reservation.
fn make(
    connection: &Connection,
    Settling { id, call, sent_at, ended }: &Settling,
    terms: &Terms,
    now: UnixTime,
) -> Result<(), StoreError> {
    // A gateway's clock that is ahead must not write into the next period.
    let sent_at = (*sent_at).min(now);
    let plan = terms.plan(call);
    // A plan that nobody knows is not a gift.
    let billed = plan.is_none_or(|plan| plan.billed);
    let Place { provider, model } = &call.place;
    let cost = cost(terms, (provider.as_str(), model, sent_at), ended.tokens, billed);
    let name = plan.map_or_else(|| call.plan.as_deref().unwrap_or_default(), |plan| &plan.name);
    let new = New {
        id,
        call,
        plan: name,
        billed,
        currency: cost.currency,
        reserved_at: sent_at,
        closes_at: now,
        reserved: Estimate { input: 0, output: 0, cost_nano: 0 },
    };
    row::settled(connection, &new, ended, cost, now)?;
    budget::charge(connection, &call.caller(name), sent_at, &charge(ended, cost))
}

/// What `tokens` of a model cost when the call left, whenever it is settled.
fn cost<'a>(
    terms: &'a Terms,
    (provider, model, at): (&str, &str, UnixTime),
    tokens: Tokens,
    billed: bool,
) -> Cost<'a> {
    let Some(price) = terms.price(provider, model, at) else {
        if billed && tokens.total() > 0 {
            tracing::error!(provider, model, "a call on a billed plan has no price");
        }
        return Cost::default();
    };
    Cost { nano: price.of(tokens), currency: terms.currency() }
}

fn charge(ended: &Ended, cost: Cost<'_>) -> Charge {
    Charge { requests: ended.requests(), tokens: ended.tokens.total(), cost_nano: cost.nano }
}
