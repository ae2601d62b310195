//! Translates the routes into Envoy's bootstrap, so that they are described once.

use std::{cmp::Reverse, collections::BTreeMap, path::Path};

use anyhow::{Context, Result, bail};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    artifacts::FILTER,
    host::Ports,
    routes::{Declaration, Route, Service},
};

/// The bootstrap that does what `declaration` says, with the filter in the file `wasm`.
pub fn bootstrap(declaration: &Declaration, wasm: &Path, ports: Ports) -> Result<Value> {
    let policies = Policies::of(declaration)?;
    let mut http_filters = policies.filters(wasm);
    http_filters.push(json!({
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": type_url("filters.http.router.v3.Router")},
    }));
    let manager = json!({
        "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        // The client's own x-request-id must not become the gateway's.
        "use_remote_address": true,
        "normalize_path": true,
        "merge_slashes": true,
        "stream_idle_timeout": "300s",
        "route_config": {
            "name": "kong",
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": routes(declaration, &policies)?,
            }],
        },
        "http_filters": http_filters,
    });
    Ok(json!({
        "admin": {"address": address("127.0.0.1", ports.status)},
        "static_resources": {
            "listeners": [{
                "name": "proxy",
                "address": address("127.0.0.1", ports.proxy),
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": manager,
                }]}],
            }],
            "clusters": clusters(declaration, &policies)?,
        },
    }))
}

/// The distinct configurations of the filter, each a Wasm filter of its own that is off until a
/// route turns it on.
struct Policies(BTreeMap<String, Value>);

impl Policies {
    fn of(declaration: &Declaration) -> Result<Self> {
        let mut policies = BTreeMap::new();
        for (_, route) in declaration.routes() {
            let config = policy(route)?;
            let next = format!("{FILTER}.{}", policies.len());
            policies.entry(config.to_string()).or_insert((next, config.clone()));
        }
        Ok(Self(policies.into_values().collect()))
    }

    fn name_of(&self, route: &Route) -> Result<&str> {
        let config = policy(route)?;
        self.0
            .iter()
            .find(|(_, known)| *known == config)
            .map(|(name, _)| name.as_str())
            .context("a route's policy was not collected")
    }

    fn filters(&self, wasm: &Path) -> Vec<Value> {
        let filter = |(name, config): (&String, &Value)| {
            json!({
                "name": name,
                "disabled": true,
                "typed_config": {
                    "@type": type_url("filters.http.wasm.v3.Wasm"),
                    "config": {
                        "name": name,
                        "root_id": name,
                        "vm_config": {
                            // One VM a worker for all routes, as on Kong.
                            "vm_id": FILTER,
                            "runtime": "envoy.wasm.runtime.v8",
                            "code": {"local": {"filename": wasm}},
                        },
                        "configuration": {
                            "@type": "type.googleapis.com/google.protobuf.StringValue",
                            "value": config.to_string(),
                        },
                    },
                },
            })
        };
        self.0.iter().map(filter).collect()
    }
}

/// What the filter is told on this route.
fn policy(route: &Route) -> Result<&Value> {
    match route.plugins.as_slice() {
        [plugin] if plugin.name == FILTER => Ok(&plugin.config),
        _ => bail!("route {}: expected {FILTER} and no other plugin", route.name),
    }
}

/// The routes in the order in which Kong looks at them: regular expressions first, then the
/// longer prefix before the shorter.
fn routes(declaration: &Declaration, policies: &Policies) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (service, route) in declaration.routes() {
        for path in &route.paths {
            let rank = match path.strip_prefix('~') {
                Some(_) => (0, Reverse(0)),
                None => (1, Reverse(path.len())),
            };
            rows.push((rank, translate(service, route, path, policies)?));
        }
    }
    rows.sort_by_key(|(rank, _)| *rank);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn translate(service: &Service, route: &Route, path: &str, policies: &Policies) -> Result<Value> {
    let mut matched = match path.strip_prefix('~') {
        // Kong's expressions are open at the end, Envoy's match the whole path.
        Some(regex) => json!({"safe_regex": {"regex": match regex.strip_suffix('$') {
            Some(whole) => whole.to_owned(),
            None => format!("{regex}.*"),
        }}}),
        None => json!({"prefix": path}),
    };
    if !route.methods.is_empty() {
        matched["headers"] = json!([{
            "name": ":method",
            "string_match": {"safe_regex": {"regex": route.methods.join("|")}},
        }]);
    }
    Ok(json!({
        "name": route.name,
        "match": matched,
        "route": {
            "cluster": service.name,
            // A stream may last; only silence ends it.
            "timeout": "0s",
            "idle_timeout": ms(service.read_timeout),
            "retry_policy": {"retry_on": "connect-failure", "num_retries": service.retries},
        },
        "typed_per_filter_config": {policies.name_of(route)?: {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "config": {},
        }},
    }))
}

