//! Rows of `usage_metrics`: one for every call to a provider.

use kombi_spec::usage::settle::{EndReason, UsageSource};

use super::{
    budget::Charge,
    call::{Call, CallId, Caller},
    settle::Ended,
    tokens::Tokens,
};
use crate::{
    store::{Connection, StoreError, params},
    time::UnixTime,
};

/// A row, as far as it decides what may become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    id: CallId,
    pub(super) caller: Caller,
    pub(super) provider: String,
    pub(super) model: String,
    pub(super) billed: bool,
    pub(super) reserved_at: UnixTime,
    pub(super) reserved: Estimate,
    pub(super) charge: Charge,
    pub(super) state: State,
}

/// Whether a row is open, and if not, how good its numbers are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Open,
    Settled(Rank),
}

/// How good numbers are; the larger, the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Reaped,
    Estimated,
    Provided,
}

impl From<UsageSource> for Rank {
    fn from(source: UsageSource) -> Self {
        match source {
            UsageSource::Reaper => Self::Reaped,
            UsageSource::EstimatedMissing | UsageSource::EstimatedAbort => Self::Estimated,
            UsageSource::Provider => Self::Provided,
        }
    }
}

/// What a call could use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Estimate {
    pub(super) input: u32,
    pub(super) output: u32,
    pub(super) cost_nano: i64,
}

impl Estimate {
    pub(super) fn tokens(&self) -> Tokens {
        Tokens { input: self.input, output: self.output, ..Tokens::default() }
    }

    pub(super) fn charge(&self) -> Charge {
        Charge { requests: 1, tokens: self.tokens().total(), cost_nano: self.cost_nano }
    }
}

/// What a call did cost, in which currency; nothing in none, if there is no price.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cost<'a> {
    pub(super) nano: i64,
    pub(super) currency: &'a str,
}

/// What a row is made with.
pub(super) struct New<'a> {
    pub(super) id: &'a CallId,
    pub(super) call: &'a Call,
    pub(super) plan: &'a str,
    pub(super) billed: bool,
    pub(super) currency: &'a str,
    pub(super) reserved_at: UnixTime,
    pub(super) closes_at: UnixTime,
    pub(super) reserved: Estimate,
}

/// The row of `id`, if there is one.
pub(super) fn find(connection: &Connection, id: &CallId) -> Result<Option<Row>, StoreError> {
    let find = "SELECT subject, org, plan, provider, model, reserved_at,
                       reserved_input, reserved_output, reserved_cost_nano,
                       requests, input_tokens + output_tokens, cost_nano, usage_source, billed
                FROM usage_metrics WHERE request_id = ?1 AND attempt = ?2";
    connection.query_optional(find, params![id.request_id, id.attempt], |row| {
        let source: Option<String> = row.get(12)?;
        Ok(Row {
            id: id.clone(),
            caller: Caller { subject: row.get(0)?, org: row.get(1)?, plan: row.get(2)? },
            provider: row.get(3)?,
            model: row.get(4)?,
            billed: row.get(13)?,
            reserved_at: UnixTime::from_sql(row.get(5)?),
            reserved: Estimate { input: row.get(6)?, output: row.get(7)?, cost_nano: row.get(8)? },
            charge: Charge { requests: row.get(9)?, tokens: row.get(10)?, cost_nano: row.get(11)? },
            state: source.map_or(State::Open, |source| State::Settled(rank(&source))),
        })
    })
}

