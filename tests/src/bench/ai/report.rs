//! What was found, by round, and what it comes to.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use super::{
    super::{
        chart::{Bar, Chart},
        verdict::Verdict,
    },
    Settings,
    load::Took,
};
use crate::{host::HostKind, statistics::quantile};

/// Largest median that may be added, beyond one durable commit.
const MOST_ADDED_P50_MS: f64 = 2.0;

/// Largest 99th percentile that may be added.
const MOST_ADDED_P99_MS: f64 = 10.0;

/// How much a worker may grow.
const MOST_GROWN_MB: f64 = 8.0;

/// The times of one way, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    p50: f64,
    p99: f64,
    first_p50: f64,
}

/// One round: each way once. First what passed without the filter, then with it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Round {
    whole: [Times; 2],
    stream: [Times; 2],
}

impl Round {
    /// Takes in what was measured.
    pub(super) fn add(&mut self, stream: bool, gated: bool, took: &[Took]) {
        let ms = |percent, of: fn(&Took) -> Duration| {
            quantile(took.iter().map(of), percent).unwrap_or_default().as_secs_f64() * 1e3
        };
        let times = Times {
            p50: ms(50, |took| took.whole),
            p99: ms(99, |took| took.whole),
            first_p50: ms(50, |took| took.first),
        };
        let ways = if stream { &mut self.stream } else { &mut self.whole };
        let [plain, with_filter] = ways;
        *(if gated { with_filter } else { plain }) = times;
    }
}

/// All rounds, and what else was measured.
#[derive(Debug)]
pub struct Report {
    host: HostKind,
    settings: Settings,
    fsync_ms: f64,
    rounds: Vec<Round>,
    /// How much the process that grew most has grown after all streams, in MB: without the filter,
    /// and with it.
    grown_mb: [f64; 2],
    /// And while many were open at once, for each of them, in KB.
    each_open_kb: f64,
}

/// One line of the table.
struct Line {
    name: &'static str,
    what: &'static str,
    plain: f64,
    gated: f64,
    added: f64,
    most: Option<f64>,
}

impl Report {
    pub(super) fn new(host: HostKind, settings: Settings, fsync: Duration) -> Self {
        let fsync_ms = fsync.as_secs_f64() * 1e3;
        Self { host, settings, fsync_ms, rounds: Vec::new(), grown_mb: [0.0; 2], each_open_kb: 0.0 }
    }

    pub(super) fn add(&mut self, round: Round) {
        self.rounds.push(round);
    }

    /// The memory of the gateway's processes in bytes, before and after the streams.
    pub(super) fn grown(&mut self, gated: bool, before: &[u64], after: &[u64]) {
        let [plain, with_filter] = &mut self.grown_mb;
        let grown = if gated { with_filter } else { plain };
        *grown = differences(before, after).fold(0.0, f64::max) / 1e6;
    }

    /// And before streams were open at once, and meanwhile.
    pub(super) fn held(&mut self, before: &[u64], meanwhile: &[u64]) {
        let open = f64::from(self.settings.at_once);
        self.each_open_kb = differences(before, meanwhile).sum::<f64>() / 1e3 / open;
    }

    fn lines(&self) -> Vec<Line> {
        let beyond_commit = MOST_ADDED_P50_MS + self.fsync_ms;
        let line = |name, what, of: &dyn Fn(&Round) -> [f64; 2], most| {
            let side = |index: usize| {
                median(self.rounds.iter().filter_map(|round| of(round).get(index).copied()))
            };
            let added = median(self.rounds.iter().map(|round| {
                let [plain, gated] = of(round);
                gated - plain
            }));
            Line { name, what, plain: side(0), gated: side(1), added, most }
        };
        vec![
            line(
                "whole_p50",
                "answer as one document, p50",
                &|round| round.whole.map(|times| times.p50),
                Some(beyond_commit),
            ),
            line(
                "whole_p99",
                "answer as one document, p99",
                &|round| round.whole.map(|times| times.p99),
                Some(MOST_ADDED_P99_MS),
            ),
            line(
                "first_token_p50",
                "stream, time to first token, p50",
                &|round| round.stream.map(|times| times.first_p50),
                Some(beyond_commit),
            ),
            line(
                "stream_p99",
                "stream to its end, p99",
                &|round| round.stream.map(|t| t.p99),
                None,
            ),
        ]
    }

