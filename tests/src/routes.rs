//! `kong/kong.yml`, rendered, and understood as far as the routes of `KombiSphere` need it.
//!
//! Kong reads that file itself; these types are for the translation to Envoy. They take nothing they
//! do not know: a setting that Envoy would not honour must not pass unnoticed.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::artifacts;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    #[serde(rename = "_format_version")]
    format_version: String,
    /// The upstreams.
    pub services: Vec<Service>,
    /// What runs on every route, on Kong.
    #[serde(default)]
    plugins: Vec<GlobalPlugin>,
}

/// A plugin on every route. Kong's prometheus is the one that may be: it shows the filter's metrics,
/// which Envoy does by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GlobalPlugin {
    name: String,
}

/// An upstream and the routes that lead to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Its name, unique.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// In milliseconds.
    #[serde(default = "a_minute")]
    pub connect_timeout: u64,
    /// Longest silence of the upstream, in milliseconds.
    #[serde(default = "a_minute")]
    pub read_timeout: u64,
    /// Longest wait of a write, in milliseconds; Envoy has no such limit of its own.
    #[serde(default = "a_minute")]
    pub write_timeout: u64,
    /// Further attempts to connect.
    #[serde(default = "five")]
    pub retries: u32,
    /// The routes.
    pub routes: Vec<Route>,
    /// What runs on all of them.
    #[serde(default)]
    pub plugins: Vec<Plugin>,
}

/// Kong's default for each timeout, in milliseconds.
fn a_minute() -> u64 {
    60_000
}

/// Kong's default for retries.
fn five() -> u32 {
    5
}

/// What leads to a service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, unique.
    pub name: String,
    /// The names that it is asked for by; any if there are none.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Prefixes, or regular expressions after a `~`; both from the path's start.
    #[serde(default)]
    pub paths: Vec<String>,
    /// In place of paths: which requests of the second pass it takes.
    #[serde(default)]
    pub expression: Option<SecondPass>,
    /// All if there are none.
    #[serde(default)]
    pub methods: Vec<String>,
    /// What its clients speak; HTTP if there are none.
    #[serde(default)]
    pub protocols: Vec<Protocol>,
    /// Whether the matched prefix is taken off; Kong's default.
    #[serde(default = "yes")]
    pub strip_path: bool,
    /// Whether an answer may be held until some of it is there; Kong's default. Envoy never does.
    #[serde(default = "yes")]
    pub response_buffering: bool,
    /// What runs on it.
    #[serde(default)]
    pub plugins: Vec<Plugin>,
}

/// A route of the gateway's second pass: reached on a listener of its own only, and by a header
/// that the gate sets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SecondPass {
    /// The listener's port.
    pub port: u16,
    /// The header's name.
    pub header: String,
    /// The header's value.
    pub value: String,
}

impl TryFrom<String> for SecondPass {
    type Error = anyhow::Error;

    fn try_from(expression: String) -> Result<Self> {
        let parts = || {
            let (port, header) = expression.split_once(" && ")?;
            let port = port.strip_prefix("net.dst.port == ")?.parse().ok()?;
            let (header, value) = header.strip_prefix("http.headers.")?.split_once(" == ")?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?.to_owned();
            Some(Self { port, header: header.replace('_', "-"), value })
        };
        parts().with_context(|| {
            format!(
                "expected `net.dst.port == PORT && http.headers.NAME == \"VALUE\"`, found \
                 {expression:?}"
            )
        })
    }
}

fn yes() -> bool {
    true
}

/// What the clients of a route speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP, with TLS or without.
    Http,
    /// gRPC, without TLS.
    Grpc,
    /// gRPC, with TLS.
    Grpcs,
}

impl Route {
    /// Whether gRPC is what its clients speak.
    #[must_use]
    pub fn speaks_grpc(&self) -> bool {
        self.protocols.iter().any(|protocol| matches!(protocol, Protocol::Grpc | Protocol::Grpcs))
    }
}

/// A plugin and its configuration.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The plugin's name.
    pub name: String,
    /// Its configuration.
    pub config: Value,
}

impl Declaration {
    /// Reads a rendered file.
    pub fn parse(rendered: &str) -> Result<Self> {
        let declaration: Self =
            serde_yaml_ng::from_str(rendered).context("kong/kong.yml is not understood")?;
        if declaration.format_version != "3.0" {
            bail!("expected _format_version \"3.0\", found {:?}", declaration.format_version);
        }
        if let Some(other) = declaration.plugins.iter().find(|p| p.name != "prometheus") {
            bail!("expected prometheus on all routes and no other plugin, found {}", other.name);
        }
        for (_, route) in declaration.routes() {
            if route.paths.is_empty() != route.expression.is_some() {
                bail!("route {}: expected either paths or an expression", route.name);
            }
            let whole =
                route.expression.is_some() || route.paths.iter().any(|p| p.starts_with('~'));
            if route.strip_path && whole {
                bail!("route {}: expected strip_path: false", route.name);
            }
        }
        Ok(declaration)
    }

    /// The port of the second pass, if there is one.
    pub fn second_pass(&self) -> Result<Option<u16>> {
        let mut ports =
            self.routes().filter_map(|(_, route)| Some(route.expression.as_ref()?.port));
        let first = ports.next();
        if ports.any(|port| Some(port) != first) {
            bail!("expected all routes of the second pass on one port");
        }
        Ok(first)
    }

    /// All routes with their services.
    pub fn routes(&self) -> impl Iterator<Item = (&Service, &Route)> {
        self.services.iter().flat_map(|service| service.routes.iter().map(move |r| (service, r)))
    }
}

/// The route called `name` in a rendered file that is JSON, to be changed.
#[must_use]
pub fn named<'a>(declaration: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let services = declaration["services"].as_array_mut()?.iter_mut();
    let mut routes = services.filter_map(|service| service["routes"].as_array_mut()).flatten();
    routes.find(|route| route["name"] == name)
}

/// A copy of `route` that is called `name` and has the path `/name`.
#[must_use]
pub fn like(route: &Value, name: &str) -> Value {
    let mut copy = route.clone();
    copy["name"] = name.into();
    copy["paths"] = vec![format!("/{name}")].into();
    copy["plugins"][0]["config"]["name"] = name.into();
    copy
}

/// The file as it is in the tree.
#[must_use]
pub fn template() -> PathBuf {
    artifacts::source().join("kong/kong.yml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_of_the_second_pass_demands_its_listener_and_the_gates_header() {
        let parse = |text: &str| SecondPass::try_from(text.to_owned());
        let good = r#"net.dst.port == 8020 && http.headers.x_kombi_ai_provider == "openai""#;
        let expected = SecondPass {
            port: 8020,
            header: "x-kombi-ai-provider".to_owned(),
            value: "openai".to_owned(),
        };
        assert_eq!(parse(good).unwrap(), expected);
        for bad in [
            r#"http.headers.x_kombi_ai_provider == "openai""#,
            r#"net.dst.port == 8020 || http.headers.x_kombi_ai_provider == "openai""#,
            "net.dst.port == 8020",
            "",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_setting_that_is_not_translated_is_an_error() {
        let file = "_format_version: '3.0'\nservices: [{name: s, url: 'http://a:1', tls_verify: \
                    true, routes: []}]";
        assert!(Declaration::parse(file).is_err());
        for (plugin, understood) in [("prometheus", true), ("cors", false)] {
            let file =
                format!("_format_version: '3.0'\nservices: []\nplugins: [{{name: {plugin}}}]");
            assert_eq!(Declaration::parse(&file).is_ok(), understood, "{plugin}");
        }
    }
}
