//! How calls of models ended, and what they used, for metrics.

use std::collections::BTreeMap;

use kombi_spec::usage::settle::Settlement;

/// What happened since this was last asked. Providers are those of the configuration, so it does
/// not grow with what clients do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Calls, by provider, how they ended, and where their numbers are from.
    pub calls: BTreeMap<(String, &'static str, &'static str), u64>,
    /// Tokens, by provider and kind.
    pub tokens: BTreeMap<(String, &'static str), u64>,
    /// Attempts to tell the ledger that it answered.
    pub told: u64,
    /// Attempts that failed; what was to be told is told again.
    pub failed: u64,
    /// Calls that the gateway's log alone has, because too many waited to be told.
    pub dropped: u64,
}

impl Tally {
    /// One more call has ended.
    pub(super) fn add(&mut self, settlement: &Settlement) {
        let Settlement { call, usage, usage_source, end_reason, .. } = settlement;
        let end = (call.provider.clone(), end_reason.as_str(), usage_source.as_str());
        more(self.calls.entry(end).or_default(), 1);
        for (kind, count) in [
            ("input", usage.input),
            ("cached", usage.cached),
            ("output", usage.output),
            ("reasoning", usage.reasoning),
            ("audio", usage.audio),
        ] {
            if count > 0 {
                more(self.tokens.entry((call.provider.clone(), kind)).or_default(), count);
            }
        }
    }
}

fn more(sum: &mut u64, count: u64) {
    *sum = sum.saturating_add(count);
}
