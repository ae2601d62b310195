//! `cargo stack limits`: several gateways and one rule that they share, with more requests than
//! it allows. Shows what is admitted and denied while it happens, and says whether the rule held.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use kombi_gate_core::limit::lease::Terms;
use serde_json::{Value, json};

use crate::{
    host::HostKind,
    interrupt::unless_interrupted,
    nodes::{Nodes, PATH, Plan},
    shared_store::StoreKind,
    told::tell,
};
use load::{Counts, Load};

mod chart;
pub mod load;

/// How long a gateway goes on without the exchange.
const GRACE_S: u64 = 10;

/// The rule's period.
const DAY: Duration = Duration::from_secs(86_400);

/// Rows of the chart per second.
const ROWS: u16 = 2;

/// What to show.
#[derive(Debug, Clone, Copy, Args)]
pub struct Settings {
    /// Prints nothing but figures, as JSON.
    #[arg(long)]
    pub json: bool,
    /// How many gateways share the rule.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub nodes: u16,
    /// How many requests it allows a user per day, all of them at once.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub amount: u64,
    /// How long to send.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=600))]
    pub seconds: u16,
    /// Requests per second at each gateway.
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u16).range(1..=5000))]
    pub rate: u16,
    /// Where the exchange keeps the rule. Without it: in Valkey if that is installed, else in Redis,
    /// else in its own memory.
    #[arg(long, value_enum)]
    pub store: Option<Keeper>,
    /// What goes wrong after a third of the time; a store is back after two thirds.
    #[arg(long, value_enum, default_value_t = Fault::None)]
    pub fault: Fault,
}

