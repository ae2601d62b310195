use serde_json::json;

use super::*;

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
    Ok(found.first.provider.to_owned())
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
        models.find(asked, Some("pro")).unwrap().first.model.to_owned()
    };
    assert_eq!(model(&models, "smart"), "gpt-4o");
    assert_eq!(model(&models, "gpt-5"), "gpt-5");
    models.entries[3].target.model = Some("gemini-2.5-pro".to_owned());
    assert_eq!(model(&models, "smart"), "gemini-2.5-pro");
    assert_eq!(model(&models, "gpt-4o"), "gemini-2.5-pro");
}

#[test]
fn a_model_is_asked_for_in_order_and_where_it_failed_only_if_it_failed_everywhere() {
    let mut models = models();
    let target = |provider: &str, model: Option<&str>| Target {
        provider: provider.to_owned(),
        model: model.map(str::to_owned),
    };
    models.entries[3].fallbacks =
        vec![target("openai", None), target("ollama", Some("llama3")), target("azure", None)];
    for (failing, expected) in [
        (&[][..], &["gemini/gpt-4o", "openai/gpt-4o", "ollama/llama3"][..]),
        (&["openai"], &["gemini/gpt-4o", "ollama/llama3", "azure/gpt-4o"]),
        (&["gemini"], &["openai/gpt-4o", "ollama/llama3", "azure/gpt-4o"]),
        (&["gemini", "openai", "azure"], &["ollama/llama3"]),
        (
            &["gemini", "openai", "ollama", "azure"],
            &["gemini/gpt-4o", "openai/gpt-4o", "ollama/llama3"],
        ),
    ] {
        let avoids = |provider: &str, _: &str| failing.contains(&provider);
        let found = models.find_but("smart", Some("pro"), avoids).unwrap();
        let places = std::iter::once(found.first).chain(found.fallbacks);
        let places: Vec<_> =
            places.map(|place| format!("{}/{}", place.provider, place.model)).collect();
        assert_eq!(places, expected, "{failing:?}");
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
    let model = |id: &str| json!({"id": id, "object": "model", "created": 0, "owned_by": "gemini"});
    let three = json!({"object": "list", "data": [
        model("gpt-4o"), model("default"), model("smart")]});
    assert_eq!(listed(Some("free")), three);
    assert_eq!(listed(None), three);
    assert_eq!(listed(Some("local")), json!({"object": "list", "data": []}));
    let described = models().describe("smart", None).unwrap();
    assert_eq!(serde_json::to_value(described).unwrap(), model("smart"));
    assert_eq!(models().describe("gpt-5", None).unwrap_err().code, Code::ModelNotFound);
}