    /// What was wanted, and what was found.
    pub(in crate::bench) fn verdicts(&self) -> Vec<Verdict> {
        let timed = |line: Line| {
            let what = format!("added to a call of a model, ms: {}", line.what);
            Some(Verdict::at_most(what, line.added, line.most?))
        };
        let [plain, gated] = self.grown_mb;
        let grown = format!("memory added after {} streams, MB", self.settings.streams);
        let memory = Verdict::at_most(grown, gated - plain, MOST_GROWN_MB);
        self.lines().into_iter().filter_map(timed).chain([memory]).collect()
    }

    /// Each time, without the filter and with it.
    pub(in crate::bench) fn chart(&self) -> Chart {
        let bars = self.lines().into_iter().flat_map(|Line { what, plain, gated, .. }| {
            [(format!("{what}, without"), plain, false), (what.to_owned(), gated, true)]
                .map(|(label, value, own)| Bar { label, value, own })
        });
        Chart { title: "A call of a model, ms", bars: bars.collect() }
    }

    /// As `--json` prints it.
    #[must_use]
    pub fn json(&self) -> Value {
        let times: serde_json::Map<String, Value> = self
            .lines()
            .into_iter()
            .map(|line| {
                let value = json!({"plain_ms": line.plain, "gate_ms": line.gated,
                                   "added_ms": line.added, "target_ms": line.most});
                (line.name.to_owned(), value)
            })
            .collect();
        let [plain, gated] = self.grown_mb;
        json!({
            "host": self.host.to_string(), "rate": self.settings.rate,
            "rounds": self.settings.rounds, "fsync_ms": self.fsync_ms, "times": times,
            "streams": self.settings.streams,
            "worker_grown_mb": {"plain": plain, "gate": gated},
            "at_once": self.settings.at_once, "each_open_kb": self.each_open_kb,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings { rate, seconds, rounds, streams, at_once, .. } = self.settings;
        writeln!(f, "{}; {rate} calls/s, medians of {rounds} rounds of {seconds} s.", self.host)?;
        writeln!(f, "One write is on disk after {:.2} ms.\n", self.fsync_ms)?;
        writeln!(f, "| ms | without the filter | with it | added | target |")?;
        writeln!(f, "|---|---:|---:|---:|---:|")?;
        for Line { what, plain, gated, added, most, .. } in self.lines() {
            write!(f, "| {what} | {plain:.2} | {gated:.2} | {added:.2} | ")?;
            match most {
                Some(most) => writeln!(f, "≤ {most:.2}: {} |", verdict(added <= most))?,
                None => writeln!(f, "|")?,
            }
        }
        let [plain, gated] = self.grown_mb;
        let verdict = verdict(gated - plain <= MOST_GROWN_MB);
        writeln!(
            f,
            "\nAfter {streams} streams the worker that grew most has {gated:.1} MB more, without the \
             filter {plain:.1} MB (≤ {MOST_GROWN_MB} added: {verdict}). {at_once} streams at once all \
             came to their end; each open one takes {:.0} KB.",
            self.each_open_kb
        )
    }
}

fn differences(earlier: &[u64], later: &[u64]) -> impl Iterator<Item = f64> {
    later.iter().zip(earlier).map(|(later, earlier)| *later as f64 - *earlier as f64)
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    quantile(values, 50).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn took(ms: u64) -> Took {
        Took { first: Duration::from_millis(ms / 2), whole: Duration::from_millis(ms) }
    }

    #[test]
    fn what_is_added_is_the_median_of_the_differences_within_rounds() {
        let settings =
            Settings { rate: 200, seconds: 1.0, rounds: 3, streams: 10, at_once: 10, json: false };
        let mut report = Report::new(HostKind::Envoy, settings, Duration::from_millis(1));
        for (plain, gated) in [(1, 3), (10, 14), (5, 8)] {
            let mut round = Round::default();
            round.add(false, false, &[took(plain); 9]);
            round.add(false, true, &[took(gated); 9]);
            report.add(round);
        }
        report.grown(true, &[1_000_000, 5], &[3_000_000, 4]);
        report.held(&[3_000_000, 4], &[4_000_000, 4]);
        let json = report.json();
        assert_eq!(json["times"]["whole_p50"]["added_ms"], 3.0);
        assert_eq!(json["times"]["whole_p50"]["target_ms"], 3.0);
        assert_eq!(json["worker_grown_mb"], json!({"plain": 0.0, "gate": 2.0}));
        assert_eq!(json["each_open_kb"], 100.0);
    }
}
