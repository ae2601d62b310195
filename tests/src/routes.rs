//! `kong/kong.yml`: filled in, and understood as far as the routes of `KombiSphere` need it.
//!
//! Kong reads the rendered file itself; these types are for the translation to Envoy. They take
//! nothing they do not know: a setting that Envoy would not honour must not pass unnoticed.

use std::{collections::BTreeMap, fs};

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
    /// Prefixes, or regular expressions after a `~`; both from the path's start.
    pub paths: Vec<String>,
    /// All if there are none.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Whether the matched prefix is taken off; Kong's default.
    #[serde(default = "yes")]
    pub strip_path: bool,
    /// What runs on it.
    #[serde(default)]
    pub plugins: Vec<Plugin>,
}

fn yes() -> bool {
    true
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
        for (_, route) in declaration.routes() {
            if route.strip_path {
                bail!("route {}: expected strip_path: false", route.name);
            }
        }
        Ok(declaration)
    }

    /// An error if a route is not behind the gate, and by the gate alone.
    pub fn require_gate(&self) -> Result<()> {
        for (_, route) in self.routes() {
            match route.plugins.as_slice() {
                [plugin] if plugin.name == artifacts::FILTER => {}
                _ => bail!(
                    "route {}: expected {} and no other plugin; every route needs a policy",
                    route.name,
                    artifacts::FILTER
                ),
            }
        }
        Ok(())
    }

    /// All routes with their services.
    pub fn routes(&self) -> impl Iterator<Item = (&Service, &Route)> {
        self.services.iter().flat_map(|service| service.routes.iter().map(move |r| (service, r)))
    }
}

/// The file as it is in the tree.
pub fn template() -> Result<String> {
    fs::read_to_string(artifacts::source().join("kong/kong.yml"))
        .context("cannot read kong/kong.yml")
}

/// Fills in the placeholders (`${{ env "NAME" }}`) of a template.
pub fn render(template: &str, values: &BTreeMap<&str, String>) -> Result<String> {
    const OPEN: &str = "${{";
    const CLOSE: &str = "}}";
    let mut rendered = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (inside, after) =
            after.split_once(CLOSE).context("kong/kong.yml: a placeholder is not closed")?;
        let name = inside
            .trim()
            .strip_prefix("env \"")
            .and_then(|name| name.strip_suffix('"'))
            .with_context(|| format!("kong/kong.yml: expected env \"NAME\", found {inside:?}"))?;
        let value = values.get(name).with_context(|| {
            format!("kong/kong.yml asks for {name}, which the stack does not set")
        })?;
        rendered.push_str(before);
        rendered.push_str(value);
        rest = after;
    }
    rendered.push_str(rest);
    Ok(rendered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> BTreeMap<&'static str, String> {
        [
            "DECK_KOMBI_BACKEND_URL",
            "DECK_KOMBI_EXCHANGE_URL",
            "DECK_KOMBI_ISSUER",
            "DECK_KOMBI_AUDIENCE",
            "DECK_KOMBI_ASSERTION_KEY",
            "DECK_KOMBI_WAIT_AT",
        ]
        .map(|name| (name, "http://127.0.0.1:1".to_owned()))
        .into()
    }

    #[test]
    fn the_shipped_file_is_understood_and_every_route_has_a_policy() {
        let rendered = render(&template().unwrap(), &values()).unwrap();
        let declaration = Declaration::parse(&rendered).unwrap();
        declaration.require_gate().unwrap();
        let names: Vec<_> = declaration.routes().map(|(_, route)| route.name.as_str()).collect();
        assert_eq!(names, ["public", "user", "admin", "sso-session"]);
    }

    #[test]
    fn a_placeholder_without_a_value_is_an_error_that_names_it() {
        let error = render("a: ${{ env \"DECK_X\" }}", &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains("DECK_X"), "{error}");
        assert!(render("a: ${{ env \"DECK_X\"", &BTreeMap::new()).is_err());
    }

    #[test]
    fn a_route_without_the_gate_is_an_error() {
        let file = "_format_version: '3.0'\nservices: [{name: s, url: 'http://a:1', routes: \
                    [{name: r, paths: [/], strip_path: false}]}]";
        let error = Declaration::parse(file).unwrap().require_gate().unwrap_err();
        assert!(error.to_string().contains("route r"), "{error}");
    }

    #[test]
    fn a_setting_that_is_not_translated_is_an_error() {
        let file = "_format_version: '3.0'\nservices: [{name: s, url: 'http://a:1', tls_verify: \
                    true, routes: []}]";
        assert!(Declaration::parse(file).is_err());
    }
}
