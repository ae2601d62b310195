//! Bodies, and what of a request leaves the platform.

use kombi_gate_core::reserved::is_reserved;
use kombi_spec::header;
use proxy_wasm::{
    hostcalls,
    types::{BufferType, MapType, Status},
};

use super::{KIND, Kind, headers};

/// More than any body: on Kong, what is written is cut to the size of what it replaces, unless
/// that is said to be larger.
const WHOLE: usize = i32::MAX as usize;

/// Whether the head of a request has to wait until its body is there.
///
/// On Envoy it must, or else the headers could not be changed then. On Kong it must not: a request
/// that pauses in its head without a call hangs, and headers can be changed all the same.
pub(crate) fn head_waits_for_body() -> bool {
    KIND.get() != Some(Kind::Kong)
}

/// The request's body, of `size` bytes, in on_http_request_body; `None` if it cannot be read:
/// on Kong, one that is larger than the buffer lies in a file.
pub(crate) fn request_body(size: usize) -> Option<Vec<u8>> {
    if size == 0 && KIND.get() != Some(Kind::Kong) {
        return Some(Vec::new());
    }
    let body = hostcalls::get_buffer(BufferType::HttpRequestBody, 0, size).ok().flatten();
    body.filter(|body| body.len() == size)
}

/// Takes what nobody but the gate may set off the request's trailers, in on_http_request_trailers,
/// which Kong has not.
pub(crate) fn strip_trailers() -> Result<(), Status> {
    let fields = headers::fields(MapType::HttpRequestTrailers).ok_or(Status::InternalFailure)?;
    for (name, _) in fields.iter().filter(|(name, _)| is_reserved(name)) {
        let name = std::str::from_utf8(name).map_err(|_| Status::InternalFailure)?;
        hostcalls::set_map_value_bytes(MapType::HttpRequestTrailers, name, None)?;
    }
    Ok(())
}

/// A chunk of the response, of `size` bytes, in on_http_response_body.
pub(crate) fn response_chunk(size: usize) -> Vec<u8> {
    hostcalls::get_buffer(BufferType::HttpResponseBody, 0, size).ok().flatten().unwrap_or_default()
}

/// Whether the body of a response can be changed.
///
/// On Kong it must not: what is replaced was made for one request, and its parts are used again for
/// others on the same connection, when they are no more. The worker dies of it some requests
/// later.
pub(crate) fn response_can_change() -> bool {
    KIND.get() != Some(Kind::Kong)
}

/// Replaces a chunk of the response, in on_http_response_body, where [`response_can_change`].
pub(crate) fn set_response_chunk(chunk: &[u8]) -> Result<(), Status> {
    hostcalls::set_buffer(BufferType::HttpResponseBody, 0, WHOLE, chunk)
}

/// The value of a response header.
pub(crate) fn response_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten()
}

/// Whether an answer on its second way through the gateway came from its provider; otherwise the
/// gateway made it, because it had none.
pub(crate) fn answer_is_from_provider() -> bool {
    response_header(header::AI_UNREACHED).is_none()
        && ["x-kong-upstream-latency", "x-envoy-upstream-service-time"]
            .into_iter()
            .any(|name| response_header(name).is_some())
}

/// Takes a header off the response, in on_http_response_headers.
pub(crate) fn remove_response_header(name: &str) {
    if response_header(name).is_some() {
        // One that stays tells more than it should, but breaks nothing.
        let _ = hostcalls::set_map_value_bytes(MapType::HttpResponseHeaders, name, None);
    }
}

/// Without it Envoy finds no route. It tells the scheme, and goes no further than the second pass.
const ENVOYS_OWN: &[&str] = &["x-forwarded-proto"];

/// Takes everything of the client's off the request but the headers `keeps` and those that the
/// gate `sets`, and the query.
///
/// On Kong a filter cannot remove a header; there the provider's service does all of this, with
/// a pre-function (`kong/kong.yml`).
pub(crate) fn strip_request(keeps: &[&str], sets: &[&str]) -> Result<(), Status> {
    if KIND.get() == Some(Kind::Kong) {
        // This one Kong adds by itself; it has the client's address.
        hostcalls::set_property(vec!["ngx", "upstream_x_forwarded_for"], Some(b""))?;
        // To itself, on a connection of its own: one that a worker retired by a reload closes just
        // now would be an error, after which Kong tells the filter nothing more of the request.
        hostcalls::set_property(vec!["ngx", "upstream_connection"], Some(b"close"))?;
        return Ok(());
    }
    let fields = headers::fields(MapType::HttpRequestHeaders).ok_or(Status::InternalFailure)?;
    for (name, value) in fields.iter() {
        if name == b":path" {
            let path = value.split(|byte| *byte == b'?').next().unwrap_or_default();
            hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, ":path", Some(path))?;
        } else if !name.starts_with(b":")
            && !keeps.iter().chain(sets).chain(ENVOYS_OWN).any(|kept| kept.as_bytes() == name)
        {
            // Envoy knows no name that is not text.
            let name = std::str::from_utf8(name).map_err(|_| Status::InternalFailure)?;
            hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, None)?;
        }
    }
    Ok(())
}
