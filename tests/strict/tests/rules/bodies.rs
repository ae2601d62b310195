//! Bodies and responses: how they come, and what can be done to them.

use kombi_strict_host::{
    host::Host,
    node::Node,
    outcome::Outcome,
    request::{Request, UpstreamAnswer},
    rule::Rule,
};

use crate::probe::{
    PAUSE, Probe, RESUME, answer, both, broken, dispatch, honest, log, read_buffer, remove_header,
    rules, set_header, wasm, write_buffer,
};

/// Logs each chunk: as many bytes as it has, and then "end" if it is the last.
const CHUNKS: &str = "(drop (call $log (i32.const 2) (i32.const 131072) (local.get 1)))
    (if (local.get 2) (then (drop (call $log (i32.const 2) @b@))))";

/// The lines that the filter logged.
fn lines(node: &mut Node) -> Vec<String> {
    node.take_logs().into_iter().map(|line| line.text).collect()
}

fn chunked(chunks: &[&str]) -> UpstreamAnswer {
    let chunks = chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect();
    UpstreamAnswer { chunks, ..UpstreamAnswer::default() }
}

#[test]
fn a_body_above_the_buffers_size_reads_as_nothing_on_kong_only() {
    let probe = Probe { request_body: read_buffer(0), ..Probe::default() };
    for (host, size, expected) in [
        (Host::Kong, 8192, "x-one"),
        (Host::Kong, 8193, "rl:user:29685295"),
        (Host::Envoy, 8193, "x-one"),
    ] {
        let mut node = probe.on(host).settings(|s| s.body_buffer_bytes = 8192).start();
        let outcome = node.send(Request::new("POST", "/").body(vec![b'b'; size]));
        let Outcome::Forwarded { upstream, .. } = outcome else { panic!("not forwarded") };
        assert_eq!(upstream.body.len(), size, "it reaches the upstream all the same");
        assert_eq!(lines(&mut node), [expected], "{host:?} {size}");
        assert_eq!(rules(&node.take_violations()), []);
    }
}

#[test]
fn a_body_that_cannot_be_read_can_be_answered() {
    let probe = Probe { request_body: both(read_buffer(0), answer()), ..Probe::default() };
    let mut node = probe.on(Host::Kong).settings(|s| s.body_buffer_bytes = 8192).start();
    let outcome = node.send(Request::new("POST", "/").body(vec![b'b'; 8193]));
    assert_eq!(outcome.status(), 403);
    assert_eq!(rules(&node.take_violations()), []);
}

#[test]
fn a_body_is_edited_first_and_then_waits_for_a_call() {
    let probe = Probe {
        request_body: wasm!("{} {} {PAUSE}", write_buffer(0, 4), dispatch("target")),
        call_response: both(set_header(0, "x"), RESUME),
        ..Probe::default()
    };
    let mut node = probe.on(Host::Kong).peers(honest).start();
    let outcome = node.send(Request::new("POST", "/").header("x-one", "old").body("bodily"));
    let Outcome::Forwarded { upstream, .. } = outcome else { panic!("not forwarded") };
    assert_eq!(upstream.body, b"x-onely");
    assert_eq!(upstream.headers.text("x-one"), Some("x-one"), "set in the callback");
    assert_eq!(rules(&node.take_violations()), []);
    // The other way round the body is written too late.
    let probe = Probe { call_response: both(write_buffer(0, 4), RESUME), ..probe };
    assert!(broken(&probe).contains(&Rule::RequestBodyPhase));
}

#[test]
fn a_request_that_waits_with_its_body_can_be_refused() {
    let probe = Probe {
        request_body: wasm!("{} {PAUSE}", dispatch("target")),
        call_response: answer(),
        ..Probe::default()
    };
    let mut node = probe.on(Host::Kong).peers(honest).start();
    assert_eq!(node.send(Request::new("POST", "/").body("b")).status(), 403);
    assert_eq!(rules(&node.take_violations()), []);
}

