//! What was found, and whether that is what was wanted.

use std::fmt;

use serde_json::{Value, json};

use super::{
    super::{
        chart::{Bar, Chart},
        verdict::Verdict,
    },
    Settings,
};
use crate::{host::HostKind, statistics::quantile};

/// A repeated login may take this share of one by password.
const OF_PASSWORD: f64 = 0.1;

/// And so many times as long as an impersonation.
const OF_IMPERSONATE: f64 = 2.5;

const LOGINS_PER_CORE: f64 = 2_000.0;
const IDLE_MB: f64 = 40.0;
const READY_MS: f64 = 150.0;
const EVENTS_PER_S: f64 = 5_000.0;

/// One round: the median of each way to log in, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) hook: f64,
    pub(super) superuser: f64,
    pub(super) password: f64,
    pub(super) impersonate: f64,
}

/// How many settlements a second, so many at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    pub(super) batch: usize,
    pub(super) per_s: f64,
}

/// All of it.
#[derive(Debug)]
pub struct Report {
    pub(super) host: HostKind,
    pub(super) settings: Settings,
    pub(super) rounds: Vec<Round>,
    pub(super) fsync_ms: f64,
    pub(super) ready_ms: Vec<f64>,
    pub(super) idle_mb: f64,
    pub(super) busy_mb: f64,
    pub(super) logins_per_s: f64,
    pub(super) logins_per_core: f64,
    pub(super) settled: Vec<Settled>,
}

impl Report {
    pub(super) const fn new(host: HostKind, settings: Settings) -> Self {
        Self {
            host,
            settings,
            rounds: Vec::new(),
            fsync_ms: 0.0,
            ready_ms: Vec::new(),
            idle_mb: 0.0,
            busy_mb: 0.0,
            logins_per_s: 0.0,
            logins_per_core: 0.0,
            settled: Vec::new(),
        }
    }

    fn login(&self, way: impl Fn(&Round) -> f64) -> f64 {
        median(self.rounds.iter().map(way))
    }

    /// What was wanted, and what was found.
    pub(in crate::bench) fn verdicts(&self) -> Vec<Verdict> {
        let (hook, superuser) = (self.login(|one| one.hook), self.login(|one| one.superuser));
        let (password, impersonate) =
            (self.login(|one| one.password), self.login(|one| one.impersonate));
        let best = self.settled.iter().map(|one| one.per_s).fold(0.0, f64::max);
        let ready_ms = median(self.ready_ms.iter().copied());
        vec![
            Verdict::at_most("login by the hook / by password", hook / password, OF_PASSWORD),
            Verdict::at_most("login by the hook / impersonate", hook / impersonate, OF_IMPERSONATE),
            Verdict::at_most(
                "login as a superuser / by password",
                superuser / password,
                OF_PASSWORD,
            ),
            Verdict::at_most(
                "login as a superuser / impersonate",
                superuser / impersonate,
                OF_IMPERSONATE,
            ),
            Verdict::at_least("logins a second and core", self.logins_per_core, LOGINS_PER_CORE),
            Verdict::at_least("settled events a second", best, EVENTS_PER_S),
            Verdict::at_most("memory of the exchange, idle, MB (VmRSS)", self.idle_mb, IDLE_MB),
            Verdict::at_most("exchange ready after, ms", ready_ms, READY_MS),
        ]
    }

    /// The ways to log in.
    fn ways(&self) -> [(&'static str, f64, bool); 4] {
        [
            ("gate and exchange, by the hook", self.login(|one| one.hook), true),
            ("gate and exchange, as a superuser", self.login(|one| one.superuser), true),
            ("PocketBase alone, `auth-with-password`", self.login(|one| one.password), false),
            ("PocketBase alone, `impersonate`", self.login(|one| one.impersonate), false),
        ]
    }

    /// How long each takes.
    pub(in crate::bench) fn login_chart(&self) -> Chart {
        let bar =
            |(label, value, own): (&str, _, _)| Bar { label: label.replace('`', ""), value, own };
        Chart { title: "A login, p50, ms", bars: self.ways().map(bar).into() }
    }

    /// How much is settled in a second.
    pub(in crate::bench) fn settled_chart(&self) -> Chart {
        let bar = |one: &Settled| Bar {
            label: format!("{} at a time", one.batch),
            value: one.per_s,
            own: true,
        };
        Chart {
            title: "Settled calls a second, on disk",
            bars: self.settled.iter().map(bar).collect(),
        }
    }

    /// All of it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "host": self.host.to_string(),
            "rounds": self.settings.rounds,
            "fsync_ms": self.fsync_ms,
            "login_p50_ms": {
                "hook": self.login(|one| one.hook),
                "superuser": self.login(|one| one.superuser),
                "password": self.login(|one| one.password),
                "impersonate": self.login(|one| one.impersonate),
            },
            "logins_per_s": self.logins_per_s,
            "memory_busy_mb": self.busy_mb,
            "settled_per_s": self.settled.iter()
                .map(|one| json!({"batch": one.batch, "events": one.per_s}))
                .collect::<Vec<_>>(),
            "targets": self.verdicts().iter().map(|one| json!({
                "name": one.what(), "found": one.found(), "target": one.target(),
                "met": one.is_met(),
            })).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}; medians of {} rounds of {} logins; one write was on disk after {:.2} ms\n",
            self.host, self.settings.rounds, self.settings.logins, self.fsync_ms
        )?;
        writeln!(f, "| a login, one after the other | p50 ms |\n|---|---:|")?;
        for (way, ms, _) in self.ways() {
            writeln!(f, "| {way} | {ms:.2} |")?;
        }
        writeln!(f, "\n| settlements at a time | events a second |\n|---:|---:|")?;
        for Settled { batch, per_s } in &self.settled {
            writeln!(f, "| {batch} | {per_s:.0} |")?;
        }
        writeln!(
            f,
            "\n{:.0} logins a second beside their clients; {:.1} MB after all of it\n",
            self.logins_per_s, self.busy_mb
        )?;
        writeln!(f, "| compared | found | wanted |\n|---|---:|---:|")?;
        for verdict in self.verdicts() {
            writeln!(f, "{verdict}")?;
        }
        Ok(())
    }
}

fn median(all: impl IntoIterator<Item = f64>) -> f64 {
    quantile(all, 50).unwrap_or_default()
}
