//! What the filter counts: every name of a metric is here.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use kombi_gate_core::{
    cache::CacheCounts,
    keys::KeyCounts,
    limit::{Counts, lease::LeaseCounts},
};
use kombi_spec::code::Code;

use crate::host::Metric;

/// Most routes with metrics of their own.
const MOST_ROUTES: usize = 100;

/// Stands for the routes beyond.
const OTHER_ROUTES: &str = "other";

/// What became of a request.
pub(crate) enum Outcome {
    /// It passed.
    Passed,
    /// It was refused.
    Refused(Code),
    /// It passed in shadow mode, and would have been refused.
    WouldRefuse(Code),
}

/// The metrics of one route, each defined when it is first needed.
#[derive(Default)]
struct Route {
    passed: Option<Metric>,
    refused: BTreeMap<&'static str, Metric>,
    would_refuse: BTreeMap<&'static str, Metric>,
    added: Option<Metric>,
}

thread_local! {
    static ROUTES: RefCell<BTreeMap<String, Route>> = const { RefCell::new(BTreeMap::new()) };
}

/// A request on `route` was decided, `added` after it came.
pub(crate) fn decided(route: &str, outcome: Outcome, added: Duration) {
    ROUTES.with_borrow_mut(|routes| {
        let room = routes.len() < MOST_ROUTES || routes.contains_key(route);
        let route = if room { route } else { OTHER_ROUTES };
        if !routes.contains_key(route) {
            routes.insert(route.to_owned(), Route::default());
        }
        let Some(metrics) = routes.get_mut(route) else { return };
        let count = |name, code| Metric::counter(name, &[("route", route), ("code", code)]);
        let Route { passed, refused, would_refuse, .. } = metrics;
        match outcome {
            Outcome::Passed => passed.get_or_insert_with(|| count("requests_total", "ok")),
            Outcome::Refused(code) => refused
                .entry(code.as_str())
                .or_insert_with(|| count("requests_total", code.as_str())),
            Outcome::WouldRefuse(code) => would_refuse
                .entry(code.as_str())
                .or_insert_with(|| count("would_refuse_total", code.as_str())),
        }
        .add(1);
        let histogram = || Metric::histogram("added_microseconds", &[("route", route)]);
        let added = u64::try_from(added.as_micros()).unwrap_or(u64::MAX);
        metrics.added.get_or_insert_with(histogram).record(added);
    });
}

/// What happened to keys.
pub(crate) fn keys(counts: KeyCounts) {
    for (result, count) in [("ok", counts.fetched), ("failed", counts.failed)] {
        if count > 0 {
            Metric::counter("keys_fetches_total", &[("result", result)]).add(count);
        }
    }
    if counts.served_stale > 0 {
        Metric::counter("keys_served_stale_total", &[]).add(counts.served_stale);
    }
}

/// How often a token was remembered.
pub(crate) fn tokens(counts: CacheCounts) {
    if counts.hits > 0 {
        Metric::counter("token_cache_hits_total", &[]).add(counts.hits);
    }
    if counts.misses > 0 {
        Metric::counter("token_cache_misses_total", &[]).add(counts.misses);
    }
}

/// What became of reports about shared limits.
pub(crate) fn leases(counts: LeaseCounts) {
    for (result, count) in [("ok", counts.answered), ("failed", counts.unanswered)] {
        if count > 0 {
            Metric::counter("lease_reports_total", &[("result", result)]).add(count);
        }
    }
}

/// What became of limits.
pub(crate) fn limits(counts: &Counts) {
    for (rule, outcome, count) in &counts.outcomes {
        let labels = [("rule", &**rule), ("outcome", outcome.as_str())];
        Metric::counter("limit_decisions_total", &labels).add(*count);
    }
    for (trouble, count) in &counts.troubles {
        Metric::counter("limit_troubles_total", &[("trouble", trouble.as_str())]).add(*count);
    }
}

/// How old the keys of `issuer` are.
pub(crate) fn age_of_keys(issuer: &str, age: Duration) {
    Metric::gauge("keys_age_seconds", &[("issuer", issuer)]).record(age.as_secs());
}
