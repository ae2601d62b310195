//! The routes as the rendered declarative file has them, as far as the doctor needs them.

use std::rc::Rc;

use kombi_gate_core::gate::Gate;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Line, sample};
use crate::kong::policies::{GATE, second_pass};

/// What answers in place of a route's service.
const TERMINATION: &str = "request-termination";

/// What of a route's configuration is about other things than its callers' tokens.
const NOT_ABOUT_TOKENS: [&str; 5] = ["ai", "assertion", "limits", "limit_headers", "shadow"];

/// The routes.
pub struct Declaration {
    /// All of them.
    pub(super) routes: Vec<Route>,
}

/// A route.
pub(super) struct Route {
    pub(super) name: String,
    pub(super) guard: Guard,
    /// Whether Kong answers everybody itself, before the gate.
    pub(super) closed: bool,
    /// How to ask for it; `None` if that cannot be told.
    pub(super) request: Option<Request>,
}

/// A request that the route takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) host: Option<String>,
    pub(super) path: String,
}

/// Who lets requests pass.
pub(super) enum Guard {
    /// The gate, configured so.
    Gate(Map<String, Value>),
    /// Nobody has to: the route is on a listener of its own, on this port.
    SecondPass(u16),
    /// Nobody.
    Nobody,
}

/// The file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// It is not YAML of the shape that Kong reads.
    #[error("{0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    /// It is the template, or was rendered without a variable.
    #[error("it is not rendered: there is a placeholder in it")]
    Template,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    services: Vec<RawService>,
}

#[derive(Deserialize)]
struct RawService {
    #[serde(default)]
    routes: Vec<RawRoute>,
    #[serde(default)]
    plugins: Vec<RawPlugin>,
}

#[derive(Deserialize)]
struct RawRoute {
    #[serde(default)]
    name: String,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    methods: Vec<String>,
    #[serde(default)]
    protocols: Vec<String>,
    #[serde(default)]
    expression: Option<String>,
    #[serde(default)]
    plugins: Vec<RawPlugin>,
}

#[derive(Deserialize)]
struct RawPlugin {
    name: String,
    #[serde(default = "yes")]
    enabled: bool,
    #[serde(default)]
    config: Value,
}

/// Kong's default for what is on.
const fn yes() -> bool {
    true
}

impl Declaration {
    /// Reads a rendered file.
    pub fn parse(rendered: &str) -> Result<Self, Unreadable> {
        if rendered.contains("${{") {
            return Err(Unreadable::Template);
        }
        let mut value: serde_yaml_ng::Value = serde_yaml_ng::from_str(rendered)?;
        value.apply_merge()?;
        let file: File = serde_yaml_ng::from_value(value)?;
        let routes = file.services.into_iter().flat_map(|service| {
            let RawService { routes, plugins } = service;
            let shared = Rc::new(plugins);
            routes.into_iter().map(move |route| route.read(&shared))
        });
        Ok(Self { routes: routes.collect() })
    }

    /// One route that takes whatever `issuer` signs for `audience`.
    #[must_use]
    pub fn of_issuer(issuer: &str, audience: &str) -> Self {
        let config = json!({
            "issuers": [{
                "issuer": issuer,
                "audiences": [audience],
                "algorithms": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
                               "ES384", "ES512", "EdDSA"],
            }],
        });
        let guard = Guard::Gate(config.as_object().cloned().unwrap_or_default());
        Self { routes: vec![Route { name: "any".to_owned(), guard, closed: false, request: None }] }
    }

    /// Whether every route has a policy that can be used.
    pub(super) fn check(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for route in &self.routes {
            let look = format!("route {}", route.name);
            match &route.guard {
                Guard::SecondPass(_) => {}
                Guard::Nobody => lines.push(Line::fail(
                    "routes",
                    look,
                    "no policy: everybody passes",
                    format!("add the plugin {GATE} to it, with access: public if that is meant"),
                )),
                Guard::Gate(config) => {
                    if let Some(error) = Gate::new(&bytes(config)).unusable() {
                        let mend = "mend the field; until then the gate refuses every request";
                        lines.push(Line::fail("routes", look, error.to_string(), mend));
                    }
                }
            }
        }
        if self.routes.is_empty() {
            let mend = "name the rendered declarative file: a Kong without routes serves nobody";
            lines.push(Line::fail("routes", "policies", "there are no routes", mend));
        } else if lines.is_empty() {
            let found = format!("{} routes, each with a policy", self.routes.len());
            lines.push(Line::ok("routes", "policies", found));
        }
        lines
    }

    /// Where the second pass listens.
    pub(super) fn second_pass(&self) -> Option<u16> {
        self.routes.iter().find_map(|route| match route.guard {
            Guard::SecondPass(port) => Some(port),
            _ => None,
        })
    }
}

