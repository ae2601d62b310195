//! What the filter counts: every name of a metric is here.

use std::{cell::RefCell, collections::BTreeMap, time::Duration};

use kombi_gate_core::{cache::CacheCounts, keys::KeyCounts};
use kombi_spec::code::Code;

use crate::host::Metric;

/// Most routes with metrics of their own.
const MOST_ROUTES: usize = 100;

/// Stands for the routes beyond.
const OTHER_ROUTES: &str = "other";

/// The metrics of one route, each defined when it is first needed.
#[derive(Default)]
struct Route {
    passed: Option<Metric>,
    refused: BTreeMap<&'static str, Metric>,
    added: Option<Metric>,
}

thread_local! {
    static ROUTES: RefCell<BTreeMap<String, Route>> = const { RefCell::new(BTreeMap::new()) };
}

/// A request on `route` was decided, `added` after it came: it passed, or was refused with a code.
pub(crate) fn decided(route: &str, refused: Option<Code>, added: Duration) {
    ROUTES.with_borrow_mut(|routes| {
        let name = if routes.len() < MOST_ROUTES || routes.contains_key(route) {
            route
        } else {
            OTHER_ROUTES
        };
        if !routes.contains_key(name) {
            routes.insert(name.to_owned(), Route::default());
        }
        let Some(metrics) = routes.get_mut(name) else { return };
        let count = |code| Metric::counter("requests_total", &[("route", name), ("code", code)]);
        match refused {
            None => *metrics.passed.get_or_insert_with(|| count("ok")),
            Some(code) => {
                *metrics.refused.entry(code.as_str()).or_insert_with(|| count(code.as_str()))
            }
        }
        .add(1);
        let histogram = || Metric::histogram("added_microseconds", &[("route", name)]);
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

/// How old the keys of `issuer` are.
pub(crate) fn age_of_keys(issuer: &str, age: Duration) {
    Metric::gauge("keys_age_seconds", &[("issuer", issuer)]).record(age.as_secs());
}
