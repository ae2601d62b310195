//! Whom Envoy talks to.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result};
use reqwest::Url;
use serde_json::{Value, json};

use super::{fallback::SECOND_PASS, ms, type_url};
use crate::routes::Declaration;

/// One cluster for each service, and one for each address that the filter calls: on Envoy a
/// dispatch names a cluster, on Kong an address, so these clusters are named like addresses.
pub(super) fn clusters(declaration: &Declaration, trusted: &Path) -> Result<Vec<Value>> {
    let mut clusters = BTreeMap::new();
    for service in &declaration.services {
        let made = cluster(&service.name, &service.url, service.connect_timeout, trusted)?;
        clusters.insert(service.name.clone(), made);
    }
    for plugin in declaration.routes().flat_map(|(_, route)| &route.plugins) {
        let mut called = Vec::new();
        for issuer in plugin.config["issuers"].as_array().into_iter().flatten() {
            let url = issuer["issuer"].as_str().context("expected issuers[].issuer to be text")?;
            called.push(url);
        }
        called.extend(plugin.config["exchange"]["url"].as_str());
        for url in called {
            let name = cluster_of(url)?;
            clusters.insert(name.clone(), cluster(&name, url, 2_000, trusted)?);
        }
    }
    if let Some(port) = declaration.second_pass()? {
        let url = format!("http://127.0.0.1:{port}");
        let mut second_pass = cluster(SECOND_PASS, &url, 2_000, trusted)?;
        // However many calls a provider fails at once, each is tried at the next.
        second_pass["circuit_breakers"] = json!({"thresholds": [{"max_retries": 1_000_000}]});
        clusters.insert(SECOND_PASS.to_owned(), second_pass);
    }
    Ok(clusters.into_values().collect())
}

/// The name of the cluster for what is called at `url`.
pub(crate) fn cluster_of(url: &str) -> Result<String> {
    let (host, port) = endpoint(url)?;
    Ok(format!("{host}:{port}"))
}

fn cluster(name: &str, url: &str, connect_timeout_ms: u64, trusted: &Path) -> Result<Value> {
    let (host, port) = endpoint(url)?;
    let mut cluster = json!({
        "name": name,
        "type": "STRICT_DNS",
        // Kong's order, too.
        "dns_lookup_family": "V4_PREFERRED",
        "connect_timeout": ms(connect_timeout_ms),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(&host, port)}}]}],
        },
    });
    if url.starts_with("grpc:") {
        let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        cluster["typed_extension_protocol_options"] = json!({options: {
            "@type": format!("type.googleapis.com/{options}"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }});
    }
    if url.starts_with("https:") {
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": type_url("transport_sockets.tls.v3.UpstreamTlsContext"),
                "sni": host,
                "common_tls_context": {"validation_context": {
                    "trusted_ca": {"filename": trusted},
                    "match_typed_subject_alt_names": [
                        {"san_type": "DNS", "matcher": {"exact": host}},
                    ],
                }},
            },
        });
    }
    Ok(cluster)
}

fn endpoint(url: &str) -> Result<(String, u16)> {
    let parsed: Url = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    let host = parsed.host_str().with_context(|| format!("{url:?} has no host"))?.to_owned();
    let port = parsed.port_or_known_default().with_context(|| format!("{url:?} has no port"))?;
    Ok((host, port))
}

pub(super) fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}
