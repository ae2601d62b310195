//! What workers share: the zone for data, and metrics.

use kombi_strict_host::{host::Host, request::Request, rule::Rule};

use crate::probe::{Probe, rules, share};

#[test]
fn shared_data_without_a_zone_and_values_larger_than_it_would_trap() {
    for (bytes, size, rule) in [
        (None, 16, Some(Rule::NoZone)),
        (Some(8192), 16, None),
        (Some(8192), 9000, Some(Rule::ValueLargerThanZone)),
    ] {
        let probe = Probe { log: share("a", size), ..Probe::default() };
        let mut node = probe.on(Host::Kong).settings(|s| s.zone_bytes = bytes).start();
        node.send(Request::get("/"));
        assert_eq!(node.take_violations().first().map(|v| v.rule), rule, "{bytes:?}");
    }
    let probe = Probe { log: share("a", 9000), ..Probe::default() };
    let mut node = probe.on(Host::Envoy).settings(|s| s.zone_bytes = None).start();
    node.send(Request::get("/"));
    assert_eq!(rules(&node.take_violations()), []);
}

#[test]
fn workers_share_the_zone_and_colliding_keys_a_cell() {
    let probe = Probe { log: share("a", 16), ..Probe::default() };
    let mut node = probe.on(Host::Kong).workers(2).start();
    node.send_to(0, Request::get("/"));
    let colliding = node.with_zone(|zone| zone.read(b"rl:user:32060020")).unwrap();
    assert_eq!(colliding, Some((b"rl:user:29685295".to_vec(), 1)));
    node.send_to(1, Request::get("/"));
    assert_eq!(node.with_zone(|zone| zone.len()), Some(1));
}

#[test]
fn too_many_metrics_fill_the_slab() {
    let probe = Probe {
        log: "(drop (call $define_metric (i32.const 0) @a@ (i32.const 65536)))",
        ..Probe::default()
    };
    let mut node = probe.on(Host::Kong).settings(|s| s.metrics_bytes = 100).start();
    node.send(Request::get("/"));
    assert_eq!(node.take_violations().first().map(|v| v.rule), Some(Rule::MetricSlab));
}
