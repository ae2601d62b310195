//! What the soak came to.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use serde_json::{Value, json};

use super::{
    MOST_GROWTH,
    load::{Kind, Tally},
    troubles::Fault,
};
use crate::statistics::quantile;

const MIB: f64 = 1024.0 * 1024.0;

/// Columns of a chart.
const WIDTH: usize = 60;

/// How memory went.
#[derive(Debug, Clone)]
pub(super) struct Growth {
    /// Every look, in bytes.
    looks: Vec<u64>,
    /// Per cent from the first fifth after the warm-up to the last; `None` without enough looks.
    percent: Option<f64>,
}

impl Growth {
    /// Of these looks, of which the first quarter is warm-up.
    pub(super) fn of(looks: Vec<u64>) -> Self {
        let warm = looks.get(looks.len() / 4..).unwrap_or_default();
        let fifth = warm.len() / 5;
        let first = median(warm.get(..fifth).unwrap_or_default());
        let last = median(warm.get(warm.len() - fifth..).unwrap_or_default());
        let percent = first.zip(last).map(|(first, last)| (last - first) / first * 100.0);
        Self { looks, percent }
    }

    fn is_flat(&self) -> bool {
        self.percent.is_some_and(|percent| percent < MOST_GROWTH)
    }

    fn json(&self) -> Value {
        let peak = self.looks.iter().max();
        json!({"growth_percent": self.percent, "peak_bytes": peak, "looks_bytes": self.looks})
    }
}

/// The middle one, as numbers to calculate with.
#[allow(clippy::cast_precision_loss)]
fn median(looks: &[u64]) -> Option<f64> {
    quantile(looks.iter().copied(), 50).map(|look| look as f64)
}

/// What the soak came to.
pub struct Figures {
    pub(super) host: String,
    pub(super) length: Duration,
    pub(super) faults: BTreeMap<Fault, usize>,
    pub(super) tallies: BTreeMap<Kind, Tally>,
    pub(super) gateway: Growth,
    pub(super) exchange: Growth,
}

impl Figures {
    /// Whether memory stayed where it was and every failure has a reason.
    #[must_use]
    pub fn held(&self) -> bool {
        let tried = Kind::ALL.iter().all(|kind| {
            self.tallies
                .get(kind)
                .is_some_and(|tally| tally.as_expected > 0 && tally.unexplained == 0)
        });
        tried && self.gateway.is_flat() && self.exchange.is_flat()
    }

    /// For a person.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "{} for {} s\n", self.host, self.length.as_secs())?;
        for (fault, count) in &self.faults {
            writeln!(text, "{count:>8} × {}", fault.as_str())?;
        }
        let heading = ("", "as expected", "explained", "unexplained");
        writeln!(text, "\n{:<24}{:>12}{:>12}{:>12}", heading.0, heading.1, heading.2, heading.3)?;
        for kind in Kind::ALL {
            let Tally { as_expected, explained, unexplained, .. } =
                self.tallies.get(&kind).cloned().unwrap_or_default();
            let name = kind.as_str();
            writeln!(text, "{name:<24}{as_expected:>12}{explained:>12}{unexplained:>12}")?;
        }
        for example in self.tallies.values().flat_map(|tally| &tally.examples) {
            writeln!(text, "  ! {example}")?;
        }
        writeln!(text, "\nMemory, since no process was ended any more")?;
        for (name, growth) in [("gateway", &self.gateway), ("exchange", &self.exchange)] {
            let percent = growth.percent.map_or("unknown".to_owned(), |p| format!("{p:+.1} %"));
            writeln!(text, "{name:<10}{}  {percent}", chart(&growth.looks))?;
        }
        let verdict = if self.held() { "It held." } else { "It did NOT hold." };
        writeln!(text, "\n{verdict} (Growth after the warm-up must be below {MOST_GROWTH} %.)")
    }

    /// For a program.
    #[must_use]
    pub fn json(&self) -> Value {
        let faults: BTreeMap<_, _> =
            self.faults.iter().map(|(fault, count)| (fault.as_str(), count)).collect();
        let requests: BTreeMap<_, _> = self
            .tallies
            .iter()
            .map(|(kind, tally)| {
                let Tally { as_expected, explained, unexplained, examples } = tally;
                let shown = json!({"as_expected": as_expected, "explained": explained,
                                   "unexplained": unexplained, "examples": examples});
                (kind.as_str(), shown)
            })
            .collect();
        json!({
            "host": self.host,
            "seconds": self.length.as_secs(),
            "faults": faults,
            "requests": requests,
            "memory": {"gateway": self.gateway.json(), "exchange": self.exchange.json()},
            "held": self.held(),
        })
    }
}

/// The looks as a row of bars, from nothing to the highest, and what that is.
#[allow(clippy::cast_precision_loss)]
fn chart(looks: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = looks.iter().copied().max().unwrap_or_default().max(1);
    let each = looks.len().div_ceil(WIDTH).max(1);
    let bar = |part: &[u64]| {
        let highest = part.iter().copied().max().unwrap_or_default();
        let eighth = usize::try_from(highest.saturating_mul(8) / most).unwrap_or(8);
        BARS.get(eighth.saturating_sub(1)).copied().unwrap_or('█')
    };
    let bars: String = looks.chunks(each).map(bar).collect();
    format!("{bars} {:.1} MiB", most as f64 / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_told_from_warm_up_and_from_noise() {
        let flat = (0..100).map(|n| 1_000 + n % 7).collect();
        let warming = (0..100).map(|n| 1_000 + n.min(20) * 50).collect();
        let growing: Vec<u64> = (0..100).map(|n| 1_000 + n * 5).collect();
        for (looks, is_flat) in
            [(flat, true), (warming, true), (growing, false), (vec![1, 2], false)]
        {
            let growth = Growth::of(looks);
            assert_eq!(growth.is_flat(), is_flat, "{:?}", growth.percent);
        }
    }

    #[test]
    fn one_failure_without_a_reason_is_enough() {
        let fine = Tally { as_expected: 9, explained: 3, ..Tally::default() };
        let mut figures = Figures {
            host: "a host".to_owned(),
            length: Duration::from_secs(60),
            faults: [(Fault::Rotation, 2)].into(),
            tallies: Kind::ALL.into_iter().map(|kind| (kind, fine.clone())).collect(),
            gateway: Growth::of(vec![7; 50]),
            exchange: Growth::of(vec![9; 50]),
        };
        assert!(figures.held(), "{}", figures.table());
        figures.tallies.insert(Kind::Login, Tally { unexplained: 1, ..fine });
        assert!(!figures.held());
        assert!(figures.table().contains("It did NOT hold."));
        assert_eq!(figures.json()["requests"]["logins"]["unexplained"], 1);
    }

    #[test]
    fn a_chart_goes_up_to_the_highest() {
        assert_eq!(chart(&[0, 1024 * 1024 * 4, 1024 * 1024 * 8]), "▁▄█ 8.0 MiB");
    }
}
