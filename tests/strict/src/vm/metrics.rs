//! Metrics: shared by all workers, and bounded.

use std::collections::BTreeMap;

use super::{Stop, Vm, brief, status};
use crate::rule::Rule;

/// Longest name of a metric on Kong, in bytes.
const MAX_NAME: usize = 200;

/// What a metric takes of the slab beyond its name, in bytes; a histogram takes its bins too.
const OVERHEAD: usize = 128;
const HISTOGRAM: usize = 512;

/// A node's metrics.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    by_name: BTreeMap<String, u32>,
    defined: Vec<Metric>,
    bytes: usize,
}

#[derive(Debug)]
struct Metric {
    kind: Kind,
    value: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metrics {
    /// The names and values; of a histogram, how often it was recorded to.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, u64)> {
        self.by_name.iter().filter_map(|(name, id)| Some((name.as_str(), self.at(*id)?.value)))
    }

    fn at(&self, id: u32) -> Option<&Metric> {
        self.defined.get(usize::try_from(id).ok()?)
    }

    fn at_mut(&mut self, id: u32) -> Option<&mut Metric> {
        self.defined.get_mut(usize::try_from(id).ok()?)
    }
}

impl Vm {
    /// `proxy_define_metric`.
    pub(super) fn define_metric(&mut self, kind: u32, name: &[u8]) -> Result<Option<u32>, Stop> {
        let kind = match kind {
            0 => Kind::Counter,
            1 => Kind::Gauge,
            2 => Kind::Histogram,
            _ => return Ok(None),
        };
        self.led(|| format!("define {kind:?} {}", brief(name)));
        let on_kong = self.on_kong();
        if on_kong && name.len() > MAX_NAME {
            return Err(self.forbid(
                Rule::MetricName,
                format!("defined a metric of {} characters", name.len()),
            ));
        }
        let name = String::from_utf8_lossy(name).into_owned();
        let mut shared = self.shared.borrow_mut();
        let limit = shared.settings.metrics_bytes;
        let metrics = &mut shared.metrics;
        if let Some(id) = metrics.by_name.get(&name).copied() {
            let same = metrics.at(id).is_some_and(|metric| metric.kind == kind);
            drop(shared);
            if !same {
                return Err(
                    self.forbid(Rule::Unmeasured, format!("defined {name} as two kinds of metric"))
                );
            }
            return Ok(Some(id));
        }
        metrics.bytes +=
            name.len() + OVERHEAD + if kind == Kind::Histogram { HISTOGRAM } else { 0 };
        if on_kong && metrics.bytes > limit {
            let count = metrics.defined.len();
            drop(shared);
            return Err(
                self.forbid(Rule::MetricSlab, format!("defined a metric beside {count} others"))
            );
        }
        let id = u32::try_from(metrics.defined.len()).unwrap_or(u32::MAX);
        metrics.defined.push(Metric { kind, value: 0 });
        metrics.by_name.insert(name, id);
        Ok(Some(id))
    }

    /// `proxy_increment_metric`.
    pub(super) fn increment_metric(&mut self, id: u32, offset: i64) -> u32 {
        match self.shared.borrow_mut().metrics.at_mut(id) {
            None => status::NOT_FOUND,
            Some(metric) if metric.kind == Kind::Histogram => status::BAD_ARGUMENT,
            Some(metric) if metric.kind == Kind::Counter && offset < 0 => status::BAD_ARGUMENT,
            Some(metric) => {
                metric.value = metric.value.saturating_add_signed(offset);
                status::OK
            }
        }
    }

    /// `proxy_record_metric`.
    pub(super) fn record_metric(&mut self, id: u32, value: u64) -> u32 {
        match self.shared.borrow_mut().metrics.at_mut(id) {
            None => status::NOT_FOUND,
            Some(metric) => {
                match metric.kind {
                    Kind::Counter => return status::BAD_ARGUMENT,
                    Kind::Gauge => metric.value = value,
                    Kind::Histogram => metric.value += 1,
                }
                status::OK
            }
        }
    }

    /// `proxy_get_metric`.
    pub(super) fn metric(&mut self, id: u32) -> Result<u64, u32> {
        match self.shared.borrow().metrics.at(id) {
            None => Err(status::NOT_FOUND),
            Some(metric) if metric.kind == Kind::Histogram => Err(status::BAD_ARGUMENT),
            Some(metric) => Ok(metric.value),
        }
    }
}
