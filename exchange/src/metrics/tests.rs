use super::*;

#[test]
fn what_happened_is_rendered() {
    let metrics = Metrics::new();
    metrics.request("sso_session", "ok", Duration::from_millis(7));
    metrics.connector_call("entered", Duration::from_millis(5));
    metrics.introspection("inactive", "cache");
    metrics.introspection_call("late", Duration::from_secs(2));
    metrics.settlement("provider", "replaced");
    metrics.reaped(2);
    metrics.open_reservations(4);
    metrics.pending_revocations(5);
    metrics.audit_records(5);
    metrics.backed_up(UnixTime::from_secs(7));
    metrics.pending_flags(6);
    metrics.flags_pushed("mended");
    metrics.instances(3);
    metrics.cost("openai", "EUR", 500_000_000);
    metrics.cost("openai", "EUR", 250_000_000);
    metrics.room(Room { free: 8, database: 9, log: 10 });
    let text = metrics.render();
    for line in [
        "kombi_exchange_requests_total{route=\"sso_session\",code=\"ok\"} 1",
        "kombi_exchange_request_duration_seconds_bucket{le=\"0.01\",route=\"sso_session\"} 1",
        "kombi_exchange_connector_calls_total{outcome=\"entered\"} 1",
        "kombi_exchange_connector_duration_seconds_count 1",
        "kombi_exchange_introspections_total{outcome=\"inactive\",source=\"cache\"} 1",
        "kombi_exchange_introspection_calls_total{outcome=\"late\"} 1",
        "kombi_exchange_introspection_call_duration_seconds_count 1",
        "kombi_exchange_usage_settlements_total{source=\"provider\",outcome=\"replaced\"} 1",
        "kombi_exchange_usage_settlements_total{source=\"reaper\",outcome=\"accepted\"} 2",
        "kombi_exchange_usage_open_calls 4",
        "kombi_exchange_usage_cost_total{provider=\"openai\",currency=\"EUR\"} 0.75",
        "kombi_exchange_data_free_bytes 8",
        "kombi_exchange_database_bytes 9",
        "kombi_exchange_database_log_bytes 10",
        "kombi_exchange_revocations_pending 5",
        "kombi_exchange_audit_records 5",
        "kombi_exchange_last_backup_timestamp_seconds 7",
        "kombi_exchange_flags_pending 6",
        "kombi_exchange_flag_pushes_total{outcome=\"mended\"} 1",
        "kombi_exchange_instances 3",
        "kombi_exchange_build_info{version=\"",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn the_process_is_among_them_by_the_names_that_prometheus_knows() {
    let text = Metrics::new().render();
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
        "process_open_fds",
        "process_max_fds",
    ] {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        let value: f64 = value.unwrap_or_else(|| panic!("{name}\n{text}")).parse().unwrap();
        assert!(value > 0.0 || name.contains("cpu"), "{name} {value}");
    }
}

/// The conventions of Prometheus (naming, base units) and of OpenMetrics.
#[test]
fn every_name_has_a_unit_that_prometheus_knows_and_every_counter_its_suffix() {
    let text = Metrics::new().render();
    let mut seen = 0;
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        seen += 1;
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert!(name.starts_with("kombi_exchange_") || name.starts_with("process_"), "{name}");
        // The suffix is added to each sample, and must not be there twice.
        assert!(!name.ends_with("_total"), "{name} {kind}");
        for unit in ["_ms", "_milliseconds", "_microseconds", "_kb", "_mb", "_percent"] {
            assert!(!name.contains(unit), "{name}");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
    assert!(seen >= 10, "{text}");
}
