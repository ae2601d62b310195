//! What was measured, as a table for people and as JSON for machines.

use std::{fmt, thread, time::Duration};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::{
    Settings,
    case::PLAIN,
    chart::{Bar, Chart},
    compare::{Cost, PROMISES, Promise},
    verdict::Verdict,
};
use crate::{host::HostKind, statistics::quantile};

/// One case in one round, or its medians over all rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Figures {
    /// CPU time of the gateway for one request, in microseconds.
    pub(super) cpu_us: f64,
    /// Requests a second.
    pub(super) rps: f64,
    /// 99 of 100 requests were answered in this time, in milliseconds.
    pub(super) p99_ms: f64,
}

impl Figures {
    /// From the CPU time and the time that the requests took.
    pub(super) fn of(cpu: Duration, elapsed: Duration, took: Vec<Duration>) -> Result<Self> {
        let requests = u32::try_from(took.len())?;
        let slow = quantile(took, 99).context("no request was answered")?;
        Ok(Self {
            cpu_us: cpu.as_secs_f64() * 1e6 / f64::from(requests),
            rps: f64::from(requests) / elapsed.as_secs_f64(),
            p99_ms: slow.as_secs_f64() * 1e3,
        })
    }
}

/// The figures of a whole run.
pub struct Report {
    kind: HostKind,
    version: String,
    settings: Settings,
    cases: Vec<(&'static str, Vec<Figures>)>,
}

impl Report {
    pub(super) fn new(kind: HostKind, version: String, settings: Settings) -> Self {
        Self { kind, version, settings, cases: Vec::new() }
    }

    /// Adds a round.
    pub(super) fn add(&mut self, round: Vec<(&'static str, Figures)>) {
        for (name, figures) in round {
            match self.cases.iter_mut().find(|(known, _)| *known == name) {
                Some((_, rounds)) => rounds.push(figures),
                None => self.cases.push((name, vec![figures])),
            }
        }
    }

    /// `{"host":…, "cases":{NAME:{"cpu_us":…,"rps":…,"p99_ms":…,"ratio_cpu":…}}}`.
    #[must_use]
    pub fn json(&self) -> Value {
        let plain = self.cost(Cost::Of(PLAIN)).unwrap_or(f64::NAN);
        let cases: Map<_, _> = self
            .medians()
            .map(|(name, figures)| {
                let Figures { cpu_us, rps, p99_ms } = figures;
                let ratio_cpu = cpu_us / plain;
                let case = json!({
                    "cpu_us": rounded(cpu_us),
                    "rps": rounded(rps),
                    "p99_ms": rounded(p99_ms),
                    "ratio_cpu": rounded(ratio_cpu),
                });
                (name.to_owned(), case)
            })
            .collect();
        json!({"host": self.host(), "cases": cases})
    }

    fn host(&self) -> &'static str {
        match self.kind {
            HostKind::Envoy => "envoy",
            HostKind::Kong | HostKind::Docker => "kong",
        }
    }

    fn medians(&self) -> impl Iterator<Item = (&'static str, Figures)> {
        self.cases.iter().map(|(name, rounds)| {
            let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
            let figures =
                Figures { cpu_us: of(|f| f.cpu_us), rps: of(|f| f.rps), p99_ms: of(|f| f.p99_ms) };
            (*name, figures)
        })
    }

    /// The median over all rounds. Two cases are compared round by round: what the machine did
    /// meanwhile, it did to both.
    fn cost(&self, cost: Cost) -> Option<f64> {
        let rounds = |name: &str| {
            let (_, rounds) = self.cases.iter().find(|(known, _)| *known == name)?;
            Some(rounds.iter().map(|figures| figures.cpu_us))
        };
        Some(median(match cost {
            Cost::Of(case) => rounds(case)?.collect(),
            Cost::Above(case, base) => {
                rounds(case)?.zip(rounds(base)?).map(|(case, base)| case - base).collect()
            }
        }))
    }

    /// What is promised of the cases that were measured, and what was found.
    pub(super) fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |promise: &Promise| {
            let found = promise.found(|cost| self.cost(cost))?;
            Some(Verdict::at_most(format!("CPU: {promise}"), found, promise.target))
        };
        PROMISES.iter().filter_map(verdict).collect()
    }

