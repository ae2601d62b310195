//! The host: hostcalls as the filter needs them, and the differences between Kong and Envoy.
//!
//! Headers are read as bytes: the SDK's readers panic at the first byte that is not UTF-8, which
//! any client can send.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use kombi_gate_core::{
    limit::address::Source,
    request::Head,
    step::{HttpCall, HttpOutcome},
    time::UnixTime,
};
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, Status},
};

mod bodies;
mod headers;
mod meter;
mod waiting;
mod zone;

pub(crate) use bodies::*;
pub(crate) use meter::Metric;
pub(crate) use waiting::FAST_TICK;
pub(crate) use zone::zone;

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
/// It also tells the hosts apart. Not a `kong.*` property: Kong reads those in Lua, on whatever
/// coroutine ran last, and takes that one's request away from it; every so often a worker dies.
fn kong_request_id() -> Option<Vec<u8>> {
    if KIND.get() == Some(Kind::Other) {
        return None;
    }
    let id = hostcalls::get_property(vec!["ngx", "kong_request_id"]).ok().flatten();
    if KIND.get().is_none() {
        let kind = if id.is_some() { Kind::Kong } else { Kind::Other };
        KIND.set(Some(kind));
        zone::explore(kind);
    }
    id
}

/// How a request that waits comes back.
pub(crate) enum Pause {
    /// In on_http_call_response.
    Call,
    /// When the tick looks after it.
    Tick,
}

/// Begins a pause of a request; at `wait_at`, where the host cannot do it by itself.
pub(crate) fn pause(wait_at: Option<&str>) -> Result<Pause, Status> {
    if tick_resumes() {
        return Ok(Pause::Tick);
    }
    let address = wait_at.ok_or(Status::BadArgument)?;
    waiting::begin_on_kong(address).map(|_| Pause::Call)
}

/// A number that nobody outside can guess.
pub(crate) fn chance() -> u64 {
    // The standard library asks the host for what it seeds a hasher with.
    RandomState::new().hash_one(())
}

/// Whether a request has found out what this host has.
pub(crate) fn is_known() -> bool {
    KIND.get().is_some()
}

/// Whether the tick resumes requests that wait.
pub(crate) fn tick_resumes() -> bool {
    KIND.get() == Some(Kind::Other)
}

/// Does `f` on behalf of the request `context_id`, from a callback of the root context
/// `root_id`. Only where the tick resumes requests.
pub(crate) fn on_behalf_of(context_id: u32, root_id: u32, f: impl FnOnce()) {
    if hostcalls::set_effective_context(context_id).is_ok() {
        f();
        let _ = hostcalls::set_effective_context(root_id);
    }
}

/// The host's clock. On Kong it advances in steps of about 1 ms, between callbacks only.
pub(crate) fn now() -> UnixTime {
    clock().now()
}

/// What the host's clock shows, as fine as it goes: to tell how long something took.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reading(Option<Duration>);

/// Reads the host's clock.
pub(crate) fn clock() -> Reading {
    let time = hostcalls::get_current_time().ok();
    Reading(time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()))
}

impl Reading {
    /// The moment. A host without a clock: at the end of time every token has expired.
    pub(crate) fn now(self) -> UnixTime {
        let ms = self.0.map(|since| {
            since.as_secs().saturating_mul(1000).saturating_add(since.subsec_millis().into())
        });
        UnixTime::from_millis(ms.unwrap_or(u64::MAX))
    }

    /// The microseconds since `earlier`; none if the clock was set back.
    pub(crate) fn micros_since(self, earlier: Self) -> u64 {
        let (Some(now), Some(earlier)) = (self.0, earlier.0) else { return 0 };
        u64::try_from(now.saturating_sub(earlier).as_micros()).unwrap_or(u64::MAX)
    }
}

/// The head of the request in on_http_request_headers; `None` if the host does not tell it.
///
/// Every header's name must be seen, to find reserved ones in any spelling. That takes the whole
/// map; with it at hand, asking for single headers as well would only cost more.
pub(crate) fn request_head() -> Option<Head> {
    let fields = headers::fields(MapType::HttpRequestHeaders)?;
    let id = kong_request_id();
    if KIND.get() == Some(Kind::Kong) {
        Head::read(fields, Some(String::from_utf8(id?).ok()?))
    } else {
        // Envoy's connection manager replaces the `X-Request-Id` that a client sent.
        Head::read(fields, None)
    }
}

/// Where the request comes from, as the host sees it through the proxies that it trusts.
pub(crate) fn source() -> Option<Source> {
    let told = hostcalls::get_property(vec!["source", "address"]).ok().flatten();
    told.and_then(|told| Source::read(&told))
}

/// Sets a response header, in on_http_response_headers.
pub(crate) fn set_response_header(name: &str, value: &str) {
    // A client that is not told how its budgets stand is served all the same.
    let _ =
        hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, Some(value.as_bytes()));
}

/// Sets a request header. The core sends visible ASCII only.
pub(crate) fn set_request_header(name: &str, value: &str) -> Result<(), Status> {
    hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value.as_bytes()))
}

/// Sets a request header of a request that [`strip_request`] has gone over; where the value is
/// empty, the client's must not go with it.
pub(crate) fn set_or_blank_request_header(name: &str, value: &str) -> Result<(), Status> {
    if value.is_empty() && KIND.get() != Some(Kind::Kong) {
        return Ok(());
    }
    set_request_header(name, value)
}

/// Makes `call`, to be answered in on_http_call_response. Returns the call's token.
pub(crate) fn dispatch(call: &HttpCall) -> Result<u32, Status> {
    let mut headers = vec![
        (":method", call.method.as_str()),
        (":scheme", if call.tls { "https" } else { "http" }),
        (":authority", &call.authority),
        (":path", &call.path),
        ("accept", "application/json"),
    ];
    headers.extend(call.headers.iter().map(|(name, value)| (*name, value.as_str())));
    let body = (!call.body.is_empty()).then_some(call.body.as_slice());
    hostcalls::dispatch_http_call(&call.address, headers, body, vec![], call.timeout)
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
    let body = body.ok().flatten().unwrap_or_default();
    HttpOutcome::Answer { status, cache_control: call_header("cache-control"), body }
}

fn call_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpCallResponseHeaders, name).ok().flatten()
}
