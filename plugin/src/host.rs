//! The host: hostcalls as the filter needs them, and the differences between Kong and Envoy.
//!
//! Headers are read as bytes: the SDK's readers panic at the first byte that is not UTF-8, which
//! any client can send.

use std::cell::Cell;

use kombi_gate_core::{
    request::Head,
    step::{HttpCall, HttpOutcome, SetHeader},
    time::UnixTime,
};
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, Status},
};

mod headers;

/// Which host runs the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kong,
    /// Envoy, or another host without nginx's variables.
    Other,
}

thread_local! {
    static KIND: Cell<Option<Kind>> = const { Cell::new(None) };
}

/// Kong's id of the request, an nginx variable; `None` on another host. Only a request may ask:
/// reading a property in a root context traps.
///
/// It also tells the hosts apart. Not a `kong.*` property: Kong reads those in Lua, and every so
/// often a worker dies of it.
fn kong_request_id() -> Option<Vec<u8>> {
    if KIND.get() == Some(Kind::Other) {
        return None;
    }
    let id = hostcalls::get_property(vec!["ngx", "kong_request_id"]).ok().flatten();
    if KIND.get().is_none() {
        KIND.set(Some(if id.is_some() { Kind::Kong } else { Kind::Other }));
    }
    id
}

/// The host's clock. On Kong it advances in steps of about 1 ms, between callbacks only.
pub(crate) fn now() -> UnixTime {
    let ms = hostcalls::get_current_time()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|since| u64::try_from(since.as_millis()).ok());
    // A host without a clock: at the end of time every token has expired.
    UnixTime::from_millis(ms.unwrap_or(u64::MAX))
}

/// The head of the request in on_http_request_headers; `None` if the host does not tell it.
pub(crate) fn request_head() -> Option<Head> {
    let mut head = Head::default();
    let mut forwarded_id = None;
    let pairs = headers::pairs(MapType::HttpRequestHeaders)?;
    for (name, value) in pairs.iter() {
        match name {
            b":method" => head.method = String::from_utf8_lossy(value).into_owned(),
            b":path" => {
                let path = value.split(|byte| *byte == b'?').next().unwrap_or_default();
                head.path = String::from_utf8_lossy(path).into_owned();
            }
            _ if name.starts_with(b":") => {}
            _ => {
                if name == b"x-request-id" {
                    forwarded_id = Some(value.to_vec());
                }
                head.headers.push((name.to_vec(), value.to_vec()));
            }
        }
    }
    // Kong's id is its own; on Envoy the connection manager replaces what a client sent.
    let kong_id = kong_request_id();
    let id = if KIND.get() == Some(Kind::Kong) { kong_id } else { forwarded_id };
    head.request_id = String::from_utf8(id?).ok().filter(|id| !id.is_empty())?;
    Some(head)
}

/// Sets a request header. The core sends visible ASCII only.
pub(crate) fn set_request_header(header: &SetHeader) -> Result<(), Status> {
    hostcalls::set_map_value_bytes(
        MapType::HttpRequestHeaders,
        header.name,
        Some(header.value.as_bytes()),
    )
}

/// Makes `call`, to be answered in on_http_call_response. Returns the call's token.
pub(crate) fn dispatch(call: &HttpCall) -> Result<u32, Status> {
    hostcalls::dispatch_http_call(
        &call.address,
        vec![
            (":method", "GET"),
            (":scheme", if call.tls { "https" } else { "http" }),
            (":authority", &call.authority),
            (":path", &call.path),
            ("accept", "application/json"),
        ],
        None,
        vec![],
        call.timeout,
    )
}

/// How the call ended whose answer has `header_count` headers and `body_size` bytes.
///
/// Kong tells in `:dispatch_status`: a call that timed out can carry `:status` 200 and a cut
/// body. On Envoy there is no such header, and a failed call has no headers at all.
pub(crate) fn call_outcome(header_count: usize, body_size: usize) -> HttpOutcome {
    let failed = |reason: &[u8]| HttpOutcome::Failure(reason.escape_ascii().to_string());
    if header_count == 0 && KIND.get() != Some(Kind::Kong) {
        return failed(b"no answer");
    }
    match call_header(":dispatch_status") {
        Some(status) if status != b"ok" => return failed(&status),
        _ => {}
    }
    let status = call_header(":status")
        .and_then(|value| String::from_utf8(value).ok())
        .and_then(|value| value.parse().ok());
    let Some(status) = status else { return failed(b"no status") };
    let body = hostcalls::get_buffer(BufferType::HttpCallResponseBody, 0, body_size);
    HttpOutcome::Answer { status, body: body.ok().flatten().unwrap_or_default() }
}

fn call_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name).ok().flatten()
}
