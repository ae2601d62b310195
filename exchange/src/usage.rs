//! The ledger of AI usage: `POST /gate/usage/reserve` and `/settle` from the gate, and reports for
//! people. See [`kombi_spec::usage`].
//!
//! A call reads from top to bottom in `reserve` and `settle`. What SQLite must know is in `row`,
//! `budget`, `outbox` and `report`; everything else would be the same on another database.

mod budget;
mod call;
mod file;
mod ledger;
pub(crate) mod outbox;
mod period;
mod plan;
mod price;
#[cfg(test)]
mod property;
mod provider;
pub(crate) mod replay;
pub(crate) mod report;
mod reports;
mod reserve;
mod row;
mod settle;
mod terms;
mod tokens;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use kombi_spec::{
    code::Code,
    usage::{
        reserve::{self as wire, MAX_BYTES as MAX_RESERVE_BYTES, Reservation, ReserveRequest},
        settle::{
            MAX_BYTES as MAX_SETTLE_BYTES, MAX_SETTLEMENTS, Outcome, SettleAnswer, SettleRequest,
            Settlement,
        },
    },
};
use serde_json::value::RawValue;

use crate::{
    assertion::Verifier,
    audit::Audit,
    body::{BodyLimits, RequestBody},
    metrics::Metrics,
    refusal::Refusal,
    reply,
    route::Trace,
    store::Store,
    time::UnixTime,
    vouched,
};

use call::Place;
use ledger::Ledger;
use reserve::Wanted;
use settle::Settling;

pub use file::Mistake;
pub use ledger::Settings;
pub use provider::{NoAccess, PREFIX as PROVIDER_PREFIX, Providers};
pub use report::{Question, Unclear};
pub use terms::{PLANS, PRICES, Terms, TermsError, TermsFiles};

/// The desk where usage is written down and read.
#[derive(Clone)]
pub struct Usage {
    verifier: Verifier,
    ledger: Option<Arc<Ledger>>,
    body: BodyLimits,
    audit: Audit,
    metrics: Metrics,
}

impl Usage {
    /// Keeps a ledger in `store`, if there are settings for one, for whoever `verifier` knows as
    /// the gate.
    pub fn open(
        verifier: Verifier,
        store: Store,
        settings: Option<Settings>,
        body: BodyLimits,
        audit: Audit,
        metrics: Metrics,
    ) -> Result<Self, TermsError> {
        let ledger = settings.map(|settings| Ledger::open(store, settings)).transpose()?;
        Ok(Self { verifier, ledger: ledger.map(Arc::new), body, audit, metrics })
    }

    /// Lets a call leave, or not.
    pub async fn reserve(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let limits = (MAX_RESERVE_BYTES, self.body);
        let asked = vouched::asked_by_the_gate(&self.verifier, request, limits, trace).await?;
        let ledger = self.ledger()?;
        let wanted = parse::<ReserveRequest>(&asked, Code::QuestionMalformed)?;
        let mut wanted = Wanted::parse(wanted)
            .map_err(|unfit| Refusal::new(Code::QuestionMalformed, unfit.to_string()))?;
        trace.request_id = Some(wanted.id.request_id.clone());
        trace.subject = Some(wanted.call.subject.clone());
        let keys = |place: &Place| ledger.providers.authorization(&place.provider);
        let authorization = keys(&wanted.call.place).ok_or_else(|| {
            Refusal::new(Code::ProviderNotConfigured, "the exchange has no key for the provider")
        })?;
        wanted.fallbacks.retain(|place| keys(place).is_some());
        let reservation = format!("{}.{}", wanted.id.request_id, wanted.id.attempt);
        let granted = ledger.reserve(wanted, UnixTime::now()).await??;
        let fallback = |place: &Place| wire::Granted {
            fallback: place.into(),
            authorization: keys(place).flatten(),
        };
        reply::json(&Reservation {
            reservation,
            authorization,
            fallbacks: granted.fallbacks.iter().map(fallback).collect(),
            settle_within_s: ledger.longest_call.as_secs(),
            remaining: granted.budgets,
        })
    }

