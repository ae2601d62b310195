//! The filter's metrics as an operator's Prometheus reads them from the gateway.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    answer::{self, Answer},
    host::{Gateway, HostKind},
};

/// How long a host may take to show what it counted: Envoy merges histograms every five seconds.
const SHOWN: Duration = Duration::from_secs(30);

/// What is counted, and under which labels.
pub type Series = (String, BTreeMap<String, String>);

/// The filter's metrics at one moment. Their names are the filter's own, whatever the host puts
/// before them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(BTreeMap<Series, f64>);

impl Metrics {
    /// What `gateway` shows now.
    pub async fn of(gateway: &Gateway) -> Result<Self> {
        let answer = Answer::to(answer::client()?.get(gateway.metrics_url())).await?;
        if answer.status != 200 {
            bail!("{} answered with {}", gateway.metrics_url(), answer.status);
        }
        let prefix = match gateway.kind() {
            HostKind::Kong | HostKind::Docker => "pw_kombi_gate_",
            HostKind::Envoy => "kombi_gate_",
        };
        Self::parse(&String::from_utf8(answer.body)?, prefix)
    }

    /// What `gateway` shows as soon as `enough` holds of it.
    pub async fn when(gateway: &Gateway, enough: impl Fn(&Self) -> bool) -> Result<Self> {
        let deadline = Instant::now() + SHOWN;
        loop {
            let metrics = Self::of(gateway).await?;
            if enough(&metrics) {
                return Ok(metrics);
            }
            if Instant::now() >= deadline {
                bail!("the expected metrics are not there after {SHOWN:?}, but {metrics:#?}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// The value under exactly these labels; zero if there is none.
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        self.0.get(&(name.to_owned(), labels)).copied().unwrap_or_default()
    }

    /// Everything called `name`, by its labels.
    pub fn all(&self, name: &str) -> impl Iterator<Item = (&BTreeMap<String, String>, f64)> {
        self.0.iter().filter(move |((n, _), _)| n == name).map(|((_, l), value)| (l, *value))
    }

    /// Everything called `name`, added up.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.all(name).map(|(_, value)| value).sum()
    }

    /// Every name, with the labels that it has somewhere.
    pub fn series(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = String>)> {
        self.0.keys().map(|(name, labels)| (name.as_str(), labels.keys().cloned()))
    }

    /// The lines of `text` whose name begins with `prefix`.
    pub fn parse(text: &str, prefix: &str) -> Result<Self> {
        let mut metrics = BTreeMap::new();
        for line in text.lines() {
            let Some(line) = line.strip_prefix(prefix) else { continue };
            let unreadable = || format!("not a line of metrics: {line:?}");
            let (series, value) = line.rsplit_once(' ').with_context(unreadable)?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let mut read = BTreeMap::new();
            let mut rest = labels.strip_suffix('}').with_context(unreadable)?;
            while let Some((label, after)) = rest.split_once("=\"") {
                let (value, after) = after.split_once('"').with_context(unreadable)?;
                read.insert(label.trim_start_matches(',').to_owned(), value.to_owned());
                rest = after;
            }
            metrics.insert((name.to_owned(), read), value.parse().with_context(unreadable)?);
        }
        Ok(Self(metrics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_their_labels() {
        let text = "# TYPE gate_a counter\ngate_a{code=\"ok\",route=\"user\"} 3\ngate_a{} 1\ngate_b 2\n\
                    other_c{x=\"y\"} 4\ngate_d_bucket{route=\"a,b\",le=\"+Inf\"} 5\n";
        let metrics = Metrics::parse(text, "gate_").unwrap();
        assert_eq!(metrics.value("a", &[("route", "user"), ("code", "ok")]), 3.0);
        assert_eq!(metrics.value("a", &[("route", "user")]), 0.0);
        assert_eq!(metrics.sum("a"), 4.0);
        assert_eq!(metrics.value("b", &[]), 2.0);
        assert_eq!(metrics.value("d_bucket", &[("route", "a,b"), ("le", "+Inf")]), 5.0);
        assert_eq!(metrics.0.len(), 4);
    }

    #[test]
    fn what_is_no_metric_is_an_error() {
        for text in ["gate_a", "gate_a{x=\"y\" 1", "gate_a one", "gate_a{x=\"y} 1"] {
            assert!(Metrics::parse(text, "gate_").is_err(), "{text}");
        }
    }
}
