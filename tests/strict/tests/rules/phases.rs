//! Which hostcall is allowed in which callback, on Kong.

use kombi_strict_host::rule::Rule;

use crate::probe::{
    OUT, PAUSE, Probe, RESUME, answer, both, broken, dispatch, get_property, read_buffer,
    remove_header, set_header, set_property, share, wasm, write_buffer,
};

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
    let write_body = write_buffer(0, 9);
    let read_call =
        wasm!("(drop (call $get_buffer_bytes (i32.const 4) (i32.const 0) (i32.const 9) {OUT}))");
    let read_map = |map: u32| -> &'static str {
        wasm!("(drop (call $get_header_map_pairs (i32.const {map}) {OUT}))")
    };
    let long_name = "(drop (call $define_metric (i32.const 0) (i32.const 131072) (i32.const 201) (i32.const 65536)))";
    let long_line = "(drop (call $log (i32.const 2) (i32.const 131072) (i32.const 2049)))";
    let cases: Vec<(&str, Probe, Rule)> = vec![
        ("property in configure", configure(get_property("id")), Rule::PropertyRead),
        ("property in tick", ticking(get_property("id")), Rule::PropertyRead),
        ("kong.version", headers(get_property("version")), Rule::KongProperty),
        ("kong.configuration", body(get_property("zone")), Rule::KongProperty),
        ("kong.ctx.shared", chunk(get_property("ctx")), Rule::KongProperty),
        ("kong.response.source", log(get_property("source")), Rule::KongProperty),
        ("read-only", headers(set_property("readonly")), Rule::PropertyWrite),
        ("unknown", headers(set_property("unknown")), Rule::PropertyWrite),
        ("write in tick", ticking(set_property("ctx")), Rule::PropertyWrite),
        ("service.upstream", headers(set_property("upstream")), Rule::WithoutEffect),
        ("dispatch in configure", configure(dispatch("target")), Rule::DispatchPhase),
        ("dispatch in response", response(dispatch("target")), Rule::DispatchPhase),
        ("dispatch in chunk", chunk(dispatch("target")), Rule::DispatchPhase),
        ("dispatch in log", log(dispatch("target")), Rule::DispatchPhase),
        (
            "dispatch from the callback of a tick's",
            Probe { call_response: dispatch("target"), ..ticking(dispatch("target")) },
            Rule::DispatchFromRootsCallback,
        ),
        (
            "dispatch after an answer",
            headers(both(answer(), dispatch("target"))),
            Rule::DispatchPhase,
        ),
        ("dispatch to a URL", headers(dispatch("url")), Rule::DispatchTarget),
        ("dispatch to nowhere", headers(dispatch("long")), Rule::DispatchTarget),
        ("body in headers", headers(write_body), Rule::RequestBodyPhase),
        ("body in callback", answered(write_body), Rule::RequestBodyPhase),
        ("body in response", response(write_body), Rule::RequestBodyPhase),
        ("body in log", log(write_body), Rule::RequestBodyPhase),
        ("header in response", response(set_header(0, "x")), Rule::RequestHeadersTooLate),
        ("header in chunk", chunk(set_header(0, "x")), Rule::RequestHeadersTooLate),
        ("header in log", log(set_header(0, "x")), Rule::RequestHeadersTooLate),
        (
            "header after answer",
            headers(both(answer(), set_header(0, "x"))),
            Rule::RequestHeadersTooLate,
        ),
        ("replaced chunk", chunk(write_buffer(1, 1)), Rule::ResponseReplaced),
        ("response header in chunk", chunk(set_header(2, "x")), Rule::ResponseHeadersTooLate),
        ("response header in log", log(set_header(2, "x")), Rule::ResponseHeadersTooLate),
        ("removal of one in chunk", chunk(remove_header(2)), Rule::ResponseHeadersTooLate),
        ("removal of one in log", log(remove_header(2)), Rule::ResponseHeadersTooLate),
        ("response header early", headers(set_header(2, "x")), Rule::Unmeasured),
        ("request body in headers", headers(read_buffer(0)), Rule::WrongPhase),
        ("response body in headers", response(read_buffer(1)), Rule::WrongPhase),
        ("response body in log", log(read_buffer(1)), Rule::WrongPhase),
        ("write of a chunk in headers", response(write_buffer(1, 0)), Rule::WrongPhase),
        ("answer in response", response(answer()), Rule::WrongPhase),
        ("answer in chunk", chunk(answer()), Rule::WrongPhase),
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
        ("pause in chunk", chunk(PAUSE), Rule::Hang),
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
    let write_body = write_buffer(0, 9);
    let metric = "(drop (call $define_metric (i32.const 0) @x@ (i32.const 65536)))";
    let probe = Probe {
        configure: both("(drop (call $set_tick_period_milliseconds (i32.const 1000)))", metric),
        tick: both(dispatch("target"), share("a", 16)),
        request_headers: wasm!(
            "{} {} {} {PAUSE}",
            get_property("id"),
            set_property("ctx"),
            dispatch("target")
        ),
        call_response: "(if (i32.eq (local.get 0) (i32.const 2)) (then (drop (call $continue_stream (i32.const 0)))))",
        request_body: write_body,
        response_headers: remove_header(2),
        response_body: both(read_buffer(1), write_buffer(1, 0)),
        log: both(share("b", 16), metric),
    };
    assert_eq!(broken(&probe), []);
}
