//! What a verified token may do on a route, and what its upstream learns.

use kombi_spec::code::Code;
use serde_json::json;

use crate::{
    issuer::{ORGANISATION, SUBJECT, claims, key, with, with_roles},
    route::{Route, SIGNING_KEY, forwarded, header, refused},
};

const OWNER: &str = "urn:zitadel:iam:user:resourceowner:id";

#[test]
fn roles_that_imply_each_other_are_as_good_as_each_other() {
    let route = Route::new(&json!({"roles": {
        "any_of": ["write"],
        "implies": {"super": ["write"], "write": ["read"], "read": ["super"]},
    }}));
    for (role, passes) in [("read", true), ("write", true), ("super", true), ("other", false)] {
        assert_eq!(route.code_for("GET", &[role]).is_none(), passes, "{role}");
    }
}

#[test]
fn roles_are_needed_by_method_and_through_a_hierarchy() {
    let route = Route::new(&json!({"roles": {
        "any_of": ["write"],
        "by_method": {"GET": {"any_of": ["read"]}, "DELETE": {"all_of": ["write", "admin:tools"]}},
        "implies": {"admin:super": ["admin:tools", "write"], "write": ["read"]},
    }}));
    for (method, roles, passes) in [
        ("GET", &["read"][..], true),
        ("HEAD", &["read"], true),
        ("POST", &["read"], false),
        ("POST", &["write"], true),
        ("GET", &["write"], true),
        ("DELETE", &["write"], false),
        ("DELETE", &["write", "admin:tools"], true),
        ("DELETE", &["admin:super"], true),
        ("PATCH", &["admin:super"], true),
        ("PATCH", &["admin:tools"], false),
    ] {
        let expected = if passes { None } else { Some(Code::RoleMissing) };
        assert_eq!(route.code_for(method, roles), expected, "{method} {roles:?}");
    }
}

#[test]
fn a_role_must_come_from_the_organisation_named() {
    for (organisation, passes) in [(ORGANISATION, true), ("310000000000000002", false)] {
        let need = format!("admin:tools@{organisation}");
        let route = Route::new(&json!({"roles": {"any_of": [need]}}));
        assert_eq!(route.code_for("GET", &["admin:tools"]).is_none(), passes, "{organisation}");
    }
}

#[test]
fn only_members_of_the_organisations_pass() {
    let route = Route::new(&json!({"organisations": ["1", ORGANISATION]}));
    assert_eq!(route.code(&key().token(&with(OWNER, json!(ORGANISATION)))), None);
    for claims in [claims(), with(OWNER, json!("2")), with(OWNER, json!(null))] {
        let code = route.code(&key().token(&claims));
        assert_eq!(code, Some(Code::OrganisationForbidden), "{claims}");
    }
}

#[test]
fn delegated_tokens_pass_only_where_allowed() {
    for act in [json!({"sub": "1"}), json!({}), json!("1"), json!(false)] {
        let token = key().token(&with("act", act));
        assert_eq!(Route::new(&json!({})).code(&token), Some(Code::DelegationRefused));
        assert_eq!(Route::new(&json!({"allow_act": true})).code(&token), None);
    }
    assert_eq!(Route::new(&json!({})).code(&key().token(&with("act", json!(null)))), None);
}

#[test]
fn the_roles_needed_are_told_to_verified_callers_only() {
    let route = Route::new(&json!({"roles": {"any_of": ["admin:secret"]}}));
    let token = key().token(&with_roles(&["user"]));
    let refused_with = |token: &str| refused(route.get(token));
    let verified = refused_with(&token);
    assert_eq!(verified.refusal.subject.as_deref(), Some(SUBJECT));
    assert!(String::from_utf8_lossy(&verified.body).contains("admin:secret"));
    let (message, _) = token.rsplit_once('.').unwrap();
    for unverified in [format!("{message}.AAAA"), "a.b.c".to_owned(), String::new()] {
        let reply = refused_with(&unverified);
        assert_eq!(reply.refusal.subject, None);
        assert!(!String::from_utf8_lossy(&reply.body).contains("admin:secret"));
    }
}

#[test]
fn the_upstream_is_told_the_plan() {
    let route = |plan| {
        Route::new(&json!({"issuers": [{
            "issuer": crate::issuer::URL, "audiences": ["client"], "algorithms": ["EdDSA"],
            "project": crate::issuer::PROJECT, "plan": plan,
        }]}))
    };
    let by_role = route(json!({"role_prefix": "plan:"}));
    let token = key().token(&with_roles(&["user", "plan:pro"]));
    assert_eq!(header(&forwarded(by_role.get(&token)), "x-kombi-plan"), Some("pro"));
    let by_claim = route(json!({"claim": "plan"}));
    assert_eq!(header(&forwarded(by_claim.get(&token)), "x-kombi-plan"), None);
    let token = key().token(&with("plan", json!("team, annual")));
    let forward = forwarded(by_claim.get(&token));
    assert_eq!(header(&forward, "x-kombi-plan"), Some("team%2C%20annual"));
}

#[test]
fn an_assertion_is_signed_for_whoever_passes() {
    let assertion = json!({"audience": "reports", "signing_key": SIGNING_KEY, "bind": "nothing"});
    let route = Route::new(&json!({"assertion": assertion, "roles": {"any_of": ["user"]}}));
    let token = key().token(&with_roles(&["user"]));
    let first = forwarded(route.get(&token));
    let signed = header(&first, "x-kombi-assertion").unwrap();
    assert_eq!(header(&forwarded(route.get(&token)), "x-kombi-assertion"), Some(signed));
    let other = key().token(&with_roles(&["user", "admin"]));
    assert_ne!(header(&forwarded(route.get(&other)), "x-kombi-assertion"), Some(signed));
    // What the gate signs for upstreams is no way back in.
    assert_eq!(route.code(signed), Some(Code::TokenMalformed));
}
