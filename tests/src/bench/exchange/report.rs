//! What was found, and whether that is what was wanted.

use std::fmt;

use serde_json::{Value, json};

use super::Settings;
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

/// A figure and what was wanted of it.
struct Target {
    name: &'static str,
    found: f64,
    most: Option<f64>,
    least: Option<f64>,
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

    fn targets(&self) -> Vec<Target> {
        let most = |name, found, most| Target { name, found, most: Some(most), least: None };
        let least = |name, found, least| Target { name, found, most: None, least: Some(least) };
        let (hook, superuser) = (self.login(|one| one.hook), self.login(|one| one.superuser));
        let (password, impersonate) =
            (self.login(|one| one.password), self.login(|one| one.impersonate));
        let best = self.settled.iter().map(|one| one.per_s).fold(0.0, f64::max);
        vec![
            most("login by the hook / by password", hook / password, OF_PASSWORD),
            most("login by the hook / impersonate", hook / impersonate, OF_IMPERSONATE),
            most("login as a superuser / by password", superuser / password, OF_PASSWORD),
            most("login as a superuser / impersonate", superuser / impersonate, OF_IMPERSONATE),
            least("logins a second and core", self.logins_per_core, LOGINS_PER_CORE),
            least("settled events a second", best, EVENTS_PER_S),
            most("memory idle, MB (VmRSS)", self.idle_mb, IDLE_MB),
            most("ready after, ms", median(self.ready_ms.iter().copied()), READY_MS),
        ]
    }

    /// All of it.
    #[must_use]
    pub fn json(&self) -> Value {
        let targets = self.targets();
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
            "targets": targets.iter().map(|one| json!({
                "name": one.name, "found": one.found, "most": one.most, "least": one.least,
                "met": one.is_met(),
            })).collect::<Vec<_>>(),
        })
    }
}

impl Target {
    fn is_met(&self) -> bool {
        self.most.is_none_or(|most| self.found <= most)
            && self.least.is_none_or(|least| self.found >= least)
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
        for (way, ms) in [
            ("gate and exchange, by the hook", self.login(|one| one.hook)),
            ("gate and exchange, as a superuser", self.login(|one| one.superuser)),
            ("PocketBase alone, `auth-with-password`", self.login(|one| one.password)),
            ("PocketBase alone, `impersonate`", self.login(|one| one.impersonate)),
        ] {
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
        writeln!(f, "| | found | target |\n|---|---:|---:|")?;
        for target in self.targets() {
            let (sign, wanted) = match (target.most, target.least) {
                (Some(most), _) => ("≤", most),
                (None, least) => ("≥", least.unwrap_or_default()),
            };
            let met = if target.is_met() { "met" } else { "missed" };
            writeln!(f, "| {} | {:.2} | {sign} {wanted}: {met} |", target.name, target.found)?;
        }
        Ok(())
    }
}

fn median(all: impl IntoIterator<Item = f64>) -> f64 {
    quantile(all, 50).unwrap_or_default()
}