#[test]
fn a_header_set_in_the_body_phase_reaches_the_upstream_on_kong() {
    let probe = Probe { request_body: set_header(0, "x"), ..Probe::default() };
    let mut node = probe.on(Host::Kong).start();
    let outcome = node.send(Request::new("POST", "/").body("b"));
    assert_eq!(outcome.upstream_header("x-one"), Some("x-one"));
    assert_eq!(rules(&node.take_violations()), []);
}

#[test]
fn a_response_comes_chunk_by_chunk_and_ends_with_an_empty_call() {
    let probe = Probe { response_body: CHUNKS, ..Probe::default() };
    for host in [Host::Kong, Host::Envoy] {
        let mut node = probe.on(host).start();
        let outcome = node.send(Request::get("/").answered(chunked(&["one", "three", ""])));
        assert_eq!(outcome.response().unwrap().body, b"onethree");
        let lengths: Vec<_> = lines(&mut node).iter().map(String::len).collect();
        assert_eq!(lengths, [3, 5, 0, 0, "rl:user:32060020".len()], "{host:?}");
    }
}

#[test]
fn each_chunk_can_be_edited_and_the_last_call_can_add_one() {
    for (host, replaced, expected) in [
        (Host::Envoy, 1, &b"x-one-x-one-x-one"[..]),
        // On Kong, whatever is taken out kills the worker later.
        (Host::Kong, 0, b"x-onea-x-oneb-x-one"),
    ] {
        let probe = Probe { response_body: write_buffer(1, replaced), ..Probe::default() };
        let mut node = probe.on(host).start();
        let outcome = node.send(Request::get("/").answered(chunked(&["a-", "b-"])));
        assert_eq!(outcome.response().unwrap().body, expected);
        assert_eq!(rules(&node.take_violations()), []);
    }
}

#[test]
fn response_headers_can_be_removed_and_set_before_the_body() {
    let upstream = UpstreamAnswer {
        headers: [("x-one", "1"), ("x-one", "2"), ("content-length", "5")].into_iter().collect(),
        ..UpstreamAnswer::default()
    };
    for (body, expected) in [(remove_header(2), vec![]), (set_header(2, "x"), vec![&b"x-one"[..]])]
    {
        let probe = Probe { response_headers: body, ..Probe::default() };
        let mut node = probe.on(Host::Kong).start();
        let outcome = node.send(Request::get("/").answered(upstream.clone()));
        assert_eq!(outcome.response().unwrap().headers.all("x-one"), expected);
        assert_eq!(rules(&node.take_violations()), []);
    }
}

#[test]
fn a_client_that_leaves_during_the_response_ends_with_the_log() {
    let probe = Probe { response_body: CHUNKS, log: log("x"), ..Probe::default() };
    let mut node = probe.on(Host::Kong).start();
    let upstream = UpstreamAnswer { client_leaves: true, ..chunked(&["one"]) };
    node.send(Request::get("/").answered(upstream));
    assert_eq!(lines(&mut node), ["\0\0\0", "x-one"], "no end of the stream, only the log");
    assert_eq!(rules(&node.take_violations()), []);
}

#[test]
fn a_client_that_leaves_a_waiting_request_ends_with_the_log() {
    let probe = Probe {
        request_headers: wasm!("{} {PAUSE}", dispatch("target")),
        call_response: log("a"),
        response_headers: log("a"),
        response_body: log("a"),
        log: log("x"),
        ..Probe::default()
    };
    let mut node = probe.on(Host::Kong).peers(honest).start();
    let request = node.begin(0, Request::get("/"));
    node.leave(request);
    node.advance(100);
    assert_eq!(lines(&mut node), ["x-one"], "no answer to its call, only the log");
    assert_eq!(rules(&node.take_violations()), []);
}

#[test]
fn a_trap_in_the_response_passes_the_response() {
    let probe = Probe { response_body: "unreachable", ..Probe::default() };
    let mut node = probe.on(Host::Kong).start();
    let outcome = node.send(Request::get("/"));
    assert_eq!(outcome.response().unwrap().body, b"hello");
    assert_eq!(rules(&node.take_violations()), [Rule::Trap]);
}