    /// Writes down what calls have used.
    pub async fn settle(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let limits = BodyLimits { bytes: MAX_SETTLE_BYTES, ..self.body };
        let body = vouched::of_the_gate(&self.verifier, request, limits, trace).await?;
        let ledger = self.ledger()?;
        let SettleRequest { settlements } =
            parse::<SettleRequest<&RawValue>>(&body, Code::BodyMalformed)?;
        if settlements.is_empty() || settlements.len() > MAX_SETTLEMENTS {
            let detail = format!("settlements: expected 1 to {MAX_SETTLEMENTS} of them");
            return Err(Refusal::new(Code::BodyMalformed, detail));
        }
        let read: Vec<Option<Settling>> = settlements.iter().map(|one| settling(one)).collect();
        let ended: Vec<Settling> = read.iter().flatten().cloned().collect();
        let settled = ledger.settle(ended.clone(), UnixTime::now()).await?;
        for (ended, outcome) in ended.iter().zip(&settled) {
            self.metrics.settlement(ended.ended.source.as_str(), outcome.as_str());
            // Better numbers that come later change the ledger and not a counter.
            if *outcome == Outcome::Accepted
                && let Some((nano, currency)) = ledger.cost(ended)
            {
                self.metrics.cost(ended.provider(), &currency, nano);
            }
        }
        let mut settled = settled.into_iter();
        let outcome = |read: &Option<Settling>| read.as_ref().and_then(|_| settled.next());
        let outcomes =
            read.iter().map(outcome).map(|outcome| outcome.unwrap_or(Outcome::Malformed));
        reply::json(&SettleAnswer { outcomes: outcomes.collect() })
    }

    /// Closes what nobody settled, and fills the outbox.
    pub async fn sweep(&self, now: UnixTime) {
        let Some(ledger) = &self.ledger else { return };
        match ledger.sweep(now).await {
            Ok(swept) => {
                self.metrics.reaped(swept.reaped);
                if swept.reaped > 0 {
                    let reaped = swept.reaped;
                    tracing::warn!(reaped, "calls that nobody settled were closed");
                }
            }
            Err(error) => tracing::error!(%error, "the ledger was not swept"),
        }
    }

    /// Reads plans and prices again.
    pub fn reload(&self) {
        let Some(ledger) = &self.ledger else { return };
        match ledger.reload() {
            Ok(()) => tracing::info!("plans and prices were read again"),
            Err(error) => {
                let variable = error.variable();
                tracing::error!(variable, %error, "plans and prices stay as they were");
            }
        }
    }

    /// How many calls are not settled yet, if there is a ledger.
    pub async fn open_count(&self) -> Option<i64> {
        self.ledger.as_ref()?.open_count().await.ok()
    }

    fn ledger(&self) -> Result<&Ledger, Refusal> {
        self.ledger.as_deref().ok_or_else(|| {
            Refusal::new(Code::UsageNotConfigured, "the exchange keeps no ledger of usage")
        })
    }
}

/// One settlement, or a line in the log that says why it is none.
fn settling(one: &RawValue) -> Option<Settling> {
    let read = serde_json::from_str::<Settlement>(one.get());
    let problem = match read.map(Settling::parse) {
        Ok(Ok(settling)) => return Some(settling),
        Ok(Err(unfit)) => unfit.to_string(),
        // Without what was found, which is not for the log.
        Err(error) => format!("no settlement from column {} on", error.column()),
    };
    tracing::error!(problem, "a settlement cannot be read, and its numbers are lost");
    None
}

/// Reads `json`, or refuses it with `code`; the error quotes nothing of it.
fn parse<'a, T: serde::Deserialize<'a>>(json: &'a [u8], code: Code) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|error| {
        let place = format!("{}:{}", error.line(), error.column());
        Refusal::new(code, format!("it is not what is asked for here, from {place} on"))
    })
}
