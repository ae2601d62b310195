//! The measuring: every case once, in turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{
    case::{Case, Sends},
    cpu::Processes,
    load::{self, Traffic},
    report::Figures,
    tokens::Tokens,
};
use crate::host::Gateway;

/// The part of the time for which a case runs before it is measured.
const WARM_UP: f64 = 0.25;

/// What every round needs.
pub(super) struct Rounds {
    port: u16,
    processes: Processes,
    cases: Vec<(&'static str, Traffic)>,
    duration: Duration,
    connections: u16,
}

impl Rounds {
    pub(super) fn new(
        gateway: &Gateway,
        cases: Vec<Case>,
        tokens: &Tokens,
        duration: Duration,
        connections: u16,
    ) -> Result<Self> {
        let traffic = |case: Case| {
            let path = format!("/{}", case.route);
            let traffic = match case.sends {
                Sends::OneToken => Traffic::new(&path, [&tokens.one]),
                Sends::ManyTokens => Traffic::new(&path, &tokens.many),
            };
            (case.name, traffic)
        };
        Ok(Self {
            port: gateway.port(),
            processes: Processes::of(gateway.pid()?)?,
            cases: cases.into_iter().map(traffic).collect(),
            duration,
            connections,
        })
    }

    /// One round. Blocks for as long as it takes.
    pub(super) fn measure(&self) -> Result<Vec<(&'static str, Figures)>> {
        let cases = self.cases.iter();
        cases
            .map(|(name, traffic)| {
                let figures = self.measure_one(traffic).with_context(|| format!("case {name}"))?;
                Ok((*name, figures))
            })
            .collect()
    }

    fn measure_one(&self, traffic: &Traffic) -> Result<Figures> {
        load::send(traffic, self.port, self.connections, self.duration.mul_f64(WARM_UP))?;
        let cpu = self.processes.cpu_time()?;
        let start = Instant::now();
        let took = load::send(traffic, self.port, self.connections, self.duration)?;
        let elapsed = start.elapsed();
        let cpu = self.processes.cpu_time()?.saturating_sub(cpu);
        Figures::of(cpu, elapsed, took)
    }
}
