//! What holds for every token and every claim, tried with many made-up ones.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_gate_core::{
    roles::{Demand, Grants, Hierarchy, Need, RoleRules, RoleSource},
    token::Token,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const GENERAL: &str = "urn:zitadel:iam:org:project:roles";
const OURS: &str = "urn:zitadel:iam:org:project:7:roles";
const OTHERS: &str = "urn:zitadel:iam:org:project:8:roles";

fn role() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("admin:tools".to_owned()),
        Just("admin".to_owned()),
        Just("user.beta".to_owned()),
        Just(String::new()),
        "[a-c.:@]{1,3}",
    ]
}

fn organisation() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[1-3]"]
}

/// Anything but what a role claim should be.
fn nonsense() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(true)),
        Just(json!(0)),
        Just(json!({})),
        Just(json!([])),
        role().prop_map(Value::from),
    ]
}

fn granted_by() -> impl Strategy<Value = Value> {
    let domain = prop_oneof![3 => Just(json!("a.example")), 1 => nonsense()];
    let organisations = prop::collection::btree_map(organisation(), domain, 0..3);
    prop_oneof![
        4 => organisations.prop_map(|map| map.into_iter().collect()),
        1 => nonsense(),
    ]
}

fn by_role() -> impl Strategy<Value = Value> {
    prop::collection::btree_map(role(), granted_by(), 0..4).prop_map(|m| m.into_iter().collect())
}

fn claim() -> impl Strategy<Value = Value> {
    let entry = prop_oneof![role().prop_map(Value::from), by_role(), nonsense()];
    prop_oneof![
        3 => by_role(),
        2 => prop::collection::vec(entry, 0..4).prop_map(Value::from),
        1 => nonsense(),
    ]
}

fn claims() -> impl Strategy<Value = Value> {
    let names = prop_oneof![Just(GENERAL), Just(OURS), Just(OTHERS)];
    prop::collection::btree_map(names.prop_map(str::to_owned), claim(), 0..4)
        .prop_map(|claims| claims.into_iter().collect())
}

/// The second reading: asks of one role and organisation at a time, straight from the documents.
/// It shares no line with the gate's.
mod second_reading {
    use serde_json::Value;

    fn entry_grants(entry: &Value, role: &str, organisation: Option<&str>) -> bool {
        match entry {
            Value::String(name) => organisation.is_none() && name == role,
            Value::Object(_) => {
                let domains = &entry[role];
                match organisation {
                    Some("") => false,
                    Some(id) => domains.is_object() && domains[id].is_string(),
                    None => domains.as_object().is_some_and(|ids| {
                        ids.iter().any(|(id, domain)| !id.is_empty() && domain.is_string())
                    }),
                }
            }
            _ => false,
        }
    }

    pub(crate) fn grants(claims: &Value, role: &str, organisation: Option<&str>) -> bool {
        let (ours, others) = (&claims[super::OURS], &claims[super::OTHERS]);
        let claim = match (ours.is_null(), others.is_null()) {
            (false, _) => ours,
            (true, false) => return false,
            (true, true) => &claims[super::GENERAL],
        };
        if role.is_empty() {
            return false;
        }
        match claim {
            Value::Array(entries) => {
                entries.iter().any(|entry| entry_grants(entry, role, organisation))
            }
            Value::Object(_) => entry_grants(claim, role, organisation),
            _ => false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn roles_are_read_as_a_second_reading_reads_them(
        claims in claims(),
        asked in role(),
        organisation in prop::option::of("[1-3]"),
    ) {
        let source = RoleSource::Zitadel { project: Some("7".to_owned()) };
        let grants = Grants::read(claims.as_object().unwrap(), &source);
        for role in ["admin:tools", "admin", "user.beta", "", asked.as_str()] {
            for organisation in [None, Some("1"), Some("2"), Some("3"), Some("")] {
                let second = second_reading::grants(&claims, role, organisation);
                prop_assert_eq!(grants.hold(role, organisation), second, "{} {:?}", role, organisation);
            }
        }
        let named: BTreeSet<&str> = grants.names().collect();
        prop_assert!(named.iter().all(|role| second_reading::grants(&claims, role, None)));

        // And so does a rule that needs the role.
        let text = match &organisation {
            Some(id) => format!("{asked}@{id}"),
            None => asked.clone(),
        };
        if let Ok(need) = Need::parse(&text, &Hierarchy::default())
            && (organisation.is_some() || !asked.contains('@'))
        {
            let general = Some(Demand { any_of: vec![need], all_of: Vec::new() });
            let rules = RoleRules { general, by_method: [].into() };
            let second = second_reading::grants(&claims, &asked, organisation.as_deref());
            prop_assert_eq!(rules.check("GET", &grants).is_ok(), second);
        }
    }
}

/// What two thousand tries cover well enough.
fn some_tries() -> ProptestConfig {
    ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

fn base64url() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| URL_SAFE_NO_PAD.encode(bytes))
}

/// Something like a token: parts that are text, bytes, or JSON, and a few of each number.
fn tokenish() -> impl Strategy<Value = String> {
    let header = Just(URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k"}"#));
    let object = claims().prop_map(|value| URL_SAFE_NO_PAD.encode(value.to_string()));
    let part = prop_oneof![header, object, base64url(), "[A-Za-z0-9+/=_. -]{0,12}"];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.join("."))
}

proptest! {
    #![proptest_config(some_tries())]

    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}", token in tokenish()) {
        let _ = Token::parse(&text);
        let _ = Token::parse(&token);
    }

    #[test]
    fn what_is_read_has_one_spelling(token in tokenish()) {
        if Token::parse(&token).is_ok() {
            let parts: Vec<&str> = token.split('.').collect();
            prop_assert_eq!(parts.len(), 3);
            for part in parts {
                let bytes = URL_SAFE_NO_PAD.decode(part);
                prop_assert_eq!(bytes.map(|bytes| URL_SAFE_NO_PAD.encode(bytes)), Ok(part.to_owned()));
            }
        }
    }

    #[test]
    fn no_other_spelling_of_a_token_is_read(
        claims in claims(),
        signature in base64url(),
        at in any::<prop::sample::Index>(),
        stray in prop::sample::select(vec!['=', ' ', '\n', '+', '/', '.', '\u{e4}', '\0']),
    ) {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","kid":"k"}"#);
        let token = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        prop_assert!(Token::parse(&token).is_ok());
        let mut spelled = token.clone();
        spelled.insert(at.index(token.len() + 1), stray);
        prop_assert!(Token::parse(&spelled).is_err(), "{}", spelled);
    }
}
