use super::*;
use crate::{plan::PlanSource, roles::RoleSource, token::Algorithm};
use serde_json::{Value, json};
use std::time::Duration;

fn full() -> Value {
    json!({
        "access": "authenticated",
        "issuers": [{
            "issuer": "https://id.example",
            "audiences": ["273"],
            "algorithms": ["RS256", "EdDSA"],
            "project": "273",
            "plan": {"role_prefix": "plan:"},
        }],
        "roles": {
            "any_of": ["admin:tools"],
            "by_method": {"GET": {"all_of": ["user@1"]}},
            "implies": {"admin:super": ["admin:tools"]},
        },
        "organisations": ["1"],
        "allow_act": true,
        "assertion": {
            "audience": "kombi-exchange",
            "signing_key": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "bind": "request",
        },
        "exchange": {
            "url": "http://exchange.internal:8080",
            "signing_key": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
            "timeout_ms": 500,
        },
        "opaque_tokens_from": "https://id.example",
        "clock_skew_s": 7,
        "max_age_s": 3600,
        "max_token_bytes": 8192,
        "shadow": true,
    })
}

fn parse(value: &Value) -> Result<Policy, String> {
    Policy::parse(value.to_string().as_bytes()).map_err(|error| error.to_string())
}

/// `full()` with the value at the JSON pointer replaced.
fn changed(pointer: &str, value: Value) -> Value {
    let mut config = full();
    *config.pointer_mut(pointer).unwrap() = value;
    config
}

#[test]
fn a_full_configuration_becomes_rules() {
    let Ok(Policy::Authenticated(rules)) = parse(&full()) else { panic!("refused") };
    assert_eq!(rules.issuers[0].url.address, "id.example:443");
    assert_eq!(rules.issuers[0].algorithms, [Algorithm::RS256, Algorithm::EdDSA]);
    assert_eq!(rules.issuers[0].roles, RoleSource::Zitadel { project: Some("273".to_owned()) });
    assert_eq!(rules.issuers[0].plan, Some(PlanSource::RolePrefix("plan:".to_owned())));
    assert_eq!(rules.validity.clock_skew, Duration::from_secs(7));
    assert_eq!(rules.validity.max_age, Some(Duration::from_secs(3600)));
    assert_eq!(rules.max_token_bytes, 8192);
    assert_eq!(rules.demands.organisations, ["1"]);
    assert!(rules.demands.roles.is_some() && rules.demands.delegation && rules.shadow);
    assert!(rules.signer.is_some());
    let exchange = rules.exchange.unwrap();
    assert_eq!(exchange.url.address, "exchange.internal:8080");
    assert_eq!(exchange.timeout, Duration::from_millis(500));
    assert_eq!(rules.introspection.unwrap().issuer.url.text, "https://id.example");
}

#[test]
fn what_is_left_out_is_strict() {
    let issuer =
        json!({"issuer": "https://id.example", "audiences": ["a"], "algorithms": ["RS256"]});
    let config = json!({ "issuers": [issuer] });
    let Ok(Policy::Authenticated(rules)) = parse(&config) else { panic!("refused") };
    assert_eq!(rules.validity.clock_skew, Duration::from_secs(5));
    assert_eq!(rules.validity.max_age, None);
    assert_eq!(rules.max_token_bytes, 16_384);
    assert_eq!(rules.demands, Demands::default());
    assert!(!rules.demands.delegation && !rules.shadow && rules.signer.is_none());
    assert!(rules.exchange.is_none() && rules.introspection.is_none());
}

#[test]
fn access_is_denied_by_default() {
    assert!(matches!(parse(&json!({"access": "public"})), Ok(Policy::Public(_))));
    assert!(parse(&json!({})).is_err_and(|e| e == "issuers: expected at least one"));
}

