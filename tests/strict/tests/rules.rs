//! The host itself: modules that break a rule on purpose are found out, and only they.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use kombi_strict_host::{
    filter::Filter,
    host::Host,
    node::{Builder, Node},
    outcome::Outcome,
    peers::{Answer, Call, Failure},
    request::{Request, UpstreamAnswer},
    rule::{Rule, Violation},
};
use serde_json::json;

/// A module that does one thing in one callback. Bodies are WebAssembly text; they find strings
/// at fixed places of the memory.
#[derive(Default)]
struct Probe {
    configure: &'static str,
    tick: &'static str,
    request_headers: &'static str,
    request_body: &'static str,
    response_headers: &'static str,
    response_body: &'static str,
    call_response: &'static str,
    log: &'static str,
}

/// Strings that the bodies use, 256 bytes apart, by name.
const STRINGS: [(&str, &str); 14] = [
    ("version", "kong\\00version"),
    ("source", "kong\\00response\\00source"),
    ("readonly", "ngx\\00remote_addr"),
    ("unknown", "kong\\00nonsense"),
    ("ctx", "kong\\00ctx\\00shared\\00me"),
    ("target", "peer.example:80"),
    ("url", "http://peer.example:80"),
    ("x", "x-one"),
    ("path", ":path"),
    ("long", "\\00"),
    ("upstream", "kong\\00service\\00upstream"),
    ("a", "rl:user:29685295"),
    ("b", "rl:user:32060020"),
    ("status", ":dispatch_status"),
];

/// Header maps for a dispatch and for an answer, as the ABI writes them.
fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        bytes.extend(name.bytes().chain([0]).chain(value.bytes()).chain([0]));
    }
    bytes
}

impl Probe {
    fn filter(&self) -> Filter {
        self.named("probe")
    }

    fn named(&self, name: &str) -> Filter {
        let call = map(&[(":method", "GET"), (":path", "/"), (":authority", "peer.example")]);
        let escape =
            |bytes: &[u8]| bytes.iter().map(|byte| format!("\\{byte:02x}")).collect::<String>();
        let mut text = String::from("(module\n");
        for (name, parameters) in [
            ("get_property", 4),
            ("set_property", 4),
            ("http_call", 10),
            ("remove_header_map_value", 3),
            ("replace_header_map_value", 5),
            ("get_header_map_value", 5),
            ("get_header_map_pairs", 3),
            ("add_header_map_value", 5),
            ("set_buffer_bytes", 5),
            ("get_buffer_bytes", 5),
            ("get_shared_data", 5),
            ("set_shared_data", 5),
            ("define_metric", 4),
            ("log", 3),
            ("send_local_response", 8),
            ("continue_stream", 1),
            ("set_effective_context", 1),
            ("set_tick_period_milliseconds", 1),
            ("close_stream", 1),
        ] {
            let parameters = "i32 ".repeat(parameters);
            text += &format!(
                "(import \"env\" \"proxy_{name}\" (func ${name} (param {parameters}) (result i32)))\n"
            );
        }
        text += "(memory (export \"memory\") 8)\n";
        for (index, (_, value)) in STRINGS.iter().enumerate() {
            text += &format!("(data (i32.const {}) \"{value}\")\n", 4096 + index * 256);
        }
        text += &format!("(data (i32.const 16384) \"{}\")\n", escape(&call));
        text += &format!("(data (i32.const 17408) \"{}\")\n", escape(&map(&[])));
        // Everything that is allocated goes to the same place: nobody reads it twice.
        text += "(func (export \"proxy_on_memory_allocate\") (param i32) (result i32) i32.const 131072)\n";
        text += "(func (export \"proxy_on_context_create\") (param i32 i32))\n";
        let functions = [
            ("configure", "i32 i32", "(result i32)", self.configure, "i32.const 1"),
            ("tick", "i32", "", self.tick, ""),
            ("request_headers", "i32 i32 i32", "(result i32)", self.request_headers, "i32.const 0"),
            ("request_body", "i32 i32 i32", "(result i32)", self.request_body, "i32.const 0"),
            (
                "response_headers",
                "i32 i32 i32",
                "(result i32)",
                self.response_headers,
                "i32.const 0",
            ),
            ("response_body", "i32 i32 i32", "(result i32)", self.response_body, "i32.const 0"),
            ("http_call_response", "i32 i32 i32 i32 i32", "", self.call_response, ""),
            ("log", "i32", "", self.log, ""),
        ];
        for (name, parameters, result, body, end) in functions {
            text += &format!(
                "(func (export \"proxy_on_{name}\") (param {parameters}) {result}\n{body}\n{end})\n"
            );
        }
        text += ")";
        for (index, (name, value)) in STRINGS.iter().enumerate() {
            let length = value.len() - 2 * value.matches("\\00").count();
            text = text.replace(
                &format!("@{name}@"),
                &format!("(i32.const {}) (i32.const {length})", 4096 + index * 256),
            );
        }
        Filter::from_wasm(name, text.as_bytes()).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
    }

