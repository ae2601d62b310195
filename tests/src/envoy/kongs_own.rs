//! The plugins of Kong's own that routes use, as Envoy does the same.

use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::type_url;
use crate::{
    artifacts::{FILTER, NOTHING},
    routes::{Plugin, Route},
};

/// Answers in place of an upstream.
const TERMINATION: &str = "request-termination";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addresses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Size {
    allowed_payload_size: u32,
    size_unit: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Termination {
    status_code: u16,
}

/// The filter that does what `plugin` does; none for filters of ours.
pub(super) fn filter(plugin: &Plugin) -> Result<Option<Value>> {
    match plugin.name.as_str() {
        FILTER | NOTHING => Ok(None),
        "ip-restriction" => addresses(&read(plugin)?).map(Some),
        "request-size-limiting" => size(&read(plugin)?).map(Some),
        other => bail!("the plugin {other} is not translated"),
    }
}

/// Whether `plugin` answers, so that no filter does.
pub(super) fn answers_itself(plugin: &Plugin) -> bool {
    plugin.name == TERMINATION
}

/// What a route answers without an upstream, if it does.
pub(super) fn answer(route: &Route) -> Result<Option<Value>> {
    let plugin = route.plugins.iter().find(|plugin| answers_itself(plugin));
    let termination: Option<Termination> = plugin.map(read).transpose()?;
    Ok(termination.map(|termination| json!({"status": termination.status_code})))
}

fn read<T: DeserializeOwned>(plugin: &Plugin) -> Result<T> {
    serde_json::from_value(plugin.config.clone())
        .with_context(|| format!("the configuration of {} is not translated", plugin.name))
}

fn addresses(only: &Addresses) -> Result<Value> {
    let mut principals = Vec::new();
    for text in &only.allow {
        let (address, bits) =
            text.split_once('/').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().with_context(|| format!("{text:?} is no address"))?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits.map_or(Ok(all), str::parse)?;
        principals.push(json!({"remote_ip": {"address_prefix": address, "prefix_len": bits}}));
    }
    Ok(json!({
        "@type": type_url("filters.http.rbac.v3.RBAC"),
        "rules": {
            "action": "ALLOW",
            "policies": {"addresses": {"permissions": [{"any": true}], "principals": principals}},
        },
    }))
}

fn size(most: &Size) -> Result<Value> {
    ensure!(most.size_unit == "kilobytes", "expected kilobytes, found {}", most.size_unit);
    Ok(json!({
        "@type": type_url("filters.http.buffer.v3.Buffer"),
        "max_request_bytes": most.allowed_payload_size * 1024,
    }))
}