    /// What each case adds.
    pub(super) fn chart(&self) -> Chart {
        let bar = |(name, _): &(&'static str, _)| {
            let value = self.cost(Cost::Above(name, PLAIN))?;
            let own = name.starts_with("gate");
            Some(Bar { label: (*name).to_owned(), value, own })
        };
        let bars = self.cases.iter().filter(|(name, _)| *name != PLAIN).filter_map(bar).collect();
        Chart { title: "CPU time added to a request, µs", bars }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { seconds, rounds, connections, tokens, .. } = &self.settings;
        let cores = thread::available_parallelism().map_or(0, usize::from);
        writeln!(
            f,
            "{} {}, one worker; {cores} cores; medians of {rounds} rounds of {seconds} s, \
             {connections} connections, {tokens} tokens.\n",
            if self.kind == HostKind::Envoy { "Envoy" } else { "Kong" },
            self.version,
        )?;
        writeln!(
            f,
            "| case | CPU µs | lowest to highest | added µs | × plain | rps | × plain | p99 ms | × plain |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        let plain = self.medians().find(|(name, _)| *name == PLAIN).map(|(_, figures)| figures);
        for ((name, figures), (_, rounds)) in self.medians().zip(&self.cases) {
            let Figures { cpu_us, rps, p99_ms } = figures;
            let plain = plain.unwrap_or(figures);
            let lowest = rounds.iter().map(|round| round.cpu_us).fold(f64::INFINITY, f64::min);
            let highest = rounds.iter().map(|round| round.cpu_us).fold(0.0, f64::max);
            writeln!(
                f,
                "| `{name}` | {cpu_us:.1} | {lowest:.1} to {highest:.1} | {:.1} | {:.2} | {rps:.0} | \
                 {:.2} | {p99_ms:.2} | {:.2} |",
                self.cost(Cost::Above(name, PLAIN)).unwrap_or(f64::NAN),
                cpu_us / plain.cpu_us,
                rps / plain.rps,
                p99_ms / plain.p99_ms,
            )?;
        }
        writeln!(f, "\n| compared | found | wanted |\n|---|---:|---:|")?;
        for verdict in self.verdicts() {
            writeln!(f, "{verdict}")?;
        }
        Ok(())
    }
}

/// In the middle of the sorted values; between the two in the middle of an even number of them.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle).copied().unwrap_or(f64::NAN);
    match values.len() % 2 {
        0 => values.get(middle.wrapping_sub(1)).map_or(f64::NAN, |lower| (lower + upper) / 2.0),
        _ => upper,
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::{GATE_CACHED, GATE_COLD, route};

    const SETTINGS: Settings = Settings {
        json: false,
        seconds: 1.0,
        rounds: 3,
        connections: 1,
        tokens: 1,
        cases: Vec::new(),
    };

    fn figures(cpu_us: f64) -> Figures {
        Figures { cpu_us, rps: 1e6 / cpu_us, p99_ms: 1.0 }
    }

    fn report() -> Report {
        let mut report = Report::new(HostKind::Envoy, "1".to_owned(), SETTINGS);
        for noise in [0.0, 90.0, 1.0] {
            report.add(vec![
                (PLAIN, figures(20.0 + noise)),
                (GATE_CACHED, figures(28.0 + noise)),
                (GATE_COLD, figures(120.0 + noise)),
                (route::JWT_AUTHN_RBAC_LIMIT, figures(30.0 + noise)),
                (route::JWT_AUTHN_UNCACHED, figures(60.0 + noise)),
            ]);
        }
        report
    }

    #[test]
    fn the_figures_of_a_case_come_from_all_its_requests() {
        let took = (1..=100).map(Duration::from_millis).rev().collect();
        let of = Figures::of(Duration::from_millis(2), Duration::from_secs(4), took).unwrap();
        assert_eq!(of, Figures { cpu_us: 20.0, rps: 25.0, p99_ms: 100.0 });
        assert!(Figures::of(Duration::ZERO, Duration::ZERO, Vec::new()).is_err());
    }

    #[test]
    fn the_json_has_the_medians_and_their_ratio_to_the_plain_route() {
        let json = report().json();
        assert_eq!(json["host"], "envoy");
        assert_eq!(json["cases"][PLAIN]["ratio_cpu"], 1.0);
        assert_eq!(json["cases"][GATE_CACHED]["cpu_us"], 29.0);
        assert_eq!(json["cases"][GATE_CACHED]["ratio_cpu"], 1.381);
    }

    #[test]
    fn only_what_was_measured_is_compared() {
        let report = report();
        let found: Vec<_> = report.verdicts().iter().map(ToString::to_string).collect();
        let expected = [
            "| CPU: (gate_cached − plain) / (jwt_authn_rbac_limit − plain) | 0.800 | ≤ 0.800: met |",
            "| CPU: gate_cold / jwt_authn_uncached | 1.98 | ≤ 2.60: met |",
        ];
        assert_eq!(found, expected);
        let chart = report.chart().bars;
        assert_eq!(chart.len(), 4, "not the plain route");
        assert!(chart.iter().any(|bar| bar.label == GATE_CACHED && bar.value == 8.0 && bar.own));
    }

    #[test]
    fn cases_are_compared_round_by_round() {
        let mut report = Report::new(HostKind::Envoy, "1".to_owned(), SETTINGS);
        for (plain, gate) in [(20.0, 30.0), (80.0, 91.0), (30.0, 42.0)] {
            report.add(vec![(PLAIN, figures(plain)), (GATE_CACHED, figures(gate))]);
        }
        assert_eq!(report.cost(Cost::Above(GATE_CACHED, PLAIN)), Some(11.0));
        assert_eq!(report.cost(Cost::Above(GATE_COLD, PLAIN)), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert!(median(vec![]).is_nan());
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
