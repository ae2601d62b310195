//! Dashboards and alerts ask for metrics that there are; each alert fires on what it is for, and
//! somebody has written down what to do then.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::string_slice, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use kombi_exchange::{
    metrics::{Metrics as Exchange, Room},
    time::UnixTime,
};
use kombi_spec::code::Code;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{Value, json};
use stack::{
    ai::Accounting,
    answer::{self, Answer},
    artifacts,
    host::HostKind,
    metrics::Metrics,
    routes,
    stack::{HOMELAB, Options, Stack},
};

/// Where the sources of metrics are: what a label's value is, stands there.
const SOURCES: [&str; 4] = ["plugin/src", "plugin/core/src", "spec/src", "exchange/src"];

/// How the gate's metrics are called on Kong.
const GATE: &str = "pw_kombi_gate_";

/// Labels that Prometheus adds by itself.
const OF_PROMETHEUS: [&str; 2] = ["job", "instance"];

fn main() {
    let arguments = Arguments::from_args();
    let promtool = Command::new("promtool").arg("--version").output().is_ok();
    if !promtool {
        eprintln!("SKIPPED: promtool's own word needs it: `apt-get install prometheus`.");
    }
    let with_promtool = |name: &str, arguments: &'static [&'static str]| {
        let trial = Trial::test(name, move || outcome(promtool_agrees(arguments)));
        trial.with_ignored_flag(!promtool)
    };
    let trials = vec![
        Trial::test("every_metric_and_label_that_is_asked_for_is_there", || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            outcome(runtime.block_on(everything_asked_for_is_there()))
        }),
        Trial::test("each_alert_has_a_section_that_says_what_to_do_and_cases_both_ways", || {
            outcome(each_alert_is_explained())
        }),
        Trial::test("expressions_are_read_as_they_are_written", || outcome(expressions_are_read())),
        Trial::test("prometheus_takes_what_dashboards_ask_for", || outcome(dashboards_ask_well()))
            .with_ignored_flag(!promtool),
        with_promtool("prometheus_takes_the_rules", &["check", "rules", "alerts.yml"]),
        with_promtool("prometheus_takes_the_configuration", &["check", "config", "prometheus.yml"]),
        with_promtool(
            "each_alert_fires_on_what_it_is_for_and_not_on_its_opposite",
            &["test", "rules", "alerts.test.yml"],
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn outcome(test: Result<()>) -> Result<(), Failed> {
    test.map_err(|error| Failed::from(format!("{error:#}")))
}

fn folder() -> PathBuf {
    artifacts::source().join("kong/observability")
}

fn promtool_agrees(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder().join("prometheus"));
    let output = command.output()?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    Ok(())
}

/// Whether promtool takes every expression, as the rule of a file of its own.
fn dashboards_ask_well() -> Result<()> {
    let rules: Vec<Value> = asked()?
        .into_iter()
        .enumerate()
        .map(|(n, asked)| json!({"record": format!("asked:{n}"), "expr": asked.expression}))
        .collect();
    let run = stack::run_dir::RunDir::new()?;
    let groups = json!({"groups": [{"name": "asked", "rules": rules}]});
    let file = run.write("asked.yml", groups.to_string())?;
    artifacts::output(Command::new("promtool").args(["check", "rules"]).arg(file)).map(drop)
}

/// The alerts, as they are written.
fn alerts() -> Result<Vec<Value>> {
    let text = fs::read_to_string(folder().join("prometheus/alerts.yml"))?;
    let file: Value = serde_yaml_ng::from_str(&text)?;
    let groups = file["groups"].as_array().context("groups")?;
    Ok(groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect())
}

