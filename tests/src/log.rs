//! What the filter said in its host's log.

use anyhow::{Context, Result};
use serde_json::{Deserializer, Value};

/// Begins what the filter said on Kong, and what Kong says of the filter; its context follows.
const ON_KONG: &str = "[\"kombi_gate\" #";

/// The same on Envoy; the names of root context and VM follow.
const ON_ENVOY: &str = " wasm log kombi_gate.";

/// The filter's lines in `log`, in their order. An error if one is no whole JSON object.
pub fn lines(log: &str) -> Result<Vec<Value>> {
    log.lines().filter_map(said).map(object).collect()
}

/// What the filter said in this line, if it is one of the filter's, and what the host put behind
/// it. The host's own remarks about the filter are no objects.
fn said(line: &str) -> Option<&str> {
    let on_kong = line.split_once(ON_KONG).and_then(|(_, rest)| rest.split_once("] "));
    let on_envoy = || line.split_once(ON_ENVOY).and_then(|(_, rest)| rest.split_once(": "));
    let (_, said) = on_kong.or_else(on_envoy)?;
    said.starts_with('{').then_some(said)
}

/// The object that `said` begins with.
fn object(said: &str) -> Result<Value> {
    let mut values = Deserializer::from_str(said).into_iter::<Value>();
    let first = values.next().and_then(Result::ok).filter(Value::is_object);
    first.with_context(|| format!("the filter's line is no JSON object: {said:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_lines_are_found_on_both_hosts_among_the_others() {
        let log = concat!(
            r#"2026/11/24 20:00:00 [warn] 7#0: *1 [proxy-wasm]["kombi_gate" #2] {"event":"a b"} "#,
            "while handling, client: 127.0.0.1, request: \"GET / HTTP/1.1\"\n",
            r#"2026/11/24 20:00:00 [error] 7#0: *1 [proxy-wasm]["kombi_gate" #2] dispatch failed"#,
            "\n2026/11/24 20:00:00 [notice] 7#0: ready\n",
            r#"[2026-11-24 20:00:00.000][7][warning][wasm] [source/context.cc:1] "#,
            r#"wasm log kombi_gate.1 kombi_gate.1 kombi_gate: {"event":"c: d"}"#,
        );
        let lines = lines(log).unwrap();
        let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, ["a b", "c: d"]);
    }

    #[test]
    fn a_line_that_was_cut_is_an_error() {
        assert!(lines(r#"[proxy-wasm]["kombi_gate" #2] {"event":"refu"#).is_err());
        assert!(lines(r#" wasm log kombi_gate.1 kombi_gate.1 kombi_gate: {"a":1"#).is_err());
    }
}
