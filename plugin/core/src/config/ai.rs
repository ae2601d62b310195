//! Calls of AI models; see `ai` in `spec/kombi_gate.schema.json`.

use kombi_spec::usage::{MAX_PLAN_BYTES, MAX_PROVIDER_BYTES};
use serde::Deserialize;

use super::{ConfigError, given, invalid, list::List, names, non_empty};
use crate::ai::{
    Rules,
    models::{self, Entry, Models, Pattern, Plan, Plans, Target},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAi {
    path: String,
    #[serde(default = "yes")]
    ledger: bool,
    models: List<RawModel>,
    #[serde(default, deserialize_with = "given")]
    plans: Option<List<RawPlan>>,
    #[serde(default, deserialize_with = "given")]
    default_plan: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModel {
    name: String,
    #[serde(default)]
    aliases: List<String>,
    provider: String,
    #[serde(default, deserialize_with = "given")]
    model: Option<String>,
    #[serde(default)]
    fallbacks: List<RawTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTarget {
    provider: String,
    #[serde(default, deserialize_with = "given")]
    model: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPlan {
    plan: String,
    models: List<String>,
    #[serde(default)]
    without_ledger: WithoutLedger,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "snake_case")]
enum WithoutLedger {
    #[default]
    Refuse,
    GoOn,
}

impl RawAi {
    pub(super) fn parse(self) -> Result<Rules, ConfigError> {
        let fits = self.path.starts_with('/')
            && !self.path.ends_with('/')
            && self
                .path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte));
        if !fits {
            return Err(invalid("ai.path", "expected a path like /ai/v1"));
        }
        let entries = self
            .models
            .0
            .into_iter()
            .enumerate()
            .map(|(index, model)| model.parse(&format!("ai.models[{index}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let entries = non_empty("ai.models", entries)?;
        let mut seen = std::collections::BTreeSet::new();
        for entry in &entries {
            let name = match &entry.name {
                Pattern::Name(name) => name.clone(),
                Pattern::Prefix(prefix) => format!("{prefix}*"),
            };
            for name in entry.aliases.iter().cloned().chain([name]) {
                if let Some(name) = seen.replace(name) {
                    return Err(invalid("ai.models", format!("{name} is there twice")));
                }
            }
        }
        let plans = self.plans.map(|plans| parse_plans(plans, self.default_plan.clone()));
        if plans.is_none() && self.default_plan.is_some() {
            return Err(invalid("ai.default_plan", "makes no sense without ai.plans"));
        }
        let models = Models { entries, plans: plans.transpose()? };
        Ok(Rules { path: self.path, models, ledger: self.ledger })
    }
}

impl RawModel {
    fn parse(self, at: &str) -> Result<Entry, ConfigError> {
        let name = Pattern::parse(&self.name).ok_or_else(|| {
            invalid(format!("{at}.name"), "expected a name, or one that ends with *")
        })?;
        let aliases = self.aliases.0;
        if !aliases.iter().all(|alias| models::is_name(alias)) {
            return Err(invalid(format!("{at}.aliases"), "expected names"));
        }
        if matches!(name, Pattern::Prefix(_)) && !aliases.is_empty() {
            return Err(invalid(
                format!("{at}.aliases"),
                "expected none where the name ends with *",
            ));
        }
        let target = RawTarget { provider: self.provider, model: self.model }.parse(at)?;
        let fallbacks = self.fallbacks.0.into_iter().enumerate();
        let fallbacks = fallbacks
            .map(|(index, target)| target.parse(&format!("{at}.fallbacks[{index}]")))
            .collect::<Result<Vec<_>, _>>()?;
        if fallbacks.len() > MOST_FALLBACKS {
            let expected = format!("expected at most {MOST_FALLBACKS}");
            return Err(invalid(format!("{at}.fallbacks"), expected));
        }
        Ok(Entry { name, aliases, target, fallbacks })
    }
}

/// Most providers of one model beside its first.
const MOST_FALLBACKS: usize = 4;

impl RawTarget {
    fn parse(self, at: &str) -> Result<Target, ConfigError> {
        let fits = (1..=MAX_PROVIDER_BYTES).contains(&self.provider.len())
            && self.provider.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        if !fits {
            return Err(invalid(format!("{at}.provider"), "expected 1 to 32 of a-z, 0-9 and -"));
        }
        if self.model.as_deref().is_some_and(|model| !models::is_name(model)) {
            return Err(invalid(
                format!("{at}.model"),
                "expected the provider's name of the model",
            ));
        }
        Ok(Target { provider: self.provider, model: self.model })
    }
}

fn parse_plans(raw: List<RawPlan>, default: Option<String>) -> Result<Plans, ConfigError> {
    let plans = raw.0.into_iter().enumerate().map(|(index, raw)| {
        let at = format!("ai.plans[{index}]");
        if !is_plan(&raw.plan) {
            return Err(invalid(format!("{at}.plan"), "expected a name of at most 32 characters"));
        }
        let at = format!("{at}.models");
        let models = names(at.clone(), raw.models)?
            .iter()
            .map(|text| Pattern::parse(text))
            .collect::<Option<_>>()
            .ok_or_else(|| invalid(at, "expected names, or ones that end with *"))?;
        let without_ledger = raw.without_ledger == WithoutLedger::GoOn;
        Ok(Plan { name: raw.plan, models, without_ledger })
    });
    let allowed = non_empty("ai.plans", plans.collect::<Result<Vec<_>, _>>()?)?;
    for (index, plan) in allowed.iter().enumerate() {
        if allowed.iter().take(index).any(|earlier| earlier.name == plan.name) {
            return Err(invalid("ai.plans", format!("{} is there twice", plan.name)));
        }
    }
    if default.as_ref().is_some_and(|name| !allowed.iter().any(|plan| plan.name == *name)) {
        return Err(invalid("ai.default_plan", "expected one of ai.plans"));
    }
    Ok(Plans { allowed, default })
}

/// Whether the ledger takes `text` as a plan's name.
fn is_plan(text: &str) -> bool {
    (1..=MAX_PLAN_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
}
