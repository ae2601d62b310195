//! Waiting, for which the hosts have no call.
//!
//! On Envoy any context can be resumed from the tick, which can be fast. On Kong only the answer
//! to a request's own call wakes it. So it calls a server that takes a moment to answer
//! (`kong/loopback.conf`). Letting a call time out instead would do as a clock, but after
//! several of those Kong cannot send a refusal any more, and dies when the client leaves.

use std::time::Duration;

use proxy_wasm::{hostcalls, types::Status};

/// How often to tick where waiting requests are resumed from the tick.
pub(crate) const FAST_TICK: Duration = Duration::from_millis(50);

/// Longest time for the server to answer.
const LONGEST: Duration = Duration::from_secs(1);

/// Begins a pause on Kong; it ends in on_http_call_response.
pub(super) fn begin_on_kong(address: &str) -> Result<u32, Status> {
    hostcalls::dispatch_http_call(
        address,
        vec![(":method", "GET"), (":scheme", "http"), (":authority", address), (":path", "/")],
        None,
        vec![],
        LONGEST,
    )
}
