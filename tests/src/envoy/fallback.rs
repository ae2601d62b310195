//! What is between the gateway's two passes on Envoy, as `kong/loopback.conf` on Kong: where a
//! provider fails, the call goes on to the next one that the gate has named.

use kombi_spec::header::AI_TRIES;
use serde_json::{Value, json};

use super::{lua, router, type_url};

/// The cluster that is the second pass.
pub(super) const SECOND_PASS: &str = "second-pass";

/// Statuses after which another provider is tried.
const FAILED: [u16; 5] = [429, 500, 502, 503, 504];

/// What runs on that listener.
pub(super) fn manager() -> Value {
    let mut routes: Vec<_> = AI_TRIES.iter().enumerate().map(|(more, names)| {
        json!({
            "match": {"prefix": "/", "headers": [{"name": names.provider, "present_match": true}]},
            "route": {
                "cluster": SECOND_PASS,
                "timeout": "0s",
                "retry_policy": {
                    "retry_on": "retriable-status-codes",
                    "retriable_status_codes": FAILED,
                    "num_retries": more,
                },
            },
        })
    }).collect();
    // Whoever has the last of the names has all of them.
    routes.reverse();
    json!({
        "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "fallback",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "skip_xff_append": true,
        "generate_request_id": false,
        "stream_idle_timeout": "0s",
        "route_config": {
            "name": "fallback",
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": routes,
                "include_request_attempt_count": true,
                "include_attempt_count_in_response": true,
            }],
        },
        "http_filters": [lua(include_str!("fallback.lua")), router(true)],
    })
}