    fn on(&self, host: Host) -> Builder {
        Node::of(&self.filter(), host).route("/", json!({})).collecting_violations()
    }
}

/// Where results are written.
const OUT: &str = "(i32.const 65536) (i32.const 65540)";

macro_rules! wasm {
    ($($text:tt)*) => { Box::leak(format!($($text)*).into_boxed_str()) };
}

fn get_property(name: &str) -> &'static str {
    wasm!("(drop (call $get_property @{name}@ {OUT}))")
}

fn set_property(name: &str) -> &'static str {
    wasm!("(drop (call $set_property @{name}@ @x@))")
}

fn dispatch(target: &str) -> &'static str {
    wasm!(
        "(drop (call $http_call @{target}@ (i32.const 16384) (i32.const 200) (i32.const 0) (i32.const 0)
         (i32.const 17408) (i32.const 4) (i32.const 1000) (i32.const 65536)))"
    )
}

fn answer() -> &'static str {
    "(drop (call $send_local_response (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 0)
     (i32.const 0) (i32.const 17408) (i32.const 4) (i32.const -1)))"
}

fn set_header(map: u32, name: &str) -> &'static str {
    wasm!("(drop (call $replace_header_map_value (i32.const {map}) @{name}@ @x@))")
}

fn remove_header(map: u32) -> &'static str {
    wasm!("(drop (call $remove_header_map_value (i32.const {map}) @x@))")
}

fn share(key: &str, size: u32) -> &'static str {
    wasm!(
        "(drop (call $set_shared_data @{key}@ (i32.const 131072) (i32.const {size}) (i32.const 0)))"
    )
}

const RESUME: &str = "(drop (call $continue_stream (i32.const 0)))";
const PAUSE: &str = "(return (i32.const 1))";

fn both(first: &str, second: &str) -> &'static str {
    wasm!("{first}\n{second}")
}

fn honest(_: &Call) -> Answer {
    Answer::reply(200, "{}").after(5)
}

fn rules(violations: &[Violation]) -> Vec<Rule> {
    violations.iter().map(|violation| violation.rule).collect()
}