impl Route {
    /// The gate that looks at tokens as this route's does, and at nothing else; `None` where the
    /// route needs none.
    pub(super) fn gate(&self) -> Option<Rc<Gate>> {
        let Guard::Gate(config) = &self.guard else { return None };
        if self.is_public() {
            return None;
        }
        let mut config = config.clone();
        for other in NOT_ABOUT_TOKENS {
            config.remove(other);
        }
        Some(Rc::new(Gate::new(&bytes(&config))))
    }

    /// Whether everybody passes.
    pub(super) fn is_public(&self) -> bool {
        matches!(&self.guard, Guard::Gate(config) if config.get("access") == Some(&json!("public")))
    }

    /// Whether whom it would refuse passes all the same.
    pub(super) fn is_shadow(&self) -> bool {
        matches!(&self.guard, Guard::Gate(config) if config.get("shadow") == Some(&json!(true)))
    }
}

impl RawRoute {
    fn read(self, shared: &[RawPlugin]) -> Route {
        let called = |name: &str| {
            let mut plugins = self.plugins.iter().chain(shared);
            plugins.find(|plugin| plugin.enabled && plugin.name == name)
        };
        let (gate, closed) = (called(GATE), called(TERMINATION).is_some());
        let second_pass = self.expression.as_deref().and_then(second_pass);
        let guard = match (gate, second_pass) {
            (Some(gate), _) => Guard::Gate(gate.config.as_object().cloned().unwrap_or_default()),
            (None, Some(port)) => Guard::SecondPass(port),
            (None, None) => Guard::Nobody,
        };
        Route { request: self.request(), name: self.name, guard, closed }
    }

    fn request(&self) -> Option<Request> {
        let speaks_http = |name: &String| name == "http" || name == "https";
        if self.expression.is_some()
            || !(self.protocols.is_empty() || self.protocols.iter().any(speaks_http))
        {
            return None;
        }
        let path = self.paths.first().map_or_else(|| Some("/".to_owned()), |p| sample::path(p))?;
        Some(Request {
            method: self.methods.first().map_or("GET", String::as_str).to_owned(),
            host: self.hosts.first().map(|host| host.replace('*', "doctor")),
            path,
        })
    }
}

fn bytes(config: &Map<String, Value>) -> Vec<u8> {
    // What was read as JSON always serialises.
    serde_json::to_vec(config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
_format_version: "3.0"
x-issuers: &issuers [{issuer: "https://id.example", audiences: ["1"], algorithms: [RS256]}]
services:
  - name: a
    plugins: [{name: kombi_gate, config: {name: by-service, issuers: *issuers}}]
    routes:
      - {name: by-service, paths: ["/a"], methods: [PUT], hosts: ["*.lab.example"]}
      - {name: grpc, protocols: [grpc], paths: ["/g"]}
  - name: b
    routes:
      - {name: open, paths: ["/b"]}
      - {name: pass, expression: 'net.dst.port == 8020 && http.headers.x_kombi_ai_provider == "b"'}
      - {name: off, paths: ["/o"], plugins: [{name: kombi_gate, enabled: false, config: {}}]}
      - name: wrong
        paths: ["/w"]
        plugins: [{name: kombi_gate, config: {issuers: *issuers, clock_skew_s: 999}}]
      - {name: wide, expression: 'net.dst.port == 8020 || true'}
"#;

    #[test]
    fn a_route_without_a_policy_or_with_one_that_cannot_be_used_is_found() {
        let declaration = Declaration::parse(FILE).unwrap();
        let lines = declaration.check();
        let told: Vec<_> = lines.iter().map(|line| (&*line.look, &*line.found)).collect();
        assert_eq!(
            told,
            [
                ("route open", "no policy: everybody passes"),
                ("route off", "no policy: everybody passes"),
                ("route wrong", "clock_skew_s: expected at most 300"),
                ("route wide", "no policy: everybody passes"),
            ]
        );
        assert_eq!(declaration.second_pass(), Some(8020));
    }

    #[test]
    fn a_route_is_asked_for_as_it_is_declared() {
        let routes = Declaration::parse(FILE).unwrap().routes;
        let request = Request {
            method: "PUT".to_owned(),
            host: Some("doctor.lab.example".to_owned()),
            path: "/a".to_owned(),
        };
        assert_eq!(routes[0].request, Some(request));
        // What speaks gRPC only, and what is on another listener, cannot be asked.
        assert_eq!(routes[1].request, None);
        assert_eq!(routes[3].request, None);
    }

    #[test]
    fn what_is_not_rendered_is_refused() {
        let text = "services: [{url: '${{ env \"DECK_X\" }}'}]";
        assert!(matches!(Declaration::parse(text), Err(Unreadable::Template)));
        assert!(matches!(Declaration::parse("services: 1"), Err(Unreadable::Yaml(_))));
    }
}
