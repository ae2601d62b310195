//! What the hosts do that nobody expects, and where they differ.

use kombi_strict_host::{
    host::Host,
    node::Node,
    outcome::Outcome,
    peers::{Answer, Call, Failure},
    request::Request,
    rule::Rule,
};
use serde_json::json;

use crate::probe::{
    OUT, PAUSE, Probe, RESUME, answer, answer_with, both, broken, dispatch, dispatch_with,
    get_property, remove_header, rules, set_header, wasm,
};

#[test]
fn a_module_that_does_nothing_breaks_nothing() {
    for host in [Host::Kong, Host::Envoy] {
        let mut node = Probe::default().on(host).start();
        let outcome = node.send(Request::new("POST", "/").body("body").header("x-one", "1"));
        let Outcome::Forwarded { upstream, response } = outcome else { panic!("not forwarded") };
        assert_eq!(upstream.body, b"body");
        assert_eq!(upstream.headers.text("x-one"), Some("1"));
        assert_eq!((response.status, response.body.as_slice()), (200, &b"hello"[..]));
        assert!(node.take_violations().is_empty());
    }
}

#[test]
fn a_removed_request_header_still_reaches_the_upstream_on_kong_only() {
    for (host, expected) in [(Host::Kong, Some("1")), (Host::Envoy, None)] {
        let probe = Probe { request_headers: remove_header(0), ..Probe::default() };
        let mut node = probe.on(host).start();
        let outcome = node.send(Request::get("/").header("x-one", "1"));
        assert_eq!(outcome.upstream_header("x-one"), expected, "{host:?}");
    }
}

#[test]
fn overwriting_replaces_the_first_occurrence_on_kong_only() {
    for (host, expected) in [(Host::Kong, &[&b"x-one"[..], b"2"][..]), (Host::Envoy, &[b"x-one"])] {
        let probe = Probe { request_headers: set_header(0, "x"), ..Probe::default() };
        let mut node = probe.on(host).start();
        let request = Request::get("/").header("X-One", "1").header("x-one", "2");
        let Outcome::Forwarded { upstream, .. } = node.send(request) else {
            panic!("not forwarded")
        };
        assert_eq!(upstream.headers.all("x-one"), expected, "{host:?}");
    }
}

#[test]
fn envoy_edits_headers_in_the_body_phase_only_if_they_were_held() {
    let edits = |held| Probe {
        request_headers: if held { PAUSE } else { "" },
        request_body: set_header(0, "x"),
        ..Probe::default()
    };
    for (held, expected) in [(true, vec![]), (false, vec![Rule::HeadersNotHeld])] {
        let mut node = edits(held).on(Host::Envoy).start();
        assert!(node.send(Request::new("POST", "/").body("b")).is_forwarded());
        assert_eq!(rules(&node.take_violations()), expected, "{held}");
    }
    // The same pause hangs on Kong.
    assert!(broken(&edits(true)).contains(&Rule::Hang));
}

#[test]
fn a_trap_drops_the_instance_and_with_a_paused_request_the_worker() {
    // The first request waits for its dispatch; the second, with a body, traps.
    let probe = Probe {
        request_headers: wasm!("{} {PAUSE}", dispatch("target")),
        call_response: RESUME,
        request_body: "unreachable",
        ..Probe::default()
    };
    let peers = |call: &Call| Answer::reply(200, "").after(if call.token == 1 { 500 } else { 1 });
    let mut node = probe.on(Host::Kong).peers(peers).start();
    let waits = node.begin(0, Request::get("/"));
    let traps = node.begin(0, Request::new("POST", "/").body("b"));
    node.advance(100);
    assert!(matches!(node.outcome(traps), Some(Outcome::Broken)));
    assert!(matches!(node.outcome(waits), Some(Outcome::CutOff)));
    assert_eq!(rules(&node.take_violations()), [Rule::Trap, Rule::WorkerDies]);
    assert_eq!(node.instances_started(), 2);
    // On a new instance everything works again, until the next one.
    assert!(node.send(Request::get("/")).is_forwarded());
}

#[test]
fn a_filter_that_refuses_its_configuration_leaves_the_route_open() {
    let probe = Probe {
        configure: "(return (i32.const 0))",
        request_headers: answer(),
        ..Probe::default()
    };
    let mut node = probe.on(Host::Kong).start();
    assert!(node.send(Request::get("/")).is_forwarded());
    assert!(rules(&node.take_violations()).contains(&Rule::FailsOpen));
}