/// One cluster for each service, and one for each address that the filter calls: on Envoy a
/// dispatch names a cluster, on Kong an address, so these clusters are named like addresses.
fn clusters(declaration: &Declaration, policies: &Policies) -> Result<Vec<Value>> {
    let mut clusters = BTreeMap::new();
    for service in &declaration.services {
        let made = cluster(&service.name, &service.url, service.connect_timeout)?;
        clusters.insert(service.name.clone(), made);
    }
    for config in policies.0.values() {
        for issuer in config["issuers"].as_array().into_iter().flatten() {
            let url = issuer["issuer"].as_str().context("expected issuers[].issuer to be text")?;
            let (host, port) = endpoint(url)?;
            let name = format!("{host}:{port}");
            clusters.insert(name.clone(), cluster(&name, url, 2_000)?);
        }
    }
    Ok(clusters.into_values().collect())
}

fn cluster(name: &str, url: &str, connect_timeout_ms: u64) -> Result<Value> {
    let (host, port) = endpoint(url)?;
    let mut cluster = json!({
        "name": name,
        "type": "STRICT_DNS",
        "connect_timeout": ms(connect_timeout_ms),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(&host, port)}}]}],
        },
    });
    if url.starts_with("https:") {
        cluster["transport_socket"] = json!({
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": type_url("transport_sockets.tls.v3.UpstreamTlsContext"),
                "sni": host,
                "common_tls_context": {"validation_context": {
                    "trusted_ca": {"filename": "/etc/ssl/certs/ca-certificates.crt"},
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

fn address(host: &str, port: u16) -> Value {
    json!({"socket_address": {"address": host, "port_value": port}})
}

fn ms(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}

fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
_format_version: "3.0"
services:
  - name: s
    url: http://127.0.0.1:9000
    routes:
      - {name: a, paths: [/a], strip_path: false, plugins: [{name: kombi_gate, config: {access: public}}]}
      - {name: ab, paths: [/ab], strip_path: false, methods: [GET, POST],
         plugins: [{name: kombi_gate, config: {issuers: [{issuer: "https://id.example/x"}]}}]}
      - {name: re, paths: ["~/ab/[0-9]+$"], strip_path: false,
         plugins: [{name: kombi_gate, config: {access: public}}]}
"#;

    fn translated() -> Value {
        let declaration = Declaration::parse(FILE).unwrap();
        bootstrap(&declaration, Path::new("/f.wasm"), Ports { proxy: 1, status: 2 }).unwrap()
    }

    #[test]
    fn routes_are_tried_in_kongs_order() {
        let bootstrap = translated();
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let routes = bootstrap
            .pointer(&format!("{manager}/route_config/virtual_hosts/0/routes"))
            .unwrap()
            .as_array()
            .unwrap();
        let names: Vec<_> = routes.iter().map(|route| route["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["re", "ab", "a"]);
        assert_eq!(routes[0]["match"]["safe_regex"]["regex"], "/ab/[0-9]+");
        assert_eq!(
            routes[1]["match"]["headers"][0]["string_match"]["safe_regex"]["regex"],
            "GET|POST"
        );
    }

    #[test]
    fn every_policy_is_one_filter_and_every_issuer_one_cluster() {
        let bootstrap = translated();
        let manager = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
        let filters = bootstrap.pointer(&format!("{manager}/http_filters")).unwrap();
        assert_eq!(filters.as_array().unwrap().len(), 3, "two policies and the router");
        let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
        let names: Vec<_> = clusters.iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["id.example:443", "s"]);
        assert!(clusters[0]["transport_socket"].is_object());
    }
}
