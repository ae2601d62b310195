//! Waiting, for which the hosts have no call.
//!
//! On Envoy any context can be resumed from the tick, which can be fast. On Kong only the answer
//! to a request's own call wakes it. So it makes a call that nobody answers: to Kong's own status
//! listener, with a form of one byte announced and none sent. The listener waits for the byte,
//! and the call ends when its time is over.

use std::time::Duration;

use proxy_wasm::{hostcalls, types::Status};

/// How often to tick where waiting requests are resumed from the tick.
pub(crate) const FAST_TICK: Duration = Duration::from_millis(50);

/// Begins a pause on Kong; it ends in on_http_call_response.
pub(super) fn begin_on_kong(status_listener: &str, pause: Duration) -> Result<u32, Status> {
    hostcalls::dispatch_http_call(
        status_listener,
        vec![
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", status_listener),
            (":path", "/status"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("content-length", "1"),
        ],
        None,
        vec![],
        pause,
    )
}
