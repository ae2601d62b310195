//! What the filter counts: every name of a metric is here.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use kombi_gate_core::{
    ai::tally::Tally,
    cache::CacheCounts,
    introspect::VerdictCounts,
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

/// The metrics of one route. Those that every request needs are kept; a metric is defined when it
/// is first needed.
pub(crate) struct RouteMeter {
    route: String,
    passed: Cell<Option<Metric>>,
    added: Cell<Option<Metric>>,
}

thread_local! {
    static ROUTES: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
}

impl RouteMeter {
    /// The metrics of the route called `name`.
    pub(crate) fn new(name: &str) -> Self {
        let route = ROUTES.with_borrow_mut(|routes| {
            if routes.len() >= MOST_ROUTES && !routes.contains(name) {
                return OTHER_ROUTES;
            }
            routes.insert(name.to_owned());
            name
        });
        Self { route: route.to_owned(), passed: Cell::default(), added: Cell::default() }
    }

    /// A request was decided, so many microseconds after it came.
    pub(crate) fn decided(&self, outcome: &Outcome, added_us: u64) {
        let metric = match outcome {
            Outcome::Passed => kept(&self.passed, || self.count("requests_total", "ok")),
            Outcome::Refused(code) => self.count("requests_total", code.as_str()),
            Outcome::WouldRefuse(code) => self.count("would_refuse_total", code.as_str()),
        };
        metric.add(1);
        let histogram = || Metric::histogram("added_microseconds", &[("route", &self.route)]);
        kept(&self.added, histogram).record(added_us);
    }

    fn count(&self, name: &str, code: &str) -> Metric {
        Metric::counter(name, &[("route", &self.route), ("code", code)])
    }
}

fn kept(cell: &Cell<Option<Metric>>, define: impl FnOnce() -> Metric) -> Metric {
    let metric = cell.get().unwrap_or_else(define);
    cell.set(Some(metric));
    metric
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

/// How questions about opaque tokens ended.
pub(crate) fn verdicts(counts: VerdictCounts) {
    let VerdictCounts { active, inactive, failed } = counts;
    for (result, count) in [("active", active), ("inactive", inactive), ("failed", failed)] {
        if count > 0 {
            Metric::counter("introspections_total", &[("result", result)]).add(count);
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

/// How calls of models ended, what they used, and whether the ledger was told.
pub(crate) fn models(tally: &Tally) {
    for ((provider, end, source), count) in &tally.calls {
        let labels = [("provider", provider.as_str()), ("end", *end), ("source", *source)];
        Metric::counter("ai_calls_total", &labels).add(*count);
    }
    for ((provider, kind), count) in &tally.tokens {
        let labels = [("provider", provider.as_str()), ("kind", *kind)];
        Metric::counter("ai_tokens_total", &labels).add(*count);
    }
    for (result, count) in
        [("ok", tally.told), ("failed", tally.failed), ("dropped", tally.dropped)]
    {
        if count > 0 {
            Metric::counter("ai_settlements_total", &[("result", result)]).add(count);
        }
    }
}

/// How old the keys of `issuer` are.
pub(crate) fn age_of_keys(issuer: &str, age: Duration) {
    Metric::gauge("keys_age_seconds", &[("issuer", issuer)]).record(age.as_secs());
}
