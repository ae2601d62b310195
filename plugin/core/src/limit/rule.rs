//! What a rule says.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    key::Part,
    pace::{Pace, Period, WholeAt},
};
use crate::time::UnixTime;

/// One limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What the client, logs and metrics call it.
    pub name: Rc<str>,
    /// Whom it tells apart; sorted, nothing twice, never empty.
    pub key: Vec<Part>,
    /// What a request costs.
    pub cost: Cost,
    /// When it is counted.
    pub stage: Stage,
    /// What a caller has whose plan is not among `plans`, or who has none.
    pub allowance: Allowance,
    /// What the callers of a plan have in place of it.
    pub plans: BTreeMap<String, Allowance>,
    /// What becomes of a request that cannot be counted.
    pub on_error: OnError,
    /// Whether to let pass, and only tell, what it would refuse.
    pub dry_run: bool,
    /// Where it holds.
    pub scope: Scope,
}

/// Where a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scope {
    /// On each node by itself.
    #[default]
    Node,
    /// On all nodes together that use one exchange.
    Shared {
        /// How long a node goes on without word from it.
        grace: Duration,
    },
}

/// How much a caller may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// As much as they like.
    Unlimited,
    /// This much.
    Limited(Pace),
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cost {
    /// Each request is one unit.
    Request,
    /// Each token that an AI model reads or writes; whoever knows how many charges them.
    Tokens,
    /// Each request whose token is refused. While nothing is left, nobody is let in, so that no
    /// signature is verified in vain.
    FailedToken,
}

/// When a rule is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Before the token is looked at; by source only.
    Before,
    /// When it is known who calls and that they may.
    After,
}

/// What becomes of a request that cannot be counted, because there is no zone, no room in it, or
/// nothing to tell the caller by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnError {
    /// It passes.
    Allow,
    /// It is refused.
    #[default]
    Deny,
}

impl Rule {
    /// What a caller with `plan` may use; `None` if as much as they like.
    #[must_use]
    pub fn pace(&self, plan: Option<&str>) -> Option<Pace> {
        match plan.and_then(|plan| self.plans.get(plan)).unwrap_or(&self.allowance) {
            Allowance::Limited(pace) => Some(*pace),
            Allowance::Unlimited => None,
        }
    }

    /// What `whole_at` says of a budget now. A caller may have come with another plan before, so
    /// only what no plan explains was written by a clock that was set back.
    #[must_use]
    pub fn plausible(&self, whole_at: WholeAt, now: UnixTime) -> WholeAt {
        let allowances = std::iter::once(&self.allowance).chain(self.plans.values());
        let paces = allowances.filter_map(|allowance| match allowance {
            Allowance::Limited(pace) => Some(pace),
            Allowance::Unlimited => None,
        });
        paces.map(|pace| pace.plausible(whole_at, now)).max().unwrap_or(whole_at)
    }

    /// Tells the budgets of this rule from those of every other one. Routes that state the same
    /// rule, name and amounts alike, share them. A rule that is changed begins anew.
    #[must_use]
    pub fn id(&self) -> RuleId {
        let mut id = RuleId::new(self.name.as_bytes());
        let mut mix = |allowance: &Allowance| match allowance {
            Allowance::Unlimited => id.mix(0),
            Allowance::Limited(pace) => id = id.of(*pace),
        };
        mix(&self.allowance);
        self.plans.values().for_each(mix);
        for name in self.plans.keys() {
            id.mix(RuleId::new(name.as_bytes()).0);
        }
        for part in &self.key {
            id.mix(*part as u64);
        }
        id.mix(self.cost as u64);
        id
    }
}

/// The number of a rule in a counter. Operators choose what it is made of, so it need not resist
/// anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub(super) u64);

impl RuleId {
    /// FNV-1a of the name, to begin with.
    fn new(name: &[u8]) -> Self {
        Self(name.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }

    /// The number of the same rule as it is for those who may use this much.
    pub(super) fn of(mut self, pace: Pace) -> Self {
        self.mix(pace.amount());
        self.mix(pace.period().seconds());
        self.mix(pace.burst());
        self
    }

    fn mix(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31);
    }
}

impl Period {
    /// The period's name in a header: `X-RateLimit-Limit-Minute`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}
