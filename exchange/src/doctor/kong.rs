//! Kong itself: its version, its settings, and whether it shows the filter's metrics.

use reqwest::Client;
use serde_json::Value;
use url::Url;

use super::{Line, Places, declaration::Declaration, get, settings};

/// The versions that the filter is made for.
const VERSIONS: &str = "3.9.";

/// Looks at as much of Kong as there is a way to.
pub(super) async fn look(client: &Client, places: &Places) -> Vec<Line> {
    let mut lines = Vec::new();
    let second_pass = places.declaration.as_ref().and_then(Declaration::second_pass);
    if let Some(url) = &places.kong_status {
        lines.extend(status(client, url).await);
    }
    if let Some(url) = &places.kong_admin {
        lines.extend(admin(client, url, second_pass).await);
    }
    if let Some(conf) = &places.kong_conf {
        lines.extend(settings::judge(&settings::read(conf), second_pass));
    }
    if lines.is_empty() {
        lines.push(Line::skipped("kong", "name --kong-status, and --kong-conf or --kong-admin"));
    }
    lines
}

async fn status(client: &Client, url: &Url) -> Vec<Line> {
    let unreachable = |reason: String| {
        let mend = "see that Kong runs and that --kong-status is its status_listen";
        vec![Line::fail("kong", "status", reason, mend)]
    };
    let ready = match get(client, url, "status/ready").await {
        Err(reason) => return unreachable(reason),
        Ok((200, _)) => Line::ok("kong", "ready", "it takes requests"),
        Ok((status, _)) => {
            let mend = "see Kong's error log: without a configuration it is never ready";
            Line::fail("kong", "ready", format!("it answers {status}"), mend)
        }
    };
    let mut lines = vec![ready];
    match get(client, url, "metrics").await {
        Err(reason) => return unreachable(reason),
        Ok((200, body)) => {
            let text = String::from_utf8_lossy(&body);
            lines.push(version(version_in_metrics(&text).unwrap_or_default()));
            let shown = text.lines().any(|line| line.starts_with("pw_kombi_gate_"));
            lines.push(if shown {
                Line::ok("kong", "metrics", "the filter's are among them")
            } else {
                let mend = "the filter counted nothing: it is not loaded, or no request came since \
                            the start; look at a protected route with --proxy";
                Line::warn("kong", "metrics", "none of the filter's", mend)
            });
        }
        Ok((status, _)) => {
            let mend = "turn the plugin prometheus on, as kong/kong.yml does";
            lines.push(Line::warn("kong", "metrics", format!("it answers {status}"), mend));
        }
    }
    lines
}

/// What `kong_node_info` says.
fn version_in_metrics(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("kong_node_info{"))?;
    line.split("version=\"").nth(1)?.split('"').next()
}

fn version(found: &str) -> Line {
    if found.starts_with(VERSIONS) {
        return Line::ok("kong", "version", found);
    }
    let found = if found.is_empty() { "it does not tell" } else { found };
    let mend = "use Kong 3.9: how other versions treat filters was not measured";
    Line::warn("kong", "version", found, mend)
}

async fn admin(client: &Client, url: &Url, second_pass: Option<u16>) -> Vec<Line> {
    let mend = "see that --kong-admin is Kong's admin_listen and can be reached from here";
    let body = match get(client, url, "").await {
        Ok((200, body)) => body,
        Ok((status, _)) => {
            return vec![Line::fail("kong", "admin API", format!("it answers {status}"), mend)];
        }
        Err(reason) => return vec![Line::fail("kong", "admin API", reason, mend)],
    };
    let root: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut lines = vec![version(root.get("version").and_then(Value::as_str).unwrap_or_default())];
    let configuration = root.get("configuration").and_then(Value::as_object);
    let settings = configuration.into_iter().flatten();
    let settings = settings.map(|(name, value)| (name.clone(), text(value))).collect();
    lines.extend(settings::judge(&settings, second_pass));
    lines
}

/// A setting as kong.conf would have it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(many) => many.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Outcome;

    #[test]
    fn another_version_is_told() {
        let metrics =
            "# TYPE kong_node_info gauge\nkong_node_info{node_id=\"a\",version=\"3.8.0\"} 1\n";
        assert_eq!(version_in_metrics(metrics), Some("3.8.0"));
        for (found, outcome) in [
            ("3.9.3", Outcome::Ok),
            ("3.8.0", Outcome::Warn),
            ("4.0.0", Outcome::Warn),
            ("", Outcome::Warn),
        ] {
            assert_eq!(version(found).outcome, outcome, "{found}");
        }
    }
}