fn each_alert_is_explained() -> Result<()> {
    let guide = fs::read_to_string(artifacts::source().join("kong/guides/alerts.md"))?;
    let sections: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let cases: Value =
        serde_yaml_ng::from_str(&fs::read_to_string(folder().join("prometheus/alerts.test.yml"))?)?;
    let cases: Vec<&str> = cases["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| case["name"].as_str().unwrap())
        .collect();
    let mut names = Vec::new();
    for alert in alerts()? {
        let name = alert["alert"].as_str().context("an alert has a name")?.to_owned();
        let link = format!("kong/guides/alerts.md#{}", name.to_lowercase());
        ensure!(alert["annotations"]["runbook_url"] == link, "{name}: expected {link}");
        ensure!(alert["annotations"]["summary"].is_string(), "{name}: no summary");
        let severity = alert["labels"]["severity"].as_str();
        ensure!(matches!(severity, Some("critical" | "warning")), "{name}: {severity:?}");
        for way in ["fires", "does not fire"] {
            let case = format!("{name} {way}");
            ensure!(cases.contains(&&*case), "alerts.test.yml has no case «{case}»");
        }
        let section = guide.split(&format!("## {name}\n")).nth(1);
        let section = section.with_context(|| format!("alerts.md has no section {name}"))?;
        let section = section.split("\n## ").next().unwrap();
        ensure!(section.contains(alert["annotations"]["summary"].as_str().unwrap()), "{name}");
        ensure!(section.lines().count() > 3, "{name}: the section says nothing");
        names.push(name);
    }
    ensure!(sections == names, "sections {sections:?} and alerts {names:?} differ");
    Ok(())
}

/// Something that is asked for, and where.
struct Asked {
    place: String,
    expression: String,
}

fn asked() -> Result<Vec<Asked>> {
    let mut asked = Vec::new();
    for alert in alerts()? {
        let place = format!("alert {}", alert["alert"]);
        asked.push(Asked { place, expression: alert["expr"].as_str().unwrap().to_owned() });
    }
    let mut uids = BTreeSet::new();
    for entry in fs::read_dir(folder().join("grafana/dashboards"))? {
        let path = entry?.path();
        let dashboard: Value = serde_json::from_slice(&fs::read(&path)?)?;
        let uid = dashboard["uid"].as_str().context("a dashboard has a uid")?.to_owned();
        ensure!(path.file_stem().unwrap().to_str() == Some(&uid), "{}", path.display());
        let mut ids = BTreeSet::new();
        for panel in dashboard["panels"].as_array().context("panels")? {
            ensure!(ids.insert(panel["id"].as_u64()), "{uid}: two panels {}", panel["id"]);
            for target in panel["targets"].as_array().context("targets")? {
                let place = format!("{uid}: {}", panel["title"]);
                let expression = target["expr"].as_str().unwrap();
                let expression = expression.replace("$__rate_interval", "5m");
                asked.push(Asked { place, expression });
            }
        }
        uids.insert(uid);
    }
    let all = ["ai", "health", "limits", "logins", "traffic"].map(str::to_owned);
    ensure!(uids == all.into(), "{uids:?}");
    Ok(asked)
}

/// What an expression selects and groups by, as far as that can be told without its meaning; that
/// it is one, promtool says.
#[derive(Debug, Default, PartialEq)]
struct Selected {
    selectors: Vec<Selector>,
    groups: Vec<String>,
}

#[derive(Debug, PartialEq)]
struct Selector {
    name: String,
    /// Labels, and the values that are asked for.
    matchers: Vec<(String, String)>,
}

impl Selected {
    fn by(expression: &str) -> Self {
        let mut selected = Self::default();
        let mut rest = expression;
        while let Some(first) = rest.chars().next() {
            if first.is_ascii_digit() {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '.');
            } else if first == '[' {
                rest = rest.split_once(']').unwrap().1;
            } else if first.is_ascii_alphabetic() || first == '_' {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                rest = selected.word(word, after.trim_start());
            } else {
                rest = &rest[first.len_utf8()..];
            }
        }
        selected
    }

    /// Takes `word`, and from what comes after it what belongs to it.
    fn word<'a>(&mut self, word: &str, after: &'a str) -> &'a str {
        match word {
            "by" | "without" | "on" | "ignoring" | "group_left" | "group_right" => {
                let (labels, after) = after[1..].split_once(')').unwrap();
                let labels = labels.split(',').map(|label| label.trim().to_owned());
                self.groups.extend(labels.filter(|label| !label.is_empty()));
                after
            }
            "and" | "or" | "unless" | "bool" | "offset" => after,
            _ if ["(", "by ", "by(", "without "].iter().any(|next| after.starts_with(next)) => {
                after
            }
            name => {
                let braces = after.strip_prefix('{').map(|inside| inside.split_once('}').unwrap());
                let (inside, after) = braces.unwrap_or(("", after));
                // A label, what compares, and a value in quotes.
                let quoted: Vec<&str> = inside.split('"').collect();
                let matchers = quoted.chunks_exact(2).map(|pair| {
                    let label = pair[0].trim_matches([',', ' ', '=', '!', '~']);
                    (label.to_owned(), pair[1].to_owned())
                });
                let matchers = matchers.collect();
                self.selectors.push(Selector { name: name.to_owned(), matchers });
                after
            }
        }
    }
}