/// What a request with a body and a few seconds afterwards show of a probe on Kong.
fn broken(probe: &Probe) -> Vec<Rule> {
    let mut node = probe.on(Host::Kong).peers(honest).start();
    node.begin(0, Request::new("POST", "/").header("x-one", "1").header("x-one", "2").body("body"));
    node.advance(3000);
    rules(&node.take_violations())
}

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
fn each_hostcall_in_a_wrong_phase_is_found() {
    let tick = "(drop (call $set_tick_period_milliseconds (i32.const 1000)))";
    let ticking = |body| Probe { configure: tick, tick: body, ..Probe::default() };
    let headers = |body| Probe { request_headers: body, ..Probe::default() };
    let body = |body| Probe { request_body: body, ..Probe::default() };
    let response = |body| Probe { response_headers: body, ..Probe::default() };
    let chunk = |body| Probe { response_body: body, ..Probe::default() };
    let log = |body| Probe { log: body, ..Probe::default() };
    let configure = |body| Probe { configure: body, ..Probe::default() };
    let answered = |then| Probe {
        request_headers: wasm!("{} {PAUSE}", dispatch("target")),
        call_response: then,
        ..Probe::default()
    };
    let write_body =
        "(drop (call $set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 9) @x@))";
    let read_call =
        wasm!("(drop (call $get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const 9) {OUT}))");
    let read_map = |map: u32| -> &'static str {
        wasm!("(drop (call $get_header_map_pairs (i32.const {map}) {OUT}))")
    };
    let long_name = "(drop (call $define_metric (i32.const 0) (i32.const 131072) (i32.const 201) (i32.const 65536)))";
    let long_line = "(drop (call $log (i32.const 2) (i32.const 131072) (i32.const 2049)))";
    let cases: Vec<(&str, Probe, Rule)> = vec![
        ("property in configure", configure(get_property("version")), Rule::PropertyRead),
        ("property in tick", ticking(get_property("version")), Rule::PropertyRead),
        ("response.source", headers(get_property("source")), Rule::PropertyRead),
        ("read-only", headers(set_property("readonly")), Rule::PropertyWrite),
        ("unknown", headers(set_property("unknown")), Rule::PropertyWrite),
        ("write in tick", ticking(set_property("ctx")), Rule::PropertyWrite),
        ("service.upstream", headers(set_property("upstream")), Rule::WithoutEffect),
        ("dispatch in configure", configure(dispatch("target")), Rule::DispatchPhase),
        ("dispatch in response", response(dispatch("target")), Rule::DispatchPhase),
        ("dispatch in chunk", chunk(dispatch("target")), Rule::DispatchPhase),
        ("dispatch in log", log(dispatch("target")), Rule::DispatchPhase),
        ("dispatch to a URL", headers(dispatch("url")), Rule::DispatchTarget),
        ("dispatch to nowhere", headers(dispatch("long")), Rule::DispatchTarget),
        ("body in headers", headers(write_body), Rule::RequestBodyPhase),
        ("body in callback", answered(write_body), Rule::RequestBodyPhase),
        ("header in response", response(set_header(0, "x")), Rule::RequestHeadersTooLate),
        (
            "header after answer",
            headers(both(answer(), set_header(0, "x"))),
            Rule::RequestHeadersTooLate,
        ),
        ("response header in chunk", chunk(set_header(2, "x")), Rule::ResponseHeadersTooLate),
        ("response header in log", log(remove_header(2)), Rule::ResponseHeadersTooLate),
        ("response header early", headers(set_header(2, "x")), Rule::Unmeasured),
        ("map in tick", ticking(read_map(0)), Rule::WrongPhase),
        ("call map in headers", headers(read_map(6)), Rule::WrongPhase),
        ("call body in headers", headers(read_call), Rule::WrongPhase),
        ("answer in log", log(answer()), Rule::WrongPhase),
        ("two answers", headers(both(answer(), answer())), Rule::WrongPhase),
        ("resume in tick", ticking(RESUME), Rule::WrongPhase),
        ("resume twice", answered(both(RESUME, RESUME)), Rule::Unmeasured),
        ("removal", headers(remove_header(0)), Rule::ReliesOnRemoval),
        ("overwrite of two", headers(set_header(0, "x")), Rule::ReliesOnOverwrite),
        (":path", headers(set_header(0, "path")), Rule::WithoutEffect),
        (
            "foreign context",
            headers("(drop (call $set_effective_context (i32.const 1)))"),
            Rule::ForeignContext,
        ),
        ("close", headers("(drop (call $close_stream (i32.const 0)))"), Rule::Unmeasured),
        ("pause in headers", headers(PAUSE), Rule::Hang),
        ("pause in body", body(PAUSE), Rule::Hang),
        ("pause in response", response(PAUSE), Rule::Hang),
        ("no resume", answered(""), Rule::Hang),
        ("on and on", headers("(loop $l (br $l))"), Rule::Blocks),
        ("trap", headers("unreachable"), Rule::Trap),
        ("returns false", configure("(return (i32.const 0))"), Rule::FailsOpen),
        ("traps at start", configure("unreachable"), Rule::FailsOpen),
        ("metric's name", log(long_name), Rule::MetricName),
        ("log line", headers(long_line), Rule::LogCut),
    ];
    for (what, probe, rule) in cases {
        let found = broken(&probe);
        assert!(found.contains(&rule), "{what}: {found:?}");
    }
}

