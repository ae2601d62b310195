//! What is counted, for Prometheus.

mod process;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use crate::time::UnixTime;

/// Media type of [`Metrics::render`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of the latency buckets, in seconds. Instances and the issuer have 2 s.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 2.5];

/// The counters; clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    connector_calls: Family<OutcomeLabels, Counter>,
    connector_seconds: Histogram,
    introspections: Family<IntrospectionLabels, Counter>,
    introspection_calls: Family<OutcomeLabels, Counter>,
    introspection_seconds: Histogram,
    lease_reports: Family<OutcomeLabels, Counter>,
    usage_settlements: Family<SettlementLabels, Counter>,
    usage_cost: Family<CostLabels, Counter<f64, AtomicU64>>,
    usage_open: Gauge,
    revocations_pending: Gauge,
    flags_pending: Gauge,
    flag_pushes: Family<OutcomeLabels, Counter>,
    audit_records: Gauge,
    last_backup: Gauge,
    instances: Gauge,
    room: [Gauge; 3],
}

/// How much there is on the disk with the database, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Room {
    /// What is free.
    pub free: u64,
    /// What the database takes.
    pub database: u64,
    /// What its write-ahead log takes.
    pub log: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CostLabels {
    provider: String,
    currency: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IntrospectionLabels {
    outcome: &'static str,
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettlementLabels {
    source: &'static str,
    outcome: &'static str,
}

fn histogram() -> Histogram {
    Histogram::new(BUCKETS)
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut root = Registry::default();
        root.register_collector(Box::new(process::Process::new()));
        let registry = root.sub_registry_with_prefix("kombi_exchange");
        let requests = Family::default();
        let request_seconds = Family::new_with_constructor(histogram as fn() -> Histogram);
        let connector_calls = Family::default();
        let connector_seconds = histogram();
        let introspections = Family::default();
        let introspection_calls = Family::default();
        let introspection_seconds = histogram();
        let lease_reports = Family::default();
        let usage_settlements = Family::default();
        let usage_cost = Family::default();
        let usage_open = Gauge::default();
        let revocations_pending = Gauge::default();
        let flags_pending = Gauge::default();
        let flag_pushes = Family::default();
        let audit_records = Gauge::default();
        let last_backup = Gauge::default();
        let instances = Gauge::default();
        let room: [Gauge; 3] = Default::default();
        let seconds = || Unit::Seconds;
        registry.register("requests", "Requests answered, by route and code", requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's head to its answer",
            seconds(),
            request_seconds.clone(),
        );
        registry.register(
            "connector_calls",
            "Calls to instances, by outcome",
            connector_calls.clone(),
        );
        registry.register_with_unit(
            "connector_duration",
            "Time that calls to instances took",
            seconds(),
            connector_seconds.clone(),
        );
        registry.register(
            "introspections",
            "Questions about tokens, by what is known and where from",
            introspections.clone(),
        );
        registry.register(
            "introspection_calls",
            "Questions to the issuer about tokens, by outcome",
            introspection_calls.clone(),
        );
        registry.register_with_unit(
            "introspection_call_duration",
            "Time that questions to the issuer took",
            seconds(),
            introspection_seconds.clone(),
        );
        registry.register(
            "lease_reports",
            "Reports about shared limits, by how their store did",
            lease_reports.clone(),
        );
        registry.register(
            "usage_settlements",
            "Settlements of AI calls, by the source of their numbers and what became of them",
            usage_settlements.clone(),
        );
        registry.register(
            "usage_cost",
            "What AI calls cost as they were first settled, in units of the currency",
            usage_cost.clone(),
        );
        let open = "AI calls that are not settled yet";
        registry.register("usage_open_calls", open, usage_open.clone());
        for ((name, help), gauge) in [
            ("data_free", "Room on the disk with the database"),
            ("database", "Size of the database"),
            ("database_log", "Size of the database's write-ahead log"),
        ]
        .into_iter()
        .zip(&room)
        {
            registry.register_with_unit(name, help, Unit::Bytes, gauge.clone());
        }
        registry.register(
            "revocations_pending",
            "Sessions that are to end and have not yet",
            revocations_pending.clone(),
        );
        registry.register(
            "flags_pending",
            "People whose feature flags are not in their instance",
            flags_pending.clone(),
        );
        registry.register(
            "flag_pushes",
            "Looks at feature flags in instances, by what they came to",
            flag_pushes.clone(),
        );
        registry.register_with_unit(
            "last_backup_timestamp",
            "When the database was last copied, since 1970",
            seconds(),
            last_backup.clone(),
        );
        registry.register("audit_records", "Records of the audit", audit_records.clone());
        registry.register("instances", "Registered instances", instances.clone());
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The version that runs", Info::new(version));
        Self {
            registry: Arc::new(root),
            requests,
            request_seconds,
            connector_calls,
            connector_seconds,
            introspections,
            introspection_calls,
            introspection_seconds,
            lease_reports,
            usage_settlements,
            usage_cost,
            usage_open,
            revocations_pending,
            flags_pending,
            flag_pushes,
            audit_records,
            last_backup,
            instances,
            room,
        }
    }

    /// A request was answered with `code` ("ok" or that of a refusal).
    pub fn request(&self, route: &'static str, code: &'static str, took: Duration) {
        self.requests.get_or_create(&RequestLabels { route, code }).inc();
        self.request_seconds.get_or_create(&RouteLabels { route }).observe(took.as_secs_f64());
    }

    /// A call to an instance ended.
    pub fn connector_call(&self, outcome: &'static str, took: Duration) {
        self.connector_calls.get_or_create(&OutcomeLabels { outcome }).inc();
        self.connector_seconds.observe(took.as_secs_f64());
    }

    /// A question about a token was answered with `outcome`, found at `source`.
    pub fn introspection(&self, outcome: &'static str, source: &'static str) {
        self.introspections.get_or_create(&IntrospectionLabels { outcome, source }).inc();
    }

    /// The issuer was asked about a token.
    pub fn introspection_call(&self, outcome: &'static str, took: Duration) {
        self.introspection_calls.get_or_create(&OutcomeLabels { outcome }).inc();
        self.introspection_seconds.observe(took.as_secs_f64());
    }

    /// A node reported about shared limits, and their store did its part, or not.
    pub fn lease_report(&self, outcome: &'static str) {
        self.lease_reports.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// An AI call was settled with numbers from `source`.
    pub fn settlement(&self, source: &'static str, outcome: &'static str) {
        self.usage_settlements.get_or_create(&SettlementLabels { source, outcome }).inc();
    }

    /// The reaper closed so many AI calls.
    pub fn reaped(&self, count: usize) {
        let labels = SettlementLabels { source: "reaper", outcome: "accepted" };
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.usage_settlements.get_or_create(&labels).inc_by(count);
    }

    /// An AI call cost so many billionths of the currency's unit.
    pub fn cost(&self, provider: &str, currency: &str, nano: i64) {
        let labels = CostLabels { provider: provider.to_owned(), currency: currency.to_owned() };
        // A graph's number; money is the ledger's.
        #[allow(clippy::cast_precision_loss)]
        let units = nano.max(0) as f64 / 1e9;
        self.usage_cost.get_or_create(&labels).inc_by(units);
    }

    /// There is so much room for the database.
    pub fn room(&self, room: Room) {
        let found = [room.free, room.database, room.log];
        for (gauge, bytes) in self.room.iter().zip(found) {
            gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// So many AI calls are not settled yet.
    pub fn open_reservations(&self, count: i64) {
        self.usage_open.set(count);
    }

    /// So many sessions are to end and have not yet.
    pub fn pending_revocations(&self, count: i64) {
        self.revocations_pending.set(count);
    }

    /// Feature flags of so many people are not in their instance.
    pub fn pending_flags(&self, count: i64) {
        self.flags_pending.set(count);
    }

    /// Somebody's feature flags in an instance were looked at.
    pub fn flags_pushed(&self, outcome: &'static str) {
        self.flag_pushes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// The database was copied.
    pub fn backed_up(&self, at: UnixTime) {
        self.last_backup.set(at.as_sql());
    }

    /// The audit has so many records.
    pub fn audit_records(&self, count: i64) {
        self.audit_records.set(count);
    }

    /// There are so many instances.
    pub fn instances(&self, count: i64) {
        self.instances.set(count);
    }

    /// All of it in OpenMetrics' text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
