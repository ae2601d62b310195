//! Which models there are, who may use which, and which provider has them.

use kombi_spec::{
    code::Code,
    usage::{MAX_MODEL_BYTES, reserve::MAX_FALLBACKS},
};
use serde::Serialize;

use crate::refusal::Refusal;

/// The models that can be called, in the operator's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    pub(crate) entries: Vec<Entry>,
    /// None where everybody may use everything.
    pub(crate) plans: Option<Plans>,
}

/// One model, or all whose names are of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Pattern,
    /// Further names of it.
    pub(crate) aliases: Vec<String>,
    /// Who has it.
    pub(crate) target: Target,
    /// Who else has it, or one like it: asked in this order where the ones before have failed.
    pub(crate) fallbacks: Vec<Target>,
}

/// A model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The provider's name.
    pub provider: String,
    /// What the provider calls the model; none if as it is called here.
    pub model: Option<String>,
}

/// What plans allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plans {
    pub(crate) allowed: Vec<Plan>,
    /// The plan of those whose token names none.
    pub(crate) default: Option<String>,
}

/// What one plan allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) models: Vec<Pattern>,
    /// Whether a call may leave when the exchange does not answer.
    pub(crate) without_ledger: bool,
}

/// A name, or with a `*` at its end the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pattern {
    Name(String),
    Prefix(String),
}

impl Pattern {
    /// `*` may stand at the end only.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let fits = is_name(name) || prefix && name.is_empty();
        fits.then(
            || {
                if prefix { Self::Prefix(name.to_owned()) } else { Self::Name(name.to_owned()) }
            },
        )
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }
}

/// Whether `text` can name a model: what the ledger takes, and no `*`.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_MODEL_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'*'))
}

/// A model that somebody may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// Where it is asked for.
    pub first: Place<'a>,
    /// Where it is asked for instead, in this order, after those before have failed.
    pub fallbacks: Vec<Place<'a>>,
    /// The plan that allows it, if plans matter.
    pub plan: Option<&'a str>,
    /// Whether the call may leave when the exchange does not answer.
    pub without_ledger: bool,
}

/// Where a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The provider that has it.
    pub provider: &'a str,
    /// What the provider calls it.
    pub model: &'a str,
}

impl Models {
    /// The model that a user on `plan` calls `asked`.
    ///
    /// One that does not exist and one that the plan does not allow look the same, as they do at
    /// OpenAI.
    pub fn find<'a>(&'a self, asked: &'a str, plan: Option<&str>) -> Result<Allowed<'a>, Refusal> {
        self.find_but(asked, plan, |_, _| false)
    }

    /// The same, at those providers that `avoids` does not speak against for its model; at all
    /// if there are none.
    pub(super) fn find_but<'a>(
        &'a self,
        asked: &'a str,
        plan: Option<&str>,
        avoids: impl Fn(&str, &str) -> bool,
    ) -> Result<Allowed<'a>, Refusal> {
        let terms = self.terms(plan)?;
        let entry = self
            .entry(asked)
            .filter(|entry| is_name(asked) && terms.is_none_or(|plan| plan.allows(entry, asked)))
            .ok_or_else(|| unknown(asked))?;
        let there = |target: &'a Target| {
            let model = target.model.as_deref().unwrap_or(entry.name_of(asked));
            Place { provider: &target.provider, model }
        };
        let all = || std::iter::once(&entry.target).chain(&entry.fallbacks).map(there);
        let mut places = all().filter(|place| !avoids(place.provider, place.model));
        let (first, fallbacks) = match places.next() {
            Some(first) => (first, places.take(MAX_FALLBACKS).collect()),
            None => (there(&entry.target), all().skip(1).take(MAX_FALLBACKS).collect()),
        };
        Ok(Allowed {
            first,
            fallbacks,
            plan: terms.map(|plan| plan.name.as_str()),
            without_ledger: terms.is_some_and(|plan| plan.without_ledger),
        })
    }

    /// The document that lists what a user on `plan` may use: every model that has a name.
    pub fn list(&self, plan: Option<&str>) -> Result<List, Refusal> {
        let terms = self.terms(plan)?;
        let data = self
            .entries
            .iter()
            .filter_map(|entry| match &entry.name {
                Pattern::Name(name) => Some((entry, name)),
                Pattern::Prefix(_) => None,
            })
            .filter(|(entry, name)| terms.is_none_or(|plan| plan.allows(entry, name)))
            .flat_map(|(entry, name)| {
                std::iter::once(name).chain(&entry.aliases).map(|id| Model::new(id, entry))
            })
            .collect();
        Ok(List { object: "list", data })
    }

    /// The document about one model.
    pub fn describe(&self, asked: &str, plan: Option<&str>) -> Result<Model, Refusal> {
        self.find(asked, plan)?;
        self.entry(asked).map(|entry| Model::new(asked, entry)).ok_or_else(|| unknown(asked))
    }

    /// A name comes before the longest beginning that fits.
    fn entry(&self, asked: &str) -> Option<&Entry> {
        let named = self.entries.iter().find(|entry| {
            entry.name == Pattern::Name(asked.to_owned())
                || entry.aliases.iter().any(|alias| alias == asked)
        });
        named.or_else(|| {
            let fitting = self.entries.iter().filter_map(|entry| match &entry.name {
                Pattern::Prefix(prefix) if asked.starts_with(prefix) => Some((prefix.len(), entry)),
                _ => None,
            });
            // Of two that are equally long the first.
            fitting.rev().max_by_key(|(length, _)| *length).map(|(_, entry)| entry)
        })
    }

    fn terms(&self, plan: Option<&str>) -> Result<Option<&Plan>, Refusal> {
        let Some(plans) = &self.plans else { return Ok(None) };
        let name = plan.or(plans.default.as_deref());
        let terms = name.and_then(|name| plans.allowed.iter().find(|plan| plan.name == name));
        terms.map(Some).ok_or_else(|| {
            Refusal::new(
                Code::PlanUnknown,
                match name {
                    Some(_) => "the plan in the token is none that may call models",
                    None => "the token names no plan",
                },
            )
        })
    }
}

impl Entry {
    /// What the model is called that was asked for, maybe by an alias.
    fn name_of<'a>(&'a self, asked: &'a str) -> &'a str {
        match &self.name {
            Pattern::Name(name) => name,
            Pattern::Prefix(_) => asked,
        }
    }
}

impl Plan {
    fn allows(&self, entry: &Entry, asked: &str) -> bool {
        let name = entry.name_of(asked);
        self.models.iter().any(|pattern| pattern.matches(name))
    }
}

/// OpenAI's object `list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// OpenAI's object `model`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Model {
    id: String,
    object: &'static str,
    /// In seconds since 1970. Nobody here knows it, and clients want a number.
    created: u64,
    owned_by: String,
}

impl Model {
    fn new(id: &str, entry: &Entry) -> Self {
        Self {
            id: id.to_owned(),
            object: "model",
            created: 0,
            owned_by: entry.target.provider.clone(),
        }
    }
}

fn unknown(asked: &str) -> Refusal {
    // As much of the name as can be shown to a person.
    let shown: String = asked.chars().filter(|c| !c.is_control()).take(100).collect();
    Refusal::new(
        Code::ModelNotFound,
        format!("the model `{shown}` does not exist or you do not have access to it"),
    )
}

#[cfg(test)]
mod tests;