fn expressions_are_read() -> Result<()> {
    let selected = Selected::by(
        r#"histogram_quantile(0.95, sum by (le, x) (rate(a_b{c="d",e!~"f|g"}[5m]))) > 1.5 or on() h{}"#,
    );
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    let first =
        Selector { name: "a_b".to_owned(), matchers: vec![pair("c", "d"), pair("e", "f|g")] };
    let second = Selector { name: "h".to_owned(), matchers: Vec::new() };
    let groups = vec!["le".to_owned(), "x".to_owned()];
    ensure!(selected == Selected { selectors: vec![first, second], groups }, "{selected:?}");
    Ok(())
}

/// Names of metrics, each with the labels that it has.
type Known = BTreeMap<String, BTreeSet<String>>;

async fn everything_asked_for_is_there() -> Result<()> {
    let (known, kind) = known().await?;
    let literals = literals()?;
    let jobs = fs::read_to_string(folder().join("prometheus/prometheus.yml"))?;
    for Asked { place, expression } in asked()? {
        let selected = Selected::by(&expression);
        ensure!(!selected.selectors.is_empty(), "{place}: {expression} asks for nothing");
        let mut labels = BTreeSet::from(["le".to_owned()]);
        for selector in &selected.selectors {
            let name = selector.name.as_str();
            let of_kong = name.starts_with("kong_");
            if of_kong && kind == HostKind::Envoy {
                continue;
            }
            let there = known.get(name).with_context(|| format!("{place}: there is no {name}"))?;
            labels.extend(there.iter().cloned());
            for (label, value) in &selector.matchers {
                if label == "job" {
                    let job = format!("job_name: {value}");
                    ensure!(jobs.contains(&job), "{place}: prometheus.yml has no {job}");
                    continue;
                }
                ensure!(there.contains(label), "{place}: {name} has no label {label}: {there:?}");
                for value in value.split('|').filter(|value| !value.contains(['.', '*'])) {
                    let is_code =
                        || value == "ok" || Code::ALL.iter().any(|code| code.as_str() == value);
                    let right = if label == "code" { is_code() } else { literals.contains(value) };
                    ensure!(right, "{place}: {name} has no {label}=\"{value}\"");
                }
            }
        }
        for group in selected.groups {
            ensure!(labels.contains(&group), "{place}: nothing has the label {group}");
        }
    }
    Ok(())
}

