//! The log: one JSON object per line, on standard output.

use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// Starts the log, with what `filter` lets through.
pub fn start(filter: Targets) {
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    // A second start in one process changes nothing.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}
