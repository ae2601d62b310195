//! A module that does one thing in one callback, and the things that it can do.

use kombi_strict_host::{
    filter::Filter,
    host::Host,
    node::{Builder, Node},
    peers::{Answer, Call},
    request::Request,
    rule::{Rule, Violation},
};
use serde_json::json;

/// A module that does one thing in one callback. Bodies are WebAssembly text; they find strings
/// at fixed places of the memory.
#[derive(Default)]
pub(crate) struct Probe {
    pub(crate) configure: &'static str,
    pub(crate) tick: &'static str,
    pub(crate) request_headers: &'static str,
    pub(crate) request_body: &'static str,
    pub(crate) response_headers: &'static str,
    pub(crate) response_body: &'static str,
    pub(crate) call_response: &'static str,
    pub(crate) log: &'static str,
}

/// Strings that the bodies use, 256 bytes apart, by name.
pub(crate) const STRINGS: [(&str, &str); 16] = [
    ("id", "ngx\\00kong_request_id"),
    ("version", "kong\\00version"),
    ("zone", "kong\\00configuration\\00nginx_wasm_shm_kv"),
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

/// Where the string `name` lies.
fn place(name: &str) -> usize {
    let index = STRINGS.iter().position(|(found, _)| *found == name);
    4096 + index.unwrap_or_else(|| panic!("no string {name}")) * 256
}

/// Header maps for a dispatch and for an answer, as the ABI writes them.
pub(crate) fn map(pairs: &[(&str, &str)]) -> Vec<u8> {
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
    pub(crate) fn filter(&self) -> Filter {
        self.named("probe")
    }

    pub(crate) fn named(&self, name: &str) -> Filter {
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
        for (name, value) in STRINGS {
            text += &format!("(data (i32.const {}) \"{value}\")\n", place(name));
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
        for (name, value) in STRINGS {
            let length = value.len() - 2 * value.matches("\\00").count();
            text = text.replace(
                &format!("@{name}@"),
                &format!("(i32.const {}) (i32.const {length})", place(name)),
            );
        }
        Filter::from_wasm(name, text.as_bytes()).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
    }

    pub(crate) fn on(&self, host: Host) -> Builder {
        Node::of(&self.filter(), host).route("/", json!({})).collecting_violations()
    }
}

/// Where results are written.
pub(crate) const OUT: &str = "(i32.const 65536) (i32.const 65540)";

macro_rules! wasm {
    ($($text:tt)*) => { Box::leak(format!($($text)*).into_boxed_str()) };
}
pub(crate) use wasm;

pub(crate) fn get_property(name: &str) -> &'static str {
    wasm!("(drop (call $get_property @{name}@ {OUT}))")
}

pub(crate) fn set_property(name: &str) -> &'static str {
    wasm!("(drop (call $set_property @{name}@ @x@))")
}

pub(crate) fn dispatch(target: &str) -> &'static str {
    dispatch_with(target, 0)
}

/// With a body of `size` bytes.
pub(crate) fn dispatch_with(target: &str, size: u32) -> &'static str {
    wasm!(
        "(drop (call $http_call @{target}@ (i32.const 16384) (i32.const 200) (i32.const 4096) (i32.const {size})
         (i32.const 17408) (i32.const 4) (i32.const 1000) (i32.const 65536)))"
    )
}

pub(crate) fn answer() -> &'static str {
    answer_with(0)
}

/// With a body of `size` bytes.
pub(crate) fn answer_with(size: u32) -> &'static str {
    wasm!(
        "(drop (call $send_local_response (i32.const 403) (i32.const 0) (i32.const 0) (i32.const 4096)
     (i32.const {size}) (i32.const 17408) (i32.const 4) (i32.const -1)))"
    )
}

pub(crate) fn set_header(map: u32, name: &str) -> &'static str {
    wasm!("(drop (call $replace_header_map_value (i32.const {map}) @{name}@ @x@))")
}

pub(crate) fn remove_header(map: u32) -> &'static str {
    wasm!("(drop (call $remove_header_map_value (i32.const {map}) @x@))")
}

/// Shares the `size` bytes that begin with the key itself.
pub(crate) fn share(key: &str, size: u32) -> &'static str {
    wasm!(
        "(drop (call $set_shared_data @{key}@ (i32.const {}) (i32.const {size}) (i32.const 0)))",
        place(key)
    )
}

/// Logs a string.
pub(crate) fn log(text: &str) -> &'static str {
    wasm!("(drop (call $log (i32.const 2) @{text}@))")
}

/// Reads a whole buffer; then logs "x", or "a" if there is nothing to be read.
pub(crate) fn read_buffer(buffer: u32) -> &'static str {
    wasm!(
        "(if (call $get_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const -1) {OUT})
           (then {}) (else {}))",
        log("a"),
        log("x")
    )
}

/// Writes "x-one" over the first `replaced` bytes of a buffer.
pub(crate) fn write_buffer(buffer: u32, replaced: u32) -> &'static str {
    wasm!(
        "(drop (call $set_buffer_bytes (i32.const {buffer}) (i32.const 0) (i32.const {replaced}) @x@))"
    )
}

pub(crate) const RESUME: &str = "(drop (call $continue_stream (i32.const 0)))";
pub(crate) const PAUSE: &str = "(return (i32.const 1))";

pub(crate) fn both(first: &str, second: &str) -> &'static str {
    wasm!("{first}\n{second}")
}

pub(crate) fn honest(_: &Call) -> Answer {
    Answer::reply(200, "{}").after(5)
}

pub(crate) fn rules(violations: &[Violation]) -> Vec<Rule> {
    violations.iter().map(|violation| violation.rule).collect()
}

/// What a request with a body and a few seconds afterwards show of a probe on Kong.
pub(crate) fn broken(probe: &Probe) -> Vec<Rule> {
    let mut node = probe.on(Host::Kong).peers(honest).start();
    node.begin(0, Request::new("POST", "/").header("x-one", "1").header("x-one", "2").body("body"));
    node.advance(3000);
    rules(&node.take_violations())
}
