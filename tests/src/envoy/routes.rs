//! Which requests go where.

use std::cmp::Reverse;

use anyhow::Result;
use serde_json::{Value, json};

use super::{action, filters::HttpFilters, kongs_own};
use crate::routes::{Declaration, Route, Service};

/// The routes in the order in which Kong looks at them: those that demand more before those that
/// demand less, then those for a host, regular expressions, and the longer prefix before the shorter.
pub(super) fn routes(declaration: &Declaration, filters: &HttpFilters) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    for (service, route) in declaration.routes() {
        let demands = [route.methods.is_empty(), route.hosts.is_empty()];
        let demands = demands.iter().filter(|unsaid| !**unsaid).count();
        for path in &route.paths {
            let (regex, length) = (path.starts_with('~'), path.len());
            let rank = (demands, !route.hosts.is_empty(), regex, if regex { 0 } else { length });
            rows.push((Reverse(rank), translate(service, route, path, filters)?));
        }
    }
    rows.sort_by_key(|(rank, _)| *rank);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn translate(service: &Service, route: &Route, path: &str, filters: &HttpFilters) -> Result<Value> {
    let mut matched = match path.strip_prefix('~') {
        // Kong's expressions are open at the end, Envoy's match the whole path.
        Some(regex) => json!({"safe_regex": {"regex": match regex.strip_suffix('$') {
            Some(whole) => whole.to_owned(),
            None => format!("{regex}.*"),
        }}}),
        None => json!({"prefix": path}),
    };
    let header = |name: &str, regex: String| json!({"name": name, "string_match": {"safe_regex": {"regex": regex}}});
    let mut headers = Vec::new();
    if !route.methods.is_empty() {
        headers.push(header(":method", route.methods.join("|")));
    }
    if !route.hosts.is_empty() {
        let hosts: Vec<_> = route.hosts.iter().map(|host| host.replace('.', "\\.")).collect();
        headers.push(header(":authority", format!("(?i)({})(:[0-9]+)?", hosts.join("|"))));
    }
    if !headers.is_empty() {
        matched["headers"] = headers.into();
    }
    if route.speaks_grpc() {
        matched["grpc"] = json!({});
    }
    let mut translated = json!({
        "name": route.name,
        "match": matched,
        "typed_per_filter_config": filters.turned_on_by(service, route),
    });
    if let Some(answer) = kongs_own::answer(route)? {
        translated["direct_response"] = answer;
        return Ok(translated);
    }
    let mut action = action(service);
    if route.strip_path {
        action["regex_rewrite"] =
            json!({"pattern": {"regex": format!("^{path}")}, "substitution": ""});
    }
    translated["route"] = action;
    Ok(translated)
}
