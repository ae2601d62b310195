//! Translates the routes into Envoy's bootstrap, so that they are described once.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use self::{
    clusters::{address, clusters},
    filters::HttpFilters,
    routes::routes,
};
use crate::{
    artifacts,
    host::Setup,
    routes::{Declaration, Service},
};

pub(crate) mod clusters;
mod fallback;
mod filters;
mod kongs_own;
mod routes;
mod second_pass;

pub use filters::NativeFilter;

/// The certificates of the authorities that the machine trusts.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// The bootstrap that does what `declaration` and `setup` say, with plugins from the folder `wasm`.
pub fn bootstrap(declaration: &Declaration, setup: &Setup<'_>, wasm: &Path) -> Result<Value> {
    let Setup { native, ports, trusted, .. } = *setup;
    let filters = HttpFilters::of(declaration, native)?;
    let mut http_filters = filters.all(wasm);
    // Only the second pass tells how long an upstream took, so that the gate can tell a
    // provider's answers from the gateway's.
    http_filters.push(router(true));
    let manager = json!({
        "@type": type_url("filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        // The client's own x-request-id must not become the gateway's.
        "use_remote_address": true,
        // As Kong tells it its clients, in X-Kong-Request-Id.
        "always_set_request_id_in_response": true,
        "xff_num_trusted_hops": u32::from(setup.proxied),
        "normalize_path": true,
        "merge_slashes": true,
        "stream_idle_timeout": "300s",
        "route_config": {
            "name": "kong",
            "virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": routes(declaration, &filters)?,
            }],
        },
        "http_filters": http_filters,
    });
    let mut listeners = vec![listener("proxy", ports.proxy, manager)];
    if let Some(port) = declaration.second_pass()? {
        listeners.push(listener("fallback", ports.fallback, fallback::manager()));
        listeners.push(listener("second-pass", port, second_pass::manager(declaration)?));
    }
    Ok(json!({
        "admin": {"address": address("127.0.0.1", ports.status)},
        "stats_config": {"stats_tags": labels()?},
        "static_resources": {
            "listeners": listeners,
            "clusters": clusters(declaration, trusted.unwrap_or(Path::new(AUTHORITIES)))?,
        },
    }))
}

/// Largest body that is held, in bytes: more than what the gate takes, so that it is the gate
/// that refuses.
const HELD_BYTES: u32 = 11 * 1024 * 1024;

fn listener(name: &str, port: u16, manager: Value) -> Value {
    json!({
        "name": name,
        "address": address("127.0.0.1", port),
        "per_connection_buffer_limit_bytes": HELD_BYTES,
        "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }]}],
    })
}

/// Envoy's last filter, with or without headers of Envoy's own.
fn router(plain: bool) -> Value {
    json!({
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": type_url("filters.http.router.v3.Router"),
            "suppress_envoy_headers": plain,
        },
    })
}

/// Envoy's filter that runs `script`.
fn lua(script: &str) -> Value {
    json!({
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": type_url("filters.http.lua.v3.Lua"),
            "default_source_code": {"inline_string": script},
        },
    })
}

/// How Envoy finds the labels in the names of the filter's metrics: as Kong does.
fn labels() -> Result<Vec<Value>> {
    let meta = artifacts::meta()?;
    let patterns = meta["metrics"]["label_patterns"].as_array().cloned().unwrap_or_default();
    let tag = |label: &Value| json!({"tag_name": label["label"], "regex": label["pattern"]});
    Ok(patterns.iter().map(tag).collect())
}

/// How requests go to `service`.
fn action(service: &Service) -> Value {
    json!({
        "cluster": service.name,
        // A stream may last; only silence ends it.
        "timeout": "0s",
        "idle_timeout": ms(service.read_timeout),
        "retry_policy": {"retry_on": "connect-failure", "num_retries": service.retries},
    })
}

fn ms(ms: u64) -> String {
    format!("{}.{:03}s", ms / 1000, ms % 1000)
}

