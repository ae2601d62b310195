//! `POST /gate/leases`: one report of a node on its way through the exchange, from top to bottom.
//! See [`kombi_spec::lease`].

pub mod quota;
mod report;
pub mod store;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use kombi_spec::{
    code::Code,
    lease::{Holding, LeaseAnswer, LeaseReport, MAX_REPORT_BYTES, Share},
};

use crate::{
    assertion::Verifier,
    body::{BodyLimits, RequestBody},
    metrics::Metrics,
    refusal::Refusal,
    reply,
    route::Trace,
    vouched,
};

use quota::{Moment, Quota};
use store::{Change, Reading, Store, StoreError, Written};

/// How often a quota is tried that other exchanges keep changing.
const ATTEMPTS: usize = 8;

/// The desk where nodes report.
pub struct Leases {
    verifier: Verifier,
    store: Arc<dyn Store>,
    body: BodyLimits,
    metrics: Metrics,
    away: AtomicBool,
}

/// A change under way, and what is answered if it is made.
struct Draft {
    at: usize,
    change: Change,
    share: Share,
}

impl Leases {
    /// Keeps quotas in `store`, for whoever `verifier` knows as the gate.
    #[must_use]
    pub fn new(
        verifier: Verifier,
        store: Arc<dyn Store>,
        body_time: Duration,
        metrics: Metrics,
    ) -> Self {
        let body = BodyLimits { bytes: MAX_REPORT_BYTES, time: body_time };
        Self { verifier, store, body, metrics, away: AtomicBool::new(false) }
    }

    /// Takes the report in `request`.
    pub async fn report(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        // A report that comes twice changes nothing the second time.
        let body = vouched::of_the_gate(&self.verifier, request, self.body, trace).await?;
        let report = report::parse(&body)?;
        let settled = self.settle(&report).await;
        self.tell(&report, &settled);
        reply::json(&settled.map_err(Refusal::from)?)
    }

    /// Enters the report into the quotas that it is about. Those for which the store has no room
    /// have no share.
    pub async fn settle(&self, report: &LeaseReport) -> Result<LeaseAnswer, StoreError> {
        let mut shares = vec![None; report.holdings.len()];
        let mut open: Vec<usize> = (0..shares.len()).collect();
        for _ in 0..ATTEMPTS {
            let (drafts, memory) = self.draft(report, &open).await?;
            let changes: Vec<Change> = drafts.iter().map(|draft| draft.change.clone()).collect();
            let written = self.store.write(&changes).await?;
            open.clear();
            for (Draft { at, share, .. }, written) in drafts.into_iter().zip(written) {
                match (written, shares.get_mut(at)) {
                    (Written::Made, Some(place)) => *place = Some(share),
                    (Written::Outdated, _) => open.push(at),
                    _ => {}
                }
            }
            if open.is_empty() {
                return Ok(LeaseAnswer { memory, shares: shares.into_iter().flatten().collect() });
            }
        }
        Err(StoreError::Failed(format!("a quota was changed {ATTEMPTS} times meanwhile")))
    }

    /// What the quotas at `open` would become, and the memory that this is about.
    async fn draft(
        &self,
        report: &LeaseReport,
        open: &[usize],
    ) -> Result<(Vec<Draft>, String), StoreError> {
        let holdings = || open.iter().filter_map(|at| Some((*at, report.holdings.get(*at)?)));
        let names: Vec<String> = holdings().map(|(_, holding)| name(holding)).collect();
        let mut reading = self.store.read(&names).await?;
        let known = report.memory.as_ref().is_none_or(|memory| *memory == reading.memory.id);
        if !known && reading.memory.lost_at.is_none() {
            self.store.forgot(&reading.memory, reading.now).await?;
            tracing::warn!("the store of shared limits has lost its memory");
            reading = self.store.read(&names).await?;
        }
        let Reading { now, memory, cells } = reading;
        let moment = Moment { now, born_at: memory.born_at, lost_at: memory.lost_at, known };
        let mut drafts = Vec::with_capacity(open.len());
        for (((at, holding), name), before) in holdings().zip(names).zip(cells) {
            // One that cannot be read was written by nobody who keeps quotas.
            let found = before.as_deref().and_then(|cell| serde_json::from_slice(cell).ok());
            let mut quota: Quota = found.unwrap_or_else(|| Quota::untouched(holding, now));
            let share = quota.report(&report.node, holding, moment);
            let after =
                serde_json::to_vec(&quota).map_err(|e| StoreError::Failed(e.to_string()))?;
            let keep_for = Duration::from_millis(quota.fades_after(holding));
            drafts.push(Draft { at, change: Change { name, before, after, keep_for }, share });
        }
        Ok((drafts, memory.id))
    }

    /// Counts how the store did, and says in the log when it goes and when it comes back: a line
    /// for each report would be several a second.
    fn tell(&self, report: &LeaseReport, settled: &Result<LeaseAnswer, StoreError>) {
        let trouble = match settled {
            Err(error) => Some((error.as_label(), error.to_string())),
            Ok(answer) if answer.shares.len() < report.holdings.len() => {
                Some(("full", "the store has no room for another quota".to_owned()))
            }
            Ok(_) => None,
        };
        self.metrics.lease_report(trouble.as_ref().map_or("ok", |(label, _)| *label));
        let was_away = self.away.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some((_, error)) if !was_away => {
                tracing::error!(error, "shared limits are not available");
            }
            None if was_away => tracing::info!("shared limits are available again"),
            _ => {}
        }
    }
}

fn name(holding: &Holding) -> String {
    format!("{}:{}", holding.rule, holding.key)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let detail = match error {
            StoreError::Late => "the store of shared limits did not answer in time",
            StoreError::Failed(_) => "the store of shared limits could not be used",
        };
        Self::new(Code::LeasesUnavailable, detail).because(error)
    }
}
