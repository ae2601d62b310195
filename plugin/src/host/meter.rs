//! Metrics, as the hosts have them: numbers under names, and labels are part of the name.
//!
//! Kong takes the labels out by `label_patterns` of the filter's meta file
//! (`spec/kombi_gate.metrics.json`), Envoy by tag specifiers. On Kong a name of more than 200
//! characters is a trap and metrics fill a slab of fixed size, so both are bounded here.

use std::{cell::RefCell, collections::BTreeMap};

use proxy_wasm::{hostcalls, types::MetricType};

use super::{KIND, Kind};

/// Most metrics of one worker.
const MOST: usize = 1_000;

/// Longest value of a label.
const LONGEST_LABEL: usize = 64;

thread_local! {
    /// The metrics by name; none where the host refused to define it.
    static DEFINED: RefCell<BTreeMap<String, Option<u32>>> = const { RefCell::new(BTreeMap::new()) };
}

/// A metric of this worker. Defining one is dear, so whoever uses it often keeps it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric(Option<u32>);

impl Metric {
    pub(crate) fn counter(name: &str, labels: &[(&str, &str)]) -> Self {
        Self::define(MetricType::Counter, name, labels)
    }

    pub(crate) fn gauge(name: &str, labels: &[(&str, &str)]) -> Self {
        Self::define(MetricType::Gauge, name, labels)
    }

    pub(crate) fn histogram(name: &str, labels: &[(&str, &str)]) -> Self {
        Self::define(MetricType::Histogram, name, labels)
    }

    pub(crate) fn add(self, count: u64) {
        if let (Some(id), Ok(count)) = (self.0, i64::try_from(count)) {
            // There is nowhere to report a failing metric to.
            let _ = hostcalls::increment_metric(id, count);
        }
    }

    pub(crate) fn record(self, value: u64) {
        if let Some(id) = self.0 {
            let _ = hostcalls::record_metric(id, value);
        }
    }

    fn define(kind: MetricType, name: &str, labels: &[(&str, &str)]) -> Self {
        // Kong puts the filter's name before it.
        let prefix = if KIND.get() == Some(Kind::Kong) { "" } else { "kombi_gate_" };
        let mut full = format!("{prefix}{name}");
        for (label, value) in labels {
            full.extend(["_", label, "=\""]);
            full.extend(value.chars().take(LONGEST_LABEL).map(plain));
            full.push('"');
        }
        DEFINED.with_borrow_mut(|defined| {
            if let Some(id) = defined.get(&full) {
                return Self(*id);
            }
            if defined.len() >= MOST {
                return Self(None);
            }
            let id = hostcalls::define_metric(kind, &full).ok();
            defined.insert(full, id);
            Self(id)
        })
    }
}

/// The character, if it can stand in a label.
fn plain(c: char) -> char {
    if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '/') { c } else { '_' }
}
