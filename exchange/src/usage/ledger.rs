//! The ledger: reservations and settlements, each of them one transaction.

use std::time::Duration;

use kombi_spec::usage::settle::Outcome;

use super::{
    budget, outbox,
    provider::Providers,
    reserve::{self, Denial, Granted, Wanted},
    row,
    settle::{self, Settling},
    terms::{CurrentTerms, TermsError, TermsFiles},
};
use crate::{
    store::{Store, StoreError},
    time::UnixTime,
};

/// How many rows one transaction of the reaper or the outbox is about.
const ROWS: usize = 1_000;

/// How a ledger is set up.
pub struct Settings {
    /// Where plans and prices are written.
    pub terms: TermsFiles,
    /// Whom the exchange has keys for.
    pub providers: Providers,
    /// The longest that a call can take; then the reaper closes its row.
    pub longest_call: Duration,
}

/// The ledger.
pub(super) struct Ledger {
    pub(super) store: Store,
    terms: CurrentTerms,
    pub(super) providers: Providers,
    pub(super) longest_call: Duration,
}

/// What the reaper found to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Swept {
    pub(super) reaped: usize,
    pub(super) metered: usize,
}

impl Ledger {
    pub(super) fn open(store: Store, settings: Settings) -> Result<Self, TermsError> {
        let Settings { terms, providers, longest_call } = settings;
        Ok(Self { store, terms: CurrentTerms::load(terms)?, providers, longest_call })
    }

    pub(super) fn reload(&self) -> Result<(), TermsError> {
        self.terms.reload()
    }

    /// Reserves what `wanted` can use at most.
    pub(super) async fn reserve(
        &self,
        wanted: Wanted,
        now: UnixTime,
    ) -> Result<Result<Granted, Denial>, StoreError> {
        let (terms, closes_at) = (self.terms.get(), now.plus(self.longest_call));
        let reserve =
            move |connection: &_| reserve::reserve(connection, &wanted, &terms, now, closes_at);
        self.store.write(reserve).await
    }

    /// Settles all of `ended`, or none.
    pub(super) async fn settle(
        &self,
        ended: Vec<Settling>,
        now: UnixTime,
    ) -> Result<Vec<Outcome>, StoreError> {
        let terms = self.terms.get();
        let settle = move |connection: &_| {
            ended.iter().map(|one| settle::settle(connection, one, &terms, now)).collect()
        };
        self.store.write(settle).await
    }

    /// Closes what nobody settled, fills the outbox, and deletes sums that no budget asks for.
    pub(super) async fn sweep(&self, now: UnixTime) -> Result<Swept, StoreError> {
        let mut swept = Swept::default();
        loop {
            let reap = move |connection: &_| row::reap(connection, now, ROWS);
            let reaped = self.store.write(reap).await?;
            swept.reaped += reaped;
            if reaped < ROWS {
                break;
            }
        }
        // The hours before this one are complete but for corrections.
        let complete = now.minus(self.longest_call);
        loop {
            let fill = move |connection: &_| outbox::fill(connection, complete, now, ROWS);
            let metered = self.store.write(fill).await?;
            swept.metered += metered;
            if metered < ROWS {
                break;
            }
        }
        self.store.write(move |connection| budget::forget(connection, complete)).await?;
        Ok(swept)
    }

    /// What `ended` cost, in billionths of a currency, if it has a price.
    pub(super) fn cost(&self, ended: &Settling) -> Option<(i64, String)> {
        let terms = self.terms.get();
        Some((ended.cost(&terms)?, terms.currency().to_owned()))
    }

    /// How many rows are open.
    pub(super) async fn open_count(&self) -> Result<i64, StoreError> {
        self.store.read(row::open_count).await
    }
}
