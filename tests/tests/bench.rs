//! The bench, as briefly as can be: that it runs and measures every case, not what it finds.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use stack::{
    bench::{self, Settings},
    host::HostKind,
};

#[tokio::test]
async fn every_case_has_figures() {
    // What is in a container cannot be measured.
    let host = match HostKind::choose(None).unwrap() {
        HostKind::Docker => HostKind::Envoy,
        host => host,
    };
    let settings = Settings { json: true, seconds: 0.1, rounds: 1, connections: 2, tokens: 20 };
    let report = bench::measure(settings, Some(host)).await.unwrap();
    let own: &[&str] = match host {
        HostKind::Envoy => {
            &["jwt_authn", "jwt_authn_rbac", "jwt_authn_rbac_limit", "jwt_authn_uncached"]
        }
        HostKind::Kong | HostKind::Docker => &["lua_jwt", "lua_jwt_acl", "lua_jwt_acl_limit"],
    };
    let json = report.json();
    let cases = json["cases"].as_object().unwrap();
    assert_eq!(cases.len(), 4 + own.len(), "{json}");
    for name in ["plain", "nothing", "gate_cached", "gate_cold"].iter().chain(own) {
        for figure in ["cpu_us", "rps", "p99_ms", "ratio_cpu"] {
            assert!(cases[*name][figure].as_f64().unwrap() > 0.0, "{name} {figure}: {json}");
        }
    }
    assert!(report.to_string().contains("| `gate_cached` |"), "{report}");
}