/// Where the exchange keeps the rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Keeper {
    /// In `valkey-server`.
    Valkey,
    /// In `redis-server`.
    Redis,
    /// In its own memory.
    Memory,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Fault {
    /// Nothing.
    None,
    /// The last gateway dies.
    KillNode,
    /// The store dies, and comes back without memory.
    KillStore,
    /// The store hangs.
    PauseStore,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Figures {
    /// By gateway.
    pub nodes: Vec<Counts>,
    /// What the rule allows.
    pub amount: u64,
    /// What may be admitted at most: see [`most`].
    pub most: u64,
}

/// What `nodes` gateways may admit at most of a rule that allows `amount` a day, all of them at
/// once, in so much time: two hundredths more than the rule says, or of small amounts what the
/// gateways guess, and what comes back meanwhile.
#[must_use]
pub fn most(amount: u64, nodes: usize, time: Duration) -> u64 {
    let terms = Terms { amount, period: DAY, burst: amount, grace: Duration::from_secs(GRACE_S) };
    let over = (amount / 50).max(terms.guess().saturating_mul(nodes as u64));
    amount + over + amount * (time.as_secs() + 1) / DAY.as_secs()
}

impl Keeper {
    fn store(wanted: Option<Self>) -> Option<StoreKind> {
        match wanted {
            Some(Self::Valkey) => Some(StoreKind::Valkey),
            Some(Self::Redis) => Some(StoreKind::Redis),
            Some(Self::Memory) => None,
            None => StoreKind::ALL.into_iter().find(|kind| kind.find().is_some()),
        }
    }
}

impl Fault {
    const fn is_of_store(self) -> bool {
        matches!(self, Self::KillStore | Self::PauseStore)
    }

    fn begin(self, nodes: &mut Nodes, load: &Load) -> Result<()> {
        match self {
            Self::None => Ok(()),
            Self::KillNode => {
                let last = load.so_far().len().saturating_sub(1);
                // Nobody sends to a gateway that is known to be dead.
                load.stop_at(last);
                nodes.kill(last)
            }
            Self::KillStore => nodes.store()?.kill(),
            Self::PauseStore => nodes.store()?.pause(),
        }
    }

    async fn end(self, nodes: &mut Nodes) -> Result<()> {
        match self {
            Self::KillStore => nodes.store()?.restart().await,
            Self::PauseStore => nodes.store()?.go_on(),
            Self::None | Self::KillNode => Ok(()),
        }
    }
}

impl Figures {
    /// Admitted by all gateways.
    #[must_use]
    pub fn admitted(&self) -> u64 {
        self.nodes.iter().map(|node| node.admitted).sum()
    }

    /// Denied by all gateways.
    #[must_use]
    pub fn denied(&self) -> u64 {
        self.nodes.iter().map(|node| node.denied).sum()
    }

    /// Whether the rule was put to the test at all, and held.
    #[must_use]
    pub fn held(&self) -> bool {
        self.denied() > 0 && self.admitted() > 0 && self.admitted() <= self.most
    }

    /// As `--json` prints them.
    #[must_use]
    pub fn json(&self) -> Value {
        let node = |counts: &Counts| {
            json!({
                "admitted": counts.admitted,
                "denied": counts.denied,
                "unavailable": counts.unavailable,
                "failed": counts.failed,
                "slowest_ms": u64::try_from(counts.slowest.as_millis()).unwrap_or(u64::MAX),
            })
        };
        json!({
            "held": self.held(),
            "amount": self.amount,
            "most": self.most,
            "admitted": self.admitted(),
            "denied": self.denied(),
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
        })
    }
}

/// Sends, shows, and says whether the rule held.
pub async fn run(settings: Settings, host: Option<HostKind>) -> Result<bool> {
    let figures = unless_interrupted(measure(settings, host)).await?;
    tell(settings.json.then(|| figures.json()), chart::verdict(&figures));
    Ok(figures.held())
}

async fn measure(settings: Settings, host: Option<HostKind>) -> Result<Figures> {
    let store = Keeper::store(settings.store);
    if settings.fault.is_of_store() && store.is_none() {
        bail!("--fault: there is no store; install valkey-server or redis-server");
    }
    let plan = Plan {
        host,
        nodes: settings.nodes.into(),
        store,
        amount: settings.amount,
        grace_s: GRACE_S,
    };
    let mut nodes = Nodes::start(plan).await?;
    let token = nodes.issuer.token("ada").await?;
    let mut out = std::io::stdout();
    let mut show = |line: String| -> Result<()> {
        if !settings.json {
            writeln!(out, "{line}")?;
        }
        Ok(())
    };
    show(chart::heading(settings, store))?;
    let mut load = Load::start(&nodes.urls(PATH), &token, settings.rate)?;
    let started = Instant::now();
    let mut rows = tokio::time::interval(Duration::from_secs(1) / ROWS.into());
    rows.tick().await;
    let count = settings.seconds.saturating_mul(ROWS);
    for row in 1..=count {
        rows.tick().await;
        if row == count / 3 && settings.fault != Fault::None {
            settings.fault.begin(&mut nodes, &load)?;
            show(chart::event(settings.fault).to_owned())?;
        }
        if row == count / 3 * 2 {
            settings.fault.end(&mut nodes).await?;
        }
        let most = u64::from(settings.rate / ROWS);
        show(chart::row(started.elapsed(), &load.since_last(), most))?;
    }
    let sent = load.stop().await;
    let most = most(settings.amount, sent.len(), started.elapsed());
    Ok(Figures { nodes: sent, amount: settings.amount, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(admitted: u64, denied: u64) -> Figures {
        let node = Counts { admitted, denied, ..Counts::default() };
        Figures { nodes: vec![node; 3], amount: 1_000, most: most(1_000, 3, Duration::ZERO) }
    }

    #[test]
    fn a_rule_held_if_it_was_put_to_the_test_and_no_more_was_admitted_than_may_be() {
        for (admitted, denied, held) in
            [(340, 1, true), (341, 1, false), (300, 0, false), (0, 9, false)]
        {
            assert_eq!(figures(admitted, denied).held(), held, "{admitted} {denied}");
        }
        assert_eq!(figures(340, 1).json()["admitted"], 1_020);
    }

    #[test]
    fn what_may_be_admitted_grows_with_what_comes_back_and_with_what_few_units_are_guessed_at() {
        for (amount, nodes, s, expected) in [
            (1_000, 3, 0, 1_020),
            (86_400, 3, 9, 86_400 + 1_728 + 10),
            (10, 3, 0, 13),
            (1, 2, 0, 3),
        ] {
            assert_eq!(most(amount, nodes, Duration::from_secs(s)), expected, "{amount}");
        }
    }
}