pub(crate) fn type_url(name: &str) -> String {
    format!("type.googleapis.com/envoy.extensions.{name}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Ports;

    const MANAGER: &str = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config";
    const ROUTES: &str = "route_config/virtual_hosts/0/routes";

    const FILE: &str = r#"
_format_version: "3.0"
services:
  - name: s
    url: http://127.0.0.1:9000
    routes:
      - {name: a, paths: [/a], strip_path: false, plugins: [{name: kombi_gate, config: {access: public}}]}
      - {name: ab, paths: [/ab], strip_path: false, methods: [GET, POST],
         plugins: [{name: kombi_gate, config: {issuers: [{issuer: "https://id.example/x"}],
                                                exchange: {url: "http://127.0.0.1:9100"}}}]}
      - {name: re, paths: ["~/ab/[0-9]+$"], strip_path: false,
         plugins: [{name: kombi_gate, config: {access: public}}]}
      - {name: own, hosts: [a.example], paths: [/], strip_path: false,
         plugins: [{name: kombi_gate, config: {access: public}}]}
"#;

    #[test]
    fn kongs_own_plugins_come_first_and_others_are_an_error() {
        let with = |plugins: &str| {
            let file = format!(
                "_format_version: '3.0'\nservices: [{{name: s, url: 'http://a:1', routes: \
                 [{{name: r, paths: [/a], strip_path: false, plugins: [{plugins}]}}]}}]"
            );
            let declaration = Declaration::parse(&file).unwrap();
            HttpFilters::of(&declaration, &[]).map(|filters| filters.all(Path::new("/filters")))
        };
        let restricted = "{name: ip-restriction, config: {allow: [192.0.2.0/24, '::1']}}";
        let sized = "{name: request-size-limiting, config: {allowed_payload_size: 2, size_unit: kilobytes}}";
        let gate = "{name: kombi_gate, config: {access: public}}";
        let filters = with(&format!("{gate}, {restricted}, {sized}")).unwrap();
        let addresses = "/typed_config/rules/policies/addresses/principals";
        assert_eq!(
            filters[0].pointer(addresses).unwrap(),
            &json!([{"remote_ip": {"address_prefix": "192.0.2.0", "prefix_len": 24}},
                    {"remote_ip": {"address_prefix": "::1", "prefix_len": 128}}])
        );
        assert_eq!(filters[1]["typed_config"]["max_request_bytes"], 2048);
        assert_eq!(filters[2]["name"], "kombi_gate.0");
        for unknown in
            ["{name: jwt, config: {}}", "{name: ip-restriction, config: {deny: ['::1']}}"]
        {
            assert!(with(unknown).is_err(), "{unknown}");
        }
    }

    fn translated() -> Value {
        translated_with(FILE, &[])
    }

    fn translated_with(file: &str, native: &[NativeFilter]) -> Value {
        let declaration = Declaration::parse(file).unwrap();
        let setup = Setup {
            routes: file,
            native,
            workers: 1,
            http2: false,
            ports: Ports { proxy: 1, status: 2, waiting_room: 3, fallback: 4, second_pass: 5 },
            trusted: None,
            proxied: false,
        };
        bootstrap(&declaration, &setup, Path::new("/filters")).unwrap()
    }

    #[test]
    fn routes_are_tried_in_kongs_order() {
        let bootstrap = translated();
        let routes = bootstrap.pointer(&format!("{MANAGER}/{ROUTES}")).unwrap().as_array().unwrap();
        let names: Vec<_> = routes.iter().map(|route| route["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["own", "ab", "re", "a"]);
        let header = |route: &Value, n: usize| {
            route["match"]["headers"][n]["string_match"]["safe_regex"]["regex"].clone()
        };
        assert_eq!(header(&routes[0], 0), r"(?i)(a\.example)(:[0-9]+)?");
        assert_eq!(header(&routes[1], 0), "GET|POST");
        assert_eq!(routes[2]["match"]["safe_regex"]["regex"], "/ab/[0-9]+");
    }

    #[test]
    fn every_policy_is_one_filter_and_whoever_is_called_one_cluster() {
        let bootstrap = translated();
        let filters = bootstrap.pointer(&format!("{MANAGER}/http_filters")).unwrap();
        assert_eq!(filters.as_array().unwrap().len(), 3, "two policies and the router");
        let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
        let names: Vec<_> = clusters.iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["127.0.0.1:9100", "id.example:443", "s"]);
        assert!(clusters[1]["transport_socket"].is_object());
    }

    #[test]
    fn a_grpc_service_is_reached_over_http_2_and_its_routes_take_nothing_else() {
        let file = "_format_version: '3.0'\nservices: [{name: s, url: 'grpc://a:1', routes: \
                    [{name: r, protocols: [grpc], paths: [/p.S/M], strip_path: false}]}]";
        let bootstrap = translated_with(file, &[]);
        let routes = bootstrap.pointer(&format!("{MANAGER}/{ROUTES}")).unwrap();
        assert_eq!(routes[0]["match"], json!({"prefix": "/p.S/M", "grpc": {}}));
        let cluster = &bootstrap["static_resources"]["clusters"][0];
        assert!(cluster["typed_extension_protocol_options"].is_object(), "{cluster}");
        let other = &translated()["static_resources"]["clusters"][1];
        assert!(other["typed_extension_protocol_options"].is_null(), "{other}");
    }

    #[test]
    fn a_filter_of_envoys_own_is_on_where_it_is_wanted_only() {
        let native =
            NativeFilter { name: "own", config: json!({"@type": "t"}), routes: &["plain"] };
        let file = "_format_version: '3.0'\nservices: [{name: s, url: 'http://a:1', routes: \
                    [{name: plain, paths: [/a], strip_path: false}, \
                    {name: other, paths: [/bcd], strip_path: false}]}]";
        let bootstrap = translated_with(file, &[native]);
        let filters = bootstrap.pointer(&format!("{MANAGER}/http_filters")).unwrap();
        assert_eq!(filters[0]["name"], "own");
        assert_eq!(filters[0]["disabled"], true);
        let routes = bootstrap.pointer(&format!("{MANAGER}/{ROUTES}")).unwrap();
        assert_eq!(routes[0]["typed_per_filter_config"], json!({}), "the longer path");
        assert!(routes[1]["typed_per_filter_config"]["own"].is_object());
    }
}