#[test]
fn what_kong_allows_is_no_violation() {
    let write_body =
        "(drop (call $set_buffer_bytes (i32.const 0) (i32.const 0) (i32.const 9) @x@))";
    let metric = "(drop (call $define_metric (i32.const 0) @x@ (i32.const 65536)))";
    let probe = Probe {
        configure: both("(drop (call $set_tick_period_milliseconds (i32.const 1000)))", metric),
        tick: both(dispatch("target"), share("a", 5)),
        request_headers: wasm!(
            "{} {} {} {PAUSE}",
            get_property("version"),
            set_property("ctx"),
            dispatch("target")
        ),
        call_response: "(if (i32.eq (local.get 0) (i32.const 2)) (then (drop (call $continue_stream (i32.const 0)))))",
        request_body: write_body,
        response_headers: remove_header(2),
        response_body: "(drop (call $set_buffer_bytes (i32.const 1) (i32.const 0) (i32.const 0) @x@))",
        log: both(share("b", 5), metric),
    };
    assert_eq!(broken(&probe), []);
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
fn shared_data_without_a_zone_and_values_larger_than_it_would_trap() {
    for (bytes, size, rule) in [
        (None, 5, Some(Rule::NoZone)),
        (Some(8192), 5, None),
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
    let probe = Probe { log: share("a", 5), ..Probe::default() };
    let mut node = probe.on(Host::Kong).workers(2).start();
    node.send_to(0, Request::get("/"));
    let colliding = node.with_zone(|zone| zone.read(b"rl:user:32060020")).unwrap();
    assert_eq!(colliding, Some((vec![0; 5], 1)));
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
fn a_trap_in_the_response_passes_the_response() {
    let probe = Probe { response_body: "unreachable", ..Probe::default() };
    let mut node = probe.on(Host::Kong).start();
    let outcome = node.send(Request::get("/"));
    assert_eq!(outcome.response().unwrap().body, b"hello");
    assert_eq!(rules(&node.take_violations()), [Rule::Trap]);
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
fn a_client_that_leaves_during_the_response_ends_with_the_log() {
    let probe = Probe { log: "(drop (call $log (i32.const 2) @x@))", ..Probe::default() };
    let mut node = probe.on(Host::Kong).start();
    let upstream = UpstreamAnswer { client_leaves: true, ..UpstreamAnswer::default() };
    node.send(Request::get("/").answered(upstream));
    assert_eq!(node.take_logs().len(), 1);
    assert_eq!(rules(&node.take_violations()), []);
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
    let probe = Probe {
        request_headers: both(get_property("version"), remove_header(0)),
        ..Probe::default()
    };
    let filter = probe.filter();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut node = Node::of(&filter, Host::Kong).route("/", json!({})).start();
        node.send(Request::get("/").header("x-one", "1"));
    }));
    let message = *failed.unwrap_err().downcast::<String>().unwrap();
    for part in
        ["ReliesOnRemoval", "proxy_on_request_headers", "property kong.version is 3.9.3", "x-one"]
    {
        assert!(message.contains(part), "{part} in {message}");
    }
}