#[test]
fn each_mistake_names_its_field() {
    let cases = [
        ("/access", json!("open"), "access"),
        ("/issuers", json!({}), "issuers: "),
        ("/issuers", json!({"a": 1}), "expected an array"),
        ("/issuers/0/issuer", json!("id.example"), "issuers[0].issuer"),
        ("/issuers/0/issuer", json!("ftp://id.example"), "issuers[0].issuer"),
        ("/issuers/0/issuer", json!("https://u:p@id.example"), "issuers[0].issuer"),
        ("/issuers/0/issuer", json!("https://id.example/#x"), "issuers[0].issuer"),
        ("/issuers/0/audiences", json!([]), "issuers[0].audiences"),
        ("/issuers/0/audiences", json!({}), "issuers[0].audiences"),
        ("/issuers/0/audiences", json!([273]), "issuers[0].audiences"),
        ("/issuers/0/algorithms", json!(["HS256"]), "issuers[0].algorithms"),
        ("/issuers/0/algorithms", json!(["none"]), "issuers[0].algorithms"),
        ("/issuers/0/audiences", json!([""]), "issuers[0].audiences"),
        ("/issuers/0/algorithms", json!(["ES256K"]), "issuers[0].algorithms"),
        ("/issuers/0/issuer", json!("https://id.example/?x=1"), "issuers[0].issuer"),
        ("/issuers/0/project", json!(""), "issuers[0].project"),
        ("/issuers/0/project", json!(273), "issuers[0].project"),
        ("/issuers/0/project", json!(null), "issuers[0].project"),
        ("/issuers/0/plan", json!({}), "issuers[0].plan"),
        ("/issuers/0/plan", json!({"role_prefix": "p", "claim": "c"}), "issuers[0].plan"),
        ("/issuers/0/plan", json!({"claim": ""}), "issuers[0].plan"),
        ("/roles", json!(null), "roles"),
        ("/roles", json!({}), "roles: "),
        ("/roles", json!({"implies": {"a": ["b"]}}), "roles: "),
        ("/roles", json!({"any_of": ["a@"]}), "roles.any_of"),
        ("/roles", json!({"any_of": [""]}), "roles.any_of"),
        ("/roles", json!({"all_of": {}}), "roles.all_of"),
        ("/roles/by_method", json!({}), "roles.by_method"),
        ("/roles/by_method", json!({"get": {"any_of": ["a"]}}), "roles.by_method.get"),
        ("/roles/by_method", json!({"GET": {}}), "roles.by_method.GET"),
        ("/roles/by_method", json!({"GET": {"any_of": []}}), "roles.by_method.GET.any_of"),
        ("/roles/implies", json!({"a": []}), "roles.implies.a"),
        ("/roles/implies", json!({"a@1": ["b"]}), "roles.implies.a@1"),
        ("/roles/implies", json!({"a": ["b@1"]}), "roles.implies.a"),
        ("/organisations", json!([]), "organisations"),
        ("/organisations", json!([1]), "organisations"),
        ("/allow_act", json!("yes"), "allow_act"),
        ("/shadow", json!(null), "shadow"),
        ("/max_age_s", json!(0), "max_age_s"),
        ("/max_token_bytes", json!(1023), "max_token_bytes"),
        ("/max_token_bytes", json!(65_537), "max_token_bytes"),
        ("/assertion/audience", json!(""), "assertion.audience"),
        ("/roles", json!({"any_of": []}), "roles.any_of"),
        ("/roles", json!({"anyof": ["a"]}), "anyof"),
        ("/assertion/signing_key", json!("AAAA"), "assertion.signing_key"),
        ("/assertion/bind", json!("path"), "assertion.bind"),
        ("/exchange", json!(null), "exchange"),
        ("/exchange", json!({}), "exchange"),
        ("/exchange/url", json!("exchange.internal:8080"), "exchange.url"),
        ("/exchange/url", json!("http://exchange.internal/"), "exchange.url"),
        ("/exchange/url", json!("http://exchange.internal/gate"), "exchange.url"),
        ("/exchange/url", json!("http://exchange.internal?x"), "exchange.url"),
        ("/exchange/signing_key", json!("AAAA"), "exchange.signing_key"),
        ("/exchange/timeout_ms", json!(99), "exchange.timeout_ms"),
        ("/exchange/timeout_ms", json!(10_001), "exchange.timeout_ms"),
        ("/opaque_tokens_from", json!(null), "opaque_tokens_from"),
        ("/opaque_tokens_from", json!(true), "opaque_tokens_from"),
        ("/opaque_tokens_from", json!("https://id.example/"), "opaque_tokens_from"),
        ("/clock_skew_s", json!(301), "clock_skew_s"),
        ("/clock_skew_s", json!(-1), "clock_skew_s"),
    ];
    for (pointer, value, expected) in cases {
        let error = parse(&changed(pointer, value)).err().unwrap();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
    let issuer = full()["issuers"][0].clone();
    let twice = changed("/issuers", json!([issuer, issuer]));
    assert!(parse(&twice).err().unwrap().contains("twice"));
}

#[test]
fn roles_are_read_from_one_place() {
    let mut config = full();
    config["issuers"][0]["roles_claim"] = json!("groups");
    assert!(parse(&config).err().unwrap().starts_with("issuers[0].roles_claim"));
    config["issuers"][0].as_object_mut().unwrap().remove("project");
    let Ok(Policy::Authenticated(rules)) = parse(&config) else { panic!("refused") };
    assert_eq!(rules.issuers[0].roles, RoleSource::Claim("groups".to_owned()));
}

#[test]
fn nothing_follows_the_configuration() {
    assert!(Policy::parse(br#"{"access":"public"} {}"#).is_err());
}

#[test]
fn an_unknown_field_is_a_mistake_not_a_wish() {
    let mut config = full();
    config["role"] = json!({"any_of": ["admin"]});
    assert!(parse(&config).err().unwrap().contains("role"));
}

#[test]
fn rules_on_a_public_route_are_a_mistake() {
    for field in
        ["roles", "organisations", "allow_act", "assertion", "exchange", "max_age_s", "shadow"]
    {
        let mut config = json!({"access": "public"});
        config[field] = full()[field].clone();
        assert!(parse(&config).err().unwrap().starts_with(field));
    }
}

#[test]
fn the_signing_key_is_in_no_error() {
    for (pointer, value) in [
        ("/assertion/signing_key", json!("c2VjcmV0")),
        ("/assertion/signing_key", json!(["c2VjcmV0"])),
        ("/assertion", json!("c2VjcmV0")),
        ("/assertion/bind", json!("c2VjcmV0")),
        ("/exchange/signing_key", json!("c2VjcmV0")),
        ("/exchange/signing_key", json!(["c2VjcmV0"])),
        ("/exchange", json!("c2VjcmV0")),
    ] {
        let error = parse(&changed(pointer, value)).err().unwrap();
        let field = pointer.split('/').nth(1).unwrap();
        assert!(error.starts_with(field) && !error.contains("c2Vj"), "{error}");
    }
}