#[test]
fn a_call_that_times_out_can_look_like_200_on_kong() {
    // The answer's :dispatch_status is logged by its callback.
    let status = wasm!(
        "(drop (call $get_header_map_value (i32.const 6) @status@ {OUT}))
         (drop (call $log (i32.const 2) (i32.load (i32.const 65536)) (i32.load (i32.const 65540))))
         {RESUME}"
    );
    let probe = Probe {
        request_headers: wasm!("{} {PAUSE}", dispatch("target")),
        call_response: status,
        ..Probe::default()
    };
    for (answer, expected, after_ms) in [
        (Answer::reply(200, "x").after(7), "ok", 7),
        (Answer::stall("x"), "timeout", 1000),
        (Answer::reply(200, "x").after(2000), "timeout", 1000),
        (Answer::failure(Failure::Connection).after(3), "broken connection", 3),
        (Answer::failure(Failure::Tls), "tls handshake failure", 0),
        (Answer::failure(Failure::Resolver), "resolver failure", 0),
    ] {
        let mut node = probe.on(Host::Kong).peers(move |_: &Call| answer.clone()).start();
        let before = node.now_ms();
        assert!(node.send(Request::get("/")).is_forwarded());
        assert_eq!(node.now_ms() - before, after_ms, "{expected}");
        assert_eq!(node.take_logs()[0].text, expected);
    }
}

#[test]
fn a_hyphen_in_the_modules_name_is_found() {
    let filter = Probe::default().named("kombi-gate");
    let mut node =
        Node::of(&filter, Host::Kong).route("/", json!({})).collecting_violations().start();
    assert_eq!(rules(&node.take_violations()), [Rule::FilterName]);
}

#[test]
fn a_broken_rule_fails_the_test_and_tells_what_led_to_it() {
    let probe =
        Probe { request_headers: both(get_property("id"), remove_header(0)), ..Probe::default() };
    let filter = probe.filter();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut node = Node::of(&filter, Host::Kong).route("/", json!({})).start();
        node.send(Request::get("/").header("x-one", "1"));
    }));
    let message = *failed.unwrap_err().downcast::<String>().unwrap();
    for part in
        ["ReliesOnRemoval", "proxy_on_request_headers", "property ngx.kong_request_id is ", "x-one"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[test]
fn calls_that_time_out_are_no_clock() {
    // Each callback makes the next call.
    for (answer, expected) in
        [(Answer::reply(200, ""), None), (Answer::stall("x"), Some(Rule::TimeoutsInARow))]
    {
        let again = wasm!("{}", dispatch("target"));
        let probe = Probe {
            request_headers: wasm!("{again} {PAUSE}"),
            call_response: again,
            ..Probe::default()
        };
        let mut node = probe.on(Host::Kong).peers(move |_: &Call| answer.clone().after(10)).start();
        node.begin(0, Request::get("/"));
        // Time for three calls, whatever becomes of them.
        node.advance(if expected.is_some() { 3_000 } else { 30 });
        assert_eq!(node.take_violations().first().map(|v| v.rule), expected);
    }
}

#[test]
fn a_call_that_fails_takes_its_body_and_that_of_the_refusal_with_it() {
    let failure = || Answer::failure(Failure::Connection);
    for (host, asked, told, answer, expected) in [
        (Host::Kong, 4, 4, failure(), Some(Rule::RefusalSpoiled)),
        (Host::Kong, 4, 4, Answer::stall("x"), Some(Rule::RefusalSpoiled)),
        (Host::Kong, 0, 4, failure(), None),
        (Host::Kong, 4, 0, failure(), None),
        (Host::Kong, 4, 4, Answer::reply(200, "x"), None),
        (Host::Envoy, 4, 4, failure(), None),
    ] {
        let probe = Probe {
            request_headers: wasm!("{} {PAUSE}", dispatch_with("target", asked)),
            call_response: answer_with(told),
            ..Probe::default()
        };
        let mut node = probe.on(host).peers(move |_: &Call| answer.clone()).start();
        node.begin(0, Request::get("/"));
        node.advance(3_000);
        assert_eq!(node.take_violations().first().map(|v| v.rule), expected, "{host:?} {asked}");
    }
}