/// Writes a row that is open.
pub(super) fn open(connection: &Connection, new: &New<'_>) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO usage_metrics (
             request_id, attempt, subject, org, plan, billed, provider, model, endpoint, stream,
             route, state, reserved_at, closes_at, reserved_input, reserved_output,
             reserved_cost_nano, requests, input_tokens, cached_tokens, output_tokens,
             reasoning_tokens, audio_tokens, cost_nano, currency
         ) VALUES (
             ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,
             ?11, 'open', ?12, ?13, ?14, ?15,
             ?16, 1, ?14, 0, ?15,
             0, 0, ?16, ?17
         )",
        params![
            new.id.request_id,
            new.id.attempt,
            new.call.subject,
            new.call.org,
            new.plan,
            new.billed,
            new.call.place.provider.as_str(),
            new.call.place.model,
            new.call.endpoint.as_str(),
            new.call.stream,
            new.call.route,
            new.reserved_at.as_sql(),
            new.closes_at.as_sql(),
            new.reserved.input,
            new.reserved.output,
            new.reserved.cost_nano,
            new.currency,
        ],
    )?;
    Ok(())
}

/// Writes a row that nobody reserved.
pub(super) fn settled(
    connection: &Connection,
    new: &New<'_>,
    ended: &Ended,
    cost: Cost<'_>,
    now: UnixTime,
) -> Result<(), StoreError> {
    open(connection, new)?;
    close(connection, new.id, ended, cost, now)
}

impl Row {
    /// Puts these numbers in the place of those that the row has.
    pub(super) fn settle(
        &self,
        connection: &Connection,
        ended: &Ended,
        cost: Cost<'_>,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        close(connection, &self.id, ended, cost, now)
    }
}

fn close(
    connection: &Connection,
    id: &CallId,
    ended: &Ended,
    cost: Cost<'_>,
    now: UnixTime,
) -> Result<(), StoreError> {
    let Tokens { input, cached, output, reasoning, audio } = ended.tokens;
    connection.execute(
        "UPDATE usage_metrics SET
             state = 'settled', settled_at = ?3, requests = ?4, input_tokens = ?5,
             cached_tokens = ?6, output_tokens = ?7, reasoning_tokens = ?8, audio_tokens = ?9,
             cost_nano = ?10, usage_source = ?11, end_reason = ?12, status = ?13,
             provider_request_id = ?14, first_token_ms = ?15, duration_ms = ?16,
             currency = ?17, metered = FALSE
         WHERE request_id = ?1 AND attempt = ?2",
        params![
            id.request_id,
            id.attempt,
            now.as_sql(),
            ended.requests(),
            input,
            cached,
            output,
            reasoning,
            audio,
            cost.nano,
            ended.source.as_str(),
            ended.reason.as_str(),
            ended.status,
            ended.provider_request_id,
            ended.first_token_ms,
            ended.duration_ms,
            cost.currency,
        ],
    )?;
    Ok(())
}

/// Closes up to `most` rows whose time is over, with what they reserved; how many that were.
pub(super) fn reap(
    connection: &Connection,
    now: UnixTime,
    most: usize,
) -> Result<usize, StoreError> {
    // What they are charged stays as it is, so no sum changes.
    let reap = "UPDATE usage_metrics SET
                    state = 'settled', settled_at = ?1, usage_source = ?2, end_reason = ?3
                WHERE (request_id, attempt) IN (
                    SELECT request_id, attempt FROM usage_metrics
                    WHERE state = 'open' AND closes_at <= ?1
                    ORDER BY closes_at, request_id, attempt LIMIT ?4)";
    let (source, reason) = (UsageSource::Reaper.as_str(), EndReason::Expired.as_str());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    connection.execute(reap, params![now.as_sql(), source, reason, most])
}

/// How many rows are open.
pub(super) fn open_count(connection: &Connection) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM usage_metrics WHERE state = 'open'";
    connection.query_row(count, &[], |row| row.get(0))
}

/// How good the numbers of this source are. A source of a later version is as good as can be, so
/// that this one does not overwrite it.
fn rank(source: &str) -> Rank {
    [UsageSource::Reaper, UsageSource::EstimatedMissing, UsageSource::EstimatedAbort]
        .into_iter()
        .find(|known| known.as_str() == source)
        .map_or(Rank::Provided, Rank::from)
}
