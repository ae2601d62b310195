//! What Envoy runs on its routes: filters that are off until a route turns them on.

use std::{collections::BTreeMap, path::Path};

use serde_json::{Map, Value, json};

use super::type_url;
use crate::routes::{Declaration, Plugin, Route};

/// A filter of Envoy's own.
#[derive(Debug, Clone)]
pub struct NativeFilter {
    /// Its name in this bootstrap, unique.
    pub name: &'static str,
    /// Its configuration, with its type.
    pub config: Value,
    /// The names of the routes that it runs on.
    pub routes: &'static [&'static str],
}

/// All filters of a bootstrap but the router.
pub(super) struct HttpFilters<'a> {
    /// By plugin and configuration: each distinct pair is a Wasm filter of its own.
    wasm: BTreeMap<(&'a str, String), String>,
    native: &'a [NativeFilter],
}

impl<'a> HttpFilters<'a> {
    pub(super) fn of(declaration: &'a Declaration, native: &'a [NativeFilter]) -> Self {
        let mut wasm = BTreeMap::new();
        for plugin in declaration.routes().flat_map(|(_, route)| &route.plugins) {
            let next = format!("{}.{}", plugin.name, wasm.len());
            wasm.entry(key(plugin)).or_insert(next);
        }
        Self { wasm, native }
    }

    /// The filters in the order in which a request passes them, with the modules of `folder`.
    pub(super) fn all(&self, folder: &Path) -> Vec<Value> {
        let wasm = self.wasm.iter().map(|((plugin, config), name)| {
            let config = json!({
                "@type": type_url("filters.http.wasm.v3.Wasm"),
                "config": {
                    // A head that waits for its body must not keep the body away.
                    "allow_on_headers_stop_iteration": true,
                    "name": name,
                    "root_id": name,
                    "vm_config": {
                        // One VM a worker for all routes, as on Kong.
                        "vm_id": plugin,
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": folder.join(format!("{plugin}.wasm"))}},
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.StringValue",
                        "value": config,
                    },
                },
            });
            json!({"name": name, "disabled": true, "typed_config": config})
        });
        let native = self.native.iter().map(
            |filter| json!({"name": filter.name, "disabled": true, "typed_config": filter.config}),
        );
        wasm.chain(native).collect()
    }

    /// The `typed_per_filter_config` of a route.
    pub(super) fn turned_on_by(&self, route: &Route) -> Map<String, Value> {
        let wasm = route.plugins.iter().filter_map(|plugin| self.wasm.get(&key(plugin)).cloned());
        let native = self
            .native
            .iter()
            .filter(|filter| filter.routes.contains(&route.name.as_str()))
            .map(|filter| filter.name.to_owned());
        let on = json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "config": {},
        });
        wasm.chain(native).map(|name| (name, on.clone())).collect()
    }
}

fn key(plugin: &Plugin) -> (&str, String) {
    (&plugin.name, plugin.config.to_string())
}