/// What the running gateway and exchange show, and what they would show if something happened
/// that does not happen here.
async fn known() -> Result<(Known, HostKind)> {
    let mut known = Known::new();
    known.insert("up".to_owned(), OF_PROMETHEUS.map(str::to_owned).into());
    let options = Options {
        instances: &[HOMELAB],
        ai: Some(Accounting::Ledger),
        amend: Some(amend),
        ..Options::default()
    };
    let mut stack = Stack::start(options).await?;
    let kind = stack.gateway.kind();
    let ada = stack.issuer.token("ada").await?;
    stack.wait_for_models(&ada).await?;
    ensure!(stack.log_in(&ada, HOMELAB.id).await?.status == 200);
    for path in ["/user", "/admin", "/public", "/limited", "/shadow"] {
        stack.get_as(&ada, path).await?;
    }
    let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]});
    let call = stack.post("/ai/v1/chat/completions").bearer_auth(&ada).json(&body);
    ensure!(Answer::to(call).await?.status == 200);
    // What is published with the tick, and the histogram, which Envoy merges now and then.
    let shown = Metrics::when(&stack.gateway, |metrics| {
        ["ai_calls_total", "ai_settlements_total", "limit_decisions_total", "keys_age_seconds"]
            .iter()
            .all(|name| metrics.all(name).next().is_some())
            && metrics.sum("added_microseconds_count") > 0.0
    })
    .await?;
    for (name, labels) in shown.series() {
        add(&mut known, &format!("{GATE}{}", name.trim_end_matches("_bucket")), labels);
    }
    // What needs a fault, or another deployment: its name and labels stand in the sources.
    let source = artifacts::source();
    let meter = fs::read_to_string(source.join("plugin/src/meter.rs"))?;
    let patterns: Value =
        serde_json::from_slice(&fs::read(source.join("spec/kombi_gate.metrics.json"))?)?;
    let patterns: Vec<&str> = patterns["label_patterns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["label"].as_str().unwrap())
        .collect();
    for (name, labels) in [
        ("would_refuse_total", &["route", "code"][..]),
        ("limit_troubles_total", &["trouble"]),
        ("lease_reports_total", &["result"]),
        ("introspections_total", &["result"]),
        ("keys_served_stale_total", &[]),
    ] {
        ensure!(meter.contains(&format!("\"{name}\"")), "the gate has no {name}");
        for label in labels {
            ensure!(meter.contains(&format!("\"{label}\"")), "the gate has no label {label}");
        }
        add(&mut known, &format!("{GATE}{name}"), labels.iter().map(|label| (*label).to_owned()));
    }
    for name in known.keys().filter(|name| name.starts_with(GATE)) {
        for label in known[name]
            .iter()
            .filter(|label| *label != "le" && !OF_PROMETHEUS.contains(&label.as_str()))
        {
            let label = label.as_str();
            ensure!(patterns.contains(&label), "{name}: Kong would not tell {label}");
        }
    }
    if kind == HostKind::Kong {
        let text = text(&stack.gateway.metrics_url()).await?;
        for (name, labels) in Metrics::parse(&text, "kong_")?.series() {
            add(&mut known, &format!("kong_{name}"), labels);
        }
    }
    let running = text(&format!("{}/metrics", stack.exchange()?.ops_url())).await?;
    for text in [running, every_metric_of_the_exchange()] {
        for prefix in ["kombi_exchange_", "process_"] {
            for (name, labels) in Metrics::parse(&text, prefix)?.series() {
                add(&mut known, &format!("{prefix}{name}"), labels);
            }
        }
    }
    Ok((known, kind))
}

fn add(known: &mut Known, name: &str, labels: impl IntoIterator<Item = String>) {
    let labels = labels.into_iter().chain(OF_PROMETHEUS.map(str::to_owned));
    known.entry(name.to_owned()).or_default().extend(labels);
}

async fn text(url: &str) -> Result<String> {
    let answer = Answer::to(answer::client()?.get(url)).await?;
    if answer.status != 200 {
        bail!("{url} answers {}", answer.status);
    }
    Ok(String::from_utf8(answer.body)?)
}

/// A route like `/user` with a limit, and one like `/admin` in shadow mode.
fn amend(declaration: &mut Value) {
    let mut limited = routes::like(routes::named(declaration, "user").unwrap(), "limited");
    limited["plugins"][0]["config"]["limits"] =
        json!([{"name": "firm", "key": "sub", "amount": 9, "per": "day"}]);
    let mut shadow = routes::like(routes::named(declaration, "admin").unwrap(), "shadow");
    shadow["plugins"][0]["config"]["shadow"] = json!(true);
    declaration["services"][0]["routes"].as_array_mut().unwrap().extend([limited, shadow]);
}

/// The exchange's metrics once everything has happened that it counts.
fn every_metric_of_the_exchange() -> String {
    let metrics = Exchange::new();
    metrics.request("sso_session", "ok", Duration::from_millis(1));
    metrics.connector_call("entered", Duration::from_millis(1));
    metrics.introspection("active", "issuer");
    metrics.introspection_call("active", Duration::from_millis(1));
    metrics.lease_report("ok");
    metrics.settlement("provider", "accepted");
    metrics.cost("openai", "EUR", 1);
    metrics.reaped(1);
    metrics.flags_pushed("applied");
    metrics.backed_up(UnixTime::from_secs(1));
    metrics.room(Room::default());
    metrics.render()
}

/// Every string in the sources of metrics.
fn literals() -> Result<BTreeSet<String>> {
    let mut literals = BTreeSet::new();
    for folder in SOURCES {
        collect(&artifacts::source().join(folder), &mut literals)?;
    }
    Ok(literals)
}

fn collect(folder: &Path, literals: &mut BTreeSet<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, literals)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)?;
            literals.extend(text.split('"').map(str::to_owned));
        }
    }
    Ok(())
}
