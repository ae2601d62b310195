//! Which models there are, who may use which, and which provider has them.

use kombi_spec::{code::Code, usage::MAX_MODEL_BYTES};
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The provider that has it.
    pub provider: &'a str,
    /// What the provider calls it.
    pub model: &'a str,
    /// The plan that allows it, if plans matter.
    pub plan: Option<&'a str>,
    /// Whether the call may leave when the exchange does not answer.
    pub without_ledger: bool,
}

impl Models {
    /// The model that a user on `plan` calls `asked`.
    ///
    /// One that does not exist and one that the plan does not allow look the same, as they do at
    /// OpenAI.
    pub fn find<'a>(&'a self, asked: &'a str, plan: Option<&str>) -> Result<Allowed<'a>, Refusal> {
        self.find_but(asked, plan, |_, _| false)
    }

    /// The same, at the first provider that `avoids` does not speak against for its model; at the
    /// first of all if there is none.
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
            (target.provider.as_str(), model)
        };
        let first = there(&entry.target);
        let (provider, model) = std::iter::once(first)
            .chain(entry.fallbacks.iter().map(there))
            .find(|(provider, model)| !avoids(provider, model))
            .unwrap_or(first);
        Ok(Allowed {
            provider,
            model,
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
mod tests {
    use super::*;
    use serde_json::json;

    fn entry(name: &str, aliases: &[&str], provider: &str) -> Entry {
        let target = Target { provider: provider.to_owned(), model: None };
        Entry {
            name: Pattern::parse(name).unwrap(),
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
            target,
            fallbacks: Vec::new(),
        }
    }

    fn plan(name: &str, models: &[&str]) -> Plan {
        let models = models.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        Plan { name: name.to_owned(), models, without_ledger: name == "local" }
    }

    fn models() -> Models {
        Models {
            entries: vec![
                entry("*", &[], "ollama"),
                entry("gpt-*", &[], "openai"),
                entry("gpt-4o-*", &[], "azure"),
                entry("gpt-4o", &["default", "smart"], "gemini"),
            ],
            plans: Some(Plans {
                allowed: vec![
                    plan("free", &["gpt-4o", "llama*"]),
                    plan("pro", &["*"]),
                    plan("local", &["llama3"]),
                ],
                default: Some("free".to_owned()),
            }),
        }
    }

    fn provider(models: &Models, asked: &str, plan: Option<&str>) -> Result<String, Code> {
        let found = models.find(asked, plan).map_err(|refusal| refusal.code)?;
        Ok(found.provider.to_owned())
    }

    #[test]
    fn a_name_comes_before_an_alias_a_beginning_and_everything() {
        let models = models();
        for (asked, expected) in [
            ("gpt-4o", "gemini"),
            ("smart", "gemini"),
            ("gpt-4o-mini", "azure"),
            ("gpt-5", "openai"),
            ("gpt-", "openai"),
            ("mistral", "ollama"),
        ] {
            assert_eq!(provider(&models, asked, Some("pro")).as_deref(), Ok(expected), "{asked}");
        }
    }

    #[test]
    fn a_plan_allows_what_it_lists_under_any_of_its_names() {
        let models = models();
        for (asked, plan, allowed) in [
            ("gpt-4o", Some("free"), true),
            ("smart", Some("free"), true),
            ("llama3", Some("free"), true),
            ("gpt-5", Some("free"), false),
            ("gpt-4o-mini", Some("free"), false),
            ("gpt-4o", None, true),
            ("gpt-5", None, false),
        ] {
            let expected = if allowed { Ok(()) } else { Err(Code::ModelNotFound) };
            assert_eq!(provider(&models, asked, plan).map(drop), expected, "{asked} {plan:?}");
        }
        assert_eq!(provider(&models, "gpt-4o", Some("gold")), Err(Code::PlanUnknown));
        assert!(models.find("llama3", Some("local")).unwrap().without_ledger);
        let nobodys = Models { plans: None, ..models };
        assert_eq!(provider(&nobodys, "gpt-5", Some("gold")).as_deref(), Ok("openai"));
    }

    #[test]
    fn the_provider_is_asked_for_its_own_name_and_never_for_an_alias() {
        let mut models = models();
        let model = |models: &Models, asked: &str| {
            models.find(asked, Some("pro")).unwrap().model.to_owned()
        };
        assert_eq!(model(&models, "smart"), "gpt-4o");
        assert_eq!(model(&models, "gpt-5"), "gpt-5");
        models.entries[3].target.model = Some("gemini-2.5-pro".to_owned());
        assert_eq!(model(&models, "smart"), "gemini-2.5-pro");
        assert_eq!(model(&models, "gpt-4o"), "gemini-2.5-pro");
    }

    #[test]
    fn where_a_model_fails_its_next_provider_is_asked_in_order() {
        let mut models = models();
        let target = |provider: &str, model: Option<&str>| Target {
            provider: provider.to_owned(),
            model: model.map(str::to_owned),
        };
        models.entries[3].fallbacks =
            vec![target("openai", None), target("ollama", Some("llama3"))];
        for (failing, expected) in [
            (&[][..], ("gemini", "gpt-4o")),
            (&["openai"], ("gemini", "gpt-4o")),
            (&["gemini"], ("openai", "gpt-4o")),
            (&["gemini", "openai"], ("ollama", "llama3")),
            (&["gemini", "openai", "ollama"], ("gemini", "gpt-4o")),
        ] {
            let avoids = |provider: &str, _: &str| failing.contains(&provider);
            let found = models.find_but("smart", Some("pro"), avoids).unwrap();
            assert_eq!((found.provider, found.model), expected, "{failing:?}");
        }
    }

    #[test]
    fn what_is_no_name_is_no_model() {
        let models = models();
        for asked in ["", "a b", "a\"b", "a\\b", "gpt-*", "caf\u{e9}", "\u{0}", &"x".repeat(129)] {
            assert_eq!(provider(&models, asked, Some("pro")), Err(Code::ModelNotFound), "{asked}");
        }
        for text in ["", "a*b", "**", "a b*"] {
            assert_eq!(Pattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_list_has_what_the_plan_may_use_and_has_a_name() {
        let listed = |plan| serde_json::to_value(models().list(plan).unwrap()).unwrap();
        let model =
            |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "gemini"});
        let three = json!({"object": "list", "data": [
            model("gpt-4o"), model("default"), model("smart")]});
        assert_eq!(listed(Some("free")), three);
        assert_eq!(listed(None), three);
        assert_eq!(listed(Some("local")), json!({"object": "list", "data": []}));
        let described = models().describe("smart", None).unwrap();
        assert_eq!(serde_json::to_value(described).unwrap(), model("smart"));
        assert_eq!(models().describe("gpt-5", None).unwrap_err().code, Code::ModelNotFound);
    }
}
