//! The limits of a route, as configured; see `limits` in `spec/kombi_gate.schema.json`.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{ConfigError, given, invalid, is_label, list::List};
use crate::limit::{
    Limits,
    headers::Families,
    key::Part,
    pace::{MOST_UNITS, Pace, Period},
    rule::{Allowance, Cost, OnError, Rule, Scope, Stage},
};

/// Most rules of a route.
const MOST_RULES: usize = 16;

/// How long a node goes on without word from the exchange, unless the configuration says
/// otherwise.
const DEFAULT_GRACE_S: u64 = 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimit {
    name: String,
    key: RawKey,
    amount: u64,
    per: RawPeriod,
    #[serde(default, deserialize_with = "given")]
    burst: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    plans: Option<BTreeMap<String, RawAllowance>>,
    #[serde(default)]
    cost: RawCost,
    #[serde(default, deserialize_with = "given")]
    stage: Option<RawStage>,
    #[serde(default)]
    on_error: RawOnError,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    scope: RawScope,
    #[serde(default, deserialize_with = "given")]
    grace_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawKey {
    One(RawPart),
    Several(List<RawPart>),
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum RawPart {
    Sub,
    Org,
    Client,
    Ip,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawPeriod {
    Second,
    Minute,
    Hour,
    Day,
    Month,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawAllowance {
    Unlimited(Unlimited),
    Limited(RawAmount),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unlimited {
    Unlimited,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAmount {
    amount: u64,
    #[serde(default, deserialize_with = "given")]
    burst: Option<u64>,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum RawCost {
    #[default]
    Request,
    Tokens,
    FailedToken,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawStage {
    Before,
    After,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum RawOnError {
    Allow,
    #[default]
    Deny,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RawScope {
    #[default]
    Node,
    Shared,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFamily {
    Ietf,
    Kong,
}

/// What the rest of the configuration says that limits depend on.
pub(super) struct Surroundings {
    /// Whether anybody passes.
    pub(super) public: bool,
    /// Whether the exchange is known.
    pub(super) exchange: bool,
    /// Whether models are called.
    pub(super) ai: bool,
}

/// The limits of a route.
pub(super) fn parse(
    limits: Option<List<RawLimit>>,
    families: Option<List<RawFamily>>,
    surroundings: &Surroundings,
) -> Result<Limits, ConfigError> {
    let families = match families {
        None => Families::default(),
        Some(_) if limits.is_none() => {
            return Err(invalid("limit_headers", "makes no sense without limits"));
        }
        Some(List(named)) => Families {
            ietf: named.contains(&RawFamily::Ietf),
            kong: named.contains(&RawFamily::Kong),
        },
    };
    let Some(List(raw)) = limits else { return Ok(Limits::default()) };
    if raw.is_empty() || raw.len() > MOST_RULES {
        return Err(invalid("limits", format!("expected 1 to {MOST_RULES} rules")));
    }
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let at = format!("limits[{index}]");
        let rule = raw.parse(&at, surroundings)?;
        if rules.iter().any(|earlier| earlier.name == rule.name) {
            return Err(invalid(format!("{at}.name"), "there is a rule with this name already"));
        }
        rules.push(rule);
    }
    Ok(Limits::new(rules, families))
}

impl RawLimit {
    fn parse(self, at: &str, surroundings: &Surroundings) -> Result<Rule, ConfigError> {
        let field = |name: &str| format!("{at}.{name}");
        if !is_label(&self.name) {
            return Err(invalid(field("name"), "expected 1 to 64 of a-z, 0-9 and -"));
        }
        let key = self.key.parse(field("key"))?;
        let period = self.per.period();
        let stage = match (self.stage, &self.cost) {
            (Some(RawStage::After), RawCost::FailedToken) => {
                return Err(invalid(field("stage"), "failed tokens are counted before"));
            }
            (Some(RawStage::Before), RawCost::Tokens) => {
                return Err(invalid(field("stage"), "tokens of AI models are counted after"));
            }
            (Some(RawStage::Before), _) | (None, RawCost::FailedToken) => Stage::Before,
            (Some(RawStage::After) | None, _) => Stage::After,
        };
        if stage == Stage::Before && key != [Part::Source] {
            return Err(invalid(field("key"), "before the token is known, only ip tells callers"));
        }
        if stage == Stage::Before && self.plans.is_some() {
            return Err(invalid(field("plans"), "before the token is known, nobody has a plan"));
        }
        if self.cost == RawCost::FailedToken && surroundings.public {
            return Err(invalid(field("cost"), "no token is looked at where access is public"));
        }
        if self.cost == RawCost::Tokens && !surroundings.ai {
            return Err(invalid(field("cost"), "tokens are those of AI models: expected ai"));
        }
        if self.cost == RawCost::Tokens && self.scope == RawScope::Shared {
            // What is set aside comes back minutes later, when its lease is over.
            let problem = "tokens are counted on each node; the exchange's budgets are for all";
            return Err(invalid(field("scope"), problem));
        }
        let grace = self.grace_s.unwrap_or(DEFAULT_GRACE_S);
        let scope = match self.scope {
            RawScope::Node if self.grace_s.is_some() => {
                return Err(invalid(field("grace_s"), "makes sense with scope: shared only"));
            }
            RawScope::Node => Scope::Node,
            RawScope::Shared if !surroundings.exchange => {
                return Err(invalid(field("scope"), "nodes share a limit through the exchange"));
            }
            RawScope::Shared if !(1..=600).contains(&grace) => {
                return Err(invalid(field("grace_s"), "expected between 1 and 600"));
            }
            RawScope::Shared => Scope::Shared { grace: Duration::from_secs(grace) },
        };
        let amount = RawAmount { amount: self.amount, burst: self.burst };
        let plans = self.plans.map(|plans| parse_plans(plans, at, period)).transpose()?;
        Ok(Rule {
            name: self.name.into(),
            key,
            cost: match self.cost {
                RawCost::Request => Cost::Request,
                RawCost::Tokens => Cost::Tokens,
                RawCost::FailedToken => Cost::FailedToken,
            },
            stage,
            allowance: Allowance::Limited(amount.parse(at, period)?),
            plans: plans.unwrap_or_default(),
            on_error: match self.on_error {
                RawOnError::Allow => OnError::Allow,
                RawOnError::Deny => OnError::Deny,
            },
            dry_run: self.dry_run,
            scope,
        })
    }
}

fn parse_plans(
    raw: BTreeMap<String, RawAllowance>,
    at: &str,
    period: Period,
) -> Result<BTreeMap<String, Allowance>, ConfigError> {
    if raw.is_empty() {
        return Err(invalid(format!("{at}.plans"), "expected at least one"));
    }
    let parse = |(plan, raw): (String, RawAllowance)| {
        let at = format!("{at}.plans.{plan}");
        let allowance = match raw {
            RawAllowance::Unlimited(Unlimited::Unlimited) => Allowance::Unlimited,
            RawAllowance::Limited(amount) => Allowance::Limited(amount.parse(&at, period)?),
        };
        Ok((plan, allowance))
    };
    raw.into_iter().map(parse).collect()
}

impl RawAmount {
    fn parse(self, at: &str, period: Period) -> Result<Pace, ConfigError> {
        if !(1..=MOST_UNITS).contains(&self.amount) {
            return Err(invalid(format!("{at}.amount"), format!("expected 1 to {MOST_UNITS}")));
        }
        let burst = self.burst.unwrap_or(self.amount);
        if !(1..=MOST_UNITS.min(self.amount.saturating_mul(100))).contains(&burst) {
            let problem = format!("expected 1 to {MOST_UNITS}, and 100 times the amount at most");
            return Err(invalid(format!("{at}.burst"), problem));
        }
        Ok(Pace::new(self.amount, period, burst))
    }
}

impl RawKey {
    fn parse(self, field: String) -> Result<Vec<Part>, ConfigError> {
        let parts = match self {
            Self::One(part) => vec![part],
            Self::Several(List(parts)) => parts,
        };
        let mut key: Vec<Part> = parts.into_iter().map(RawPart::part).collect();
        let named = key.len();
        key.sort_unstable();
        key.dedup();
        if key.is_empty() || key.len() < named {
            return Err(invalid(field, "expected some of sub, org, client and ip, none twice"));
        }
        Ok(key)
    }
}

impl RawPart {
    const fn part(self) -> Part {
        match self {
            Self::Sub => Part::Subject,
            Self::Org => Part::Organisation,
            Self::Client => Part::Client,
            Self::Ip => Part::Source,
        }
    }
}

impl RawPeriod {
    const fn period(&self) -> Period {
        match self {
            Self::Second => Period::Second,
            Self::Minute => Period::Minute,
            Self::Hour => Period::Hour,
            Self::Day => Period::Day,
            Self::Month => Period::Month,
        }
    }
}
