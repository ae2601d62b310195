//! That every route of a declarative file is behind the gate. Kong serves a route without the
//! plugin to everybody, so such a file must not get that far.

use serde_json::Value;

/// The gate's plugin.
pub const GATE: &str = "kombi_gate";

/// What takes the rest of a request's headers off on the second pass.
const TAKES_HEADERS_OFF: &str = "pre-function";

/// How the condition of a route of the second pass begins, before and after its port.
const SECOND_PASS: (&str, &str) =
    ("net.dst.port == ", " && http.headers.x_kombi_ai_provider == \"");

/// Some route would be open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("it is no YAML of the kind that Kong reads: {0}")]
    Yaml(String),
    /// A route is where nobody looks at its service.
    #[error("routes: expected every route below its service, found some at the top")]
    Unattached,
    /// A route has no policy.
    #[error("route {route}: expected {expected}")]
    Route {
        /// Its name.
        route: String,
        /// What it needs.
        expected: &'static str,
    },
}

/// An error unless each route of `rendered` has exactly one policy that says who may enter, or can
/// be reached by the gate's own second pass only.
pub fn check(rendered: &str) -> Result<(), PolicyError> {
    let file: Value =
        serde_yaml_ng::from_str(rendered).map_err(|error| PolicyError::Yaml(error.to_string()))?;
    if list(&file, "routes").next().is_some() {
        return Err(PolicyError::Unattached);
    }
    for service in list(&file, "services") {
        for route in list(service, "routes") {
            check_route(service, route).map_err(|expected| {
                let name = route.get("name").and_then(Value::as_str);
                PolicyError::Route { route: name.unwrap_or("without a name").to_owned(), expected }
            })?;
        }
    }
    Ok(())
}

fn check_route(service: &Value, route: &Value) -> Result<(), &'static str> {
    let plugins = || list(service, "plugins").chain(list(route, "plugins")).filter(|p| is_on(p));
    let is = |plugin: &Value, name: &str| plugin.get("name").is_some_and(|found| found == name);
    let gates: Vec<&Value> = plugins().filter(|plugin| is(plugin, GATE)).collect();
    match gates.as_slice() {
        [gate] => {
            let access = gate.get("config").and_then(|config| config.get("access"));
            match access.and_then(Value::as_str) {
                Some("public" | "authenticated") => Ok(()),
                _ => Err("its kombi_gate to say config.access: public or authenticated"),
            }
        }
        [] if is_second_pass(route) => {
            let guarded = plugins().any(|plugin| is(plugin, TAKES_HEADERS_OFF));
            guarded.then_some(()).ok_or("pre-function, as on every route of the second pass")
        }
        [] => Err("the plugin kombi_gate, also where everybody may enter"),
        _ => Err("kombi_gate once, on the route or on its service"),
    }
}

fn is_second_pass(route: &Value) -> bool {
    route.get("expression").and_then(Value::as_str).and_then(second_pass).is_some()
}

/// The port of the second pass's own listener, if `expression` lets in nobody but whom the gate
/// sends there.
pub fn second_pass(expression: &str) -> Option<u16> {
    let (port, rest) = expression.strip_prefix(SECOND_PASS.0)?.split_once(SECOND_PASS.1)?;
    let provider = rest.strip_suffix('"')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    port.parse().ok().filter(|_| provider.bytes().all(plain))
}

fn is_on(plugin: &Value) -> bool {
    plugin.get("enabled").is_none_or(|enabled| enabled == true)
}

fn list<'a>(of: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    of.get(field).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "{name: kombi_gate, config: {access: public}}";
    const SECOND: &str = "net.dst.port == 8020 && http.headers.x_kombi_ai_provider == \"openai\"";

    /// What is thought of a route with these plugins on its service, on itself, and more about it.
    fn verdict(service: &str, route: &str, more: &str) -> Result<(), PolicyError> {
        check(&format!(
            "services: [{{name: s, plugins: [{service}], routes: [{{name: r, {more} plugins: [{route}]}}]}}]"
        ))
    }

    #[test]
    fn a_route_with_one_policy_that_says_who_may_enter_is_good() {
        let second = format!("expression: '{SECOND}',");
        for (service, route, more) in [
            ("", PUBLIC, ""),
            (PUBLIC, "", ""),
            ("{name: ip-restriction}", "{name: kombi_gate, config: {access: authenticated}}", ""),
            ("{name: pre-function}", "", &*second),
        ] {
            assert_eq!(verdict(service, route, more), Ok(()), "{service} {route}");
        }
        assert_eq!(check("services: []"), Ok(()));
    }

    #[test]
    fn a_route_that_would_be_open_is_named() {
        let second = format!("expression: '{SECOND}',");
        let wide = format!("expression: '{SECOND} || true',");
        for (service, route, more, told) in [
            ("", "", "", "the plugin kombi_gate"),
            ("", "{name: jwt}", "", "the plugin kombi_gate"),
            ("", "{name: kombi_gate, enabled: false, config: {access: public}}", "", "the plugin"),
            (PUBLIC, PUBLIC, "", "once"),
            ("", "{name: kombi_gate, config: {}}", "", "config.access"),
            ("", "{name: kombi_gate}", "", "config.access"),
            ("", "{name: kombi_gate, config: {access: everybody}}", "", "config.access"),
            ("", "", &second, "pre-function"),
            ("{name: pre-function}", "", &wide, "the plugin kombi_gate"),
            (
                "{name: pre-function}",
                "",
                "expression: 'http.path == \"/\"',",
                "the plugin kombi_gate",
            ),
        ] {
            let error = verdict(service, route, more).unwrap_err().to_string();
            assert!(error.starts_with("route r: expected ") && error.contains(told), "{error}");
        }
        assert_eq!(check("routes: [{name: r}]"), Err(PolicyError::Unattached));
        assert!(matches!(check("a: ["), Err(PolicyError::Yaml(_))));
    }
}
