//! The log: one JSON object per line, on standard output.

use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer,
    filter::{Targets, filter_fn},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::traces::{self, Traces};

/// Starts the log, with what `filter` lets through, and `traces`, if they are kept.
pub fn start(filter: Targets, traces: Option<&Traces>) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_filter(filter.with_target(traces::TARGET, LevelFilter::OFF));
    let ours = |metadata: &Metadata<'_>| metadata.is_span() && metadata.target() == traces::TARGET;
    let spans = traces.map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer())
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(ours))
    });
    // A second start in one process changes nothing.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
}
