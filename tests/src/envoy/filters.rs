//! What Envoy runs on its routes: filters that are off until a route turns them on.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::{kongs_own, type_url};
use crate::routes::{Declaration, Plugin, Route, Service};

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
    /// Filters in place of Kong's own plugins: a request passes them first, as on Kong.
    kongs: BTreeMap<Key<'a>, (String, Value)>,
    /// By plugin and configuration: each distinct pair is a Wasm filter of its own.
    wasm: BTreeMap<Key<'a>, String>,
    native: &'a [NativeFilter],
}

/// A plugin and its configuration.
type Key<'a> = (&'a str, String);

impl<'a> HttpFilters<'a> {
    pub(super) fn of(declaration: &'a Declaration, native: &'a [NativeFilter]) -> Result<Self> {
        let mut filters = Self { kongs: BTreeMap::new(), wasm: BTreeMap::new(), native };
        for (service, route) in declaration.routes() {
            for plugin in plugins(service, route) {
                if kongs_own::answers_itself(plugin) {
                    continue;
                }
                match kongs_own::filter(plugin)? {
                    Some(config) => {
                        let next = format!("{}.{}", plugin.name, filters.kongs.len());
                        filters.kongs.entry(key(plugin)).or_insert((next, config));
                    }
                    None => {
                        let next = format!("{}.{}", plugin.name, filters.wasm.len());
                        filters.wasm.entry(key(plugin)).or_insert(next);
                    }
                }
            }
        }
        Ok(filters)
    }

    /// The filters in the order in which a request passes them, with the modules of `folder`.
    pub(super) fn all(&self, folder: &Path) -> Vec<Value> {
        let off = |name: &str, config: &Value| json!({"name": name, "disabled": true, "typed_config": config});
        let kongs = self.kongs.values().map(|(name, config)| off(name, config));
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
            off(name, &config)
        });
        let native = self.native.iter().map(|filter| off(filter.name, &filter.config));
        kongs.chain(wasm).chain(native).collect()
    }

    /// The `typed_per_filter_config` of a route.
    pub(super) fn turned_on_by(&self, service: &Service, route: &Route) -> Map<String, Value> {
        let named = |plugin: &Plugin| {
            let kongs = self.kongs.get(&key(plugin)).map(|(name, _)| name);
            kongs.or_else(|| self.wasm.get(&key(plugin))).cloned()
        };
        let plugins = plugins(service, route).filter_map(named);
        let native = self
            .native
            .iter()
            .filter(|filter| filter.routes.contains(&route.name.as_str()))
            .map(|filter| filter.name.to_owned());
        let on = json!({
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "config": {},
        });
        plugins.chain(native).map(|name| (name, on.clone())).collect()
    }
}

/// What runs on a route of the first pass. On the second Envoy needs none of it.
fn plugins<'a>(service: &'a Service, route: &'a Route) -> impl Iterator<Item = &'a Plugin> {
    let first = route.expression.is_none();
    service.plugins.iter().chain(&route.plugins).filter(move |_| first)
}

fn key(plugin: &Plugin) -> Key<'_> {
    (&plugin.name, plugin.config.to_string())
}
