//! The bench, as briefly as can be: that it runs and measures every case, not what it finds.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use stack::{
    bench::{self, Settings},
    host::HostKind,
    shared_store::StoreKind,
};

/// What is in a container cannot be measured.
fn measurable_host() -> HostKind {
    match HostKind::choose(None).unwrap() {
        HostKind::Docker => HostKind::Envoy,
        host => host,
    }
}

#[tokio::test]
async fn every_case_has_figures() {
    let host = measurable_host();
    let settings = Settings {
        json: true,
        seconds: 0.1,
        rounds: 1,
        connections: 2,
        tokens: 20,
        cases: Vec::new(),
    };
    let report = bench::measure(settings, Some(host)).await.unwrap();
    let mut expected = vec![
        "plain",
        "nothing",
        "gate_cached",
        "gate_cached_untold",
        "gate_cached_five_limits",
        "gate_cached_no_limit",
        "gate_cold",
    ];
    expected.extend(match host {
        HostKind::Envoy => vec![
            "jwt_authn",
            "jwt_authn_rbac",
            "jwt_authn_rbac_limit",
            "jwt_authn_rbac_limit_told",
            "local_ratelimit",
            "jwt_authn_uncached",
        ],
        HostKind::Kong | HostKind::Docker => {
            vec!["lua_jwt", "lua_jwt_acl", "lua_jwt_acl_limit", "lua_limit_local"]
        }
    });
    if host == HostKind::Kong && StoreKind::Redis.find().is_some() {
        expected.push("lua_limit_redis");
    }
    let json = report.json();
    let cases = json["cases"].as_object().unwrap();
    assert_eq!(cases.len(), expected.len(), "{json}");
    for name in expected {
        for figure in ["cpu_us", "rps", "p99_ms", "ratio_cpu"] {
            assert!(cases[name][figure].as_f64().unwrap() > 0.0, "{name} {figure}: {json}");
        }
    }
    assert!(report.to_string().contains("| `gate_cached` |"), "{report}");
}

#[tokio::test]
async fn calls_of_models_have_figures() {
    let settings = bench::ai::Settings {
        rate: 50,
        seconds: 0.2,
        rounds: 1,
        streams: 40,
        at_once: 20,
        json: true,
    };
    let report = bench::ai::measure(settings, Some(measurable_host())).await.unwrap();
    let json = report.json();
    for name in ["whole_p50", "whole_p99", "first_token_p50", "stream_p99"] {
        for figure in ["plain_ms", "gate_ms"] {
            assert!(json["times"][name][figure].as_f64().unwrap() > 0.0, "{name} {figure}: {json}");
        }
    }
    assert!(report.to_string().contains("20 streams at once"), "{report}");
}

#[tokio::test]
async fn the_exchange_has_figures() {
    let settings = bench::exchange::Settings { rounds: 1, logins: 2, seconds: 1, json: true };
    let json = bench::exchange::measure(settings, Some(measurable_host())).await.unwrap().json();
    let targets = json["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 8, "{json}");
    for target in targets {
        assert!(target["found"].as_f64().is_some_and(|found| found > 0.0), "{target}");
    }
}
