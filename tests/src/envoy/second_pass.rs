//! The gateway's second pass on Envoy: a listener of its own, whose routes are chosen by the
//! header that the gate set.

use anyhow::{Context, Result};
use kombi_spec::header::{self, AI_TRIES};
use reqwest::Url;
use serde_json::{Value, json};

use super::{action, lua, router, type_url};
use crate::routes::Declaration;

/// What OpenAI's clients are told where there is no provider's answer.
const UNREACHED: &str = r#"{"error":{"message":"the provider of the model could not be reached","type":"server_error","param":null,"code":null}}"#;

/// What runs on that listener.
pub(super) fn manager(declaration: &Declaration) -> Result<Value> {
    let mut removed = vec![
        header::AI_HIDES_USAGE,
        "x-envoy-attempt-count",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
    ];
    for (index, names) in AI_TRIES.iter().enumerate() {
        removed.extend([names.provider, names.edits]);
        // The first one is the provider's own.
        removed.extend((index > 0).then_some(names.authorization));
    }
    let mut routes = Vec::new();
    for (service, route) in declaration.routes() {
        let Some(second_pass) = &route.expression else { continue };
        let url: Url = service.url.parse().with_context(|| format!("{}: no URL", service.name))?;
        let mut action = action(service);
        action["auto_host_rewrite"] = json!(true);
        action["prefix_rewrite"] = json!(format!("{}/", url.path().trim_end_matches('/')));
        routes.push(json!({
            "name": route.name,
            "match": {
                "prefix": "/",
                "headers": [{
                    "name": second_pass.header,
                    "string_match": {"exact": second_pass.value},
                }],
            },
            "route": action,
            "request_headers_to_remove": removed,
            "response_headers_to_remove": [header::AI_UNREACHED],
        }));
    }
    Ok(json!({
        "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "second_pass",
        "codec_type": "AUTO",
        "use_remote_address": true,
        "skip_xff_append": true,
        "generate_request_id": false,
        "stream_idle_timeout": "0s",
        "route_config": {
            "name": "second-pass",
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
        },
        "http_filters": [lua(include_str!("second_pass.lua")), router(false)],
        // Where no provider was reached, as the pre-function in `kong/kong.yml` has it.
        "local_reply_config": {"body_format": {
            "text_format_source": {"inline_string": UNREACHED},
            "content_type": "application/json",
        }},
    }))
}
