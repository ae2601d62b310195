//! Tokens shaped as Zitadel makes them.

use kombi_spec::code::Code;
use serde_json::{Value, json};

use crate::{
    issuer::{NOW_S, ORGANISATION, PROJECT, SUBJECT, URL, key, with},
    route::{Route, forwarded, header},
};

/// An access token of the code flow, with roles asserted and the organisation asked for.
fn access_token() -> Value {
    let roles = json!({"user": {ORGANISATION: "acme.id.example"}, "admin:tools": {ORGANISATION: "acme.id.example"}});
    json!({
        "iss": URL,
        "sub": SUBJECT,
        "aud": ["280000000000000001", "280000000000000002", PROJECT],
        "exp": NOW_S + 43_200,
        "iat": NOW_S,
        "nbf": NOW_S,
        "client_id": "280000000000000001",
        "jti": "V2_300000000000000001-at_300000000000000002",
        "urn:zitadel:iam:org:project:roles": roles,
        format!("urn:zitadel:iam:org:project:{PROJECT}:roles"): roles,
        "urn:zitadel:iam:user:resourceowner:id": ORGANISATION,
        "urn:zitadel:iam:user:resourceowner:name": "Acme",
        "urn:zitadel:iam:user:resourceowner:primary_domain": "acme.id.example",
    })
}

/// The ID token that goes with it.
fn id_token() -> Value {
    let mut claims = access_token();
    let claims_of = claims.as_object_mut().unwrap();
    claims_of.remove("jti");
    claims_of.remove("nbf");
    for (name, value) in [
        ("azp", json!("280000000000000001")),
        ("amr", json!(["pwd", "mfa"])),
        ("auth_time", json!(NOW_S - 30)),
        ("at_hash", json!("PMyBBZfbU7zvyoKzIHJt1Q")),
        ("sid", json!("V1_300000000000000003")),
        ("name", json!("Ada Lovelace")),
        ("email", json!("ada@example.com")),
        ("email_verified", json!(true)),
        ("preferred_username", json!("ada@acme.id.example")),
    ] {
        claims_of.insert(name.to_owned(), value);
    }
    claims
}

fn without(mut claims: Value, names: &[&str]) -> Value {
    for name in names {
        claims.as_object_mut().unwrap().remove(*name);
    }
    claims
}

fn route() -> Route {
    Route::new(&json!({"roles": {"any_of": ["admin:tools", "admin:super"]}}))
}

#[test]
fn an_access_token_passes_with_its_roles_and_organisation() {
    let forward = forwarded(route().get(&key().token(&access_token())));
    assert_eq!(header(&forward, "x-kombi-sub"), Some(SUBJECT));
    assert_eq!(header(&forward, "x-kombi-org"), Some(ORGANISATION));
    assert_eq!(header(&forward, "x-kombi-roles"), Some("admin:tools,user"));
}

#[test]
fn an_access_token_that_an_action_completed_passes() {
    let mut claims = access_token();
    for (name, value) in [
        ("email", json!("ada@example.com")),
        ("email_verified", json!(true)),
        ("name", json!("Ada Lovelace")),
        ("preferred_username", json!("ada@acme.id.example")),
        ("groups", json!(["a"])),
        ("azp", json!("280000000000000001")),
        ("urn:zitadel:iam:user:metadata", json!({"a": "YQ"})),
        ("urn:zitadel:iam:action:complete:log", json!(["x"])),
    ] {
        claims[name] = value;
    }
    assert_eq!(route().code(&key().token(&claims)), None);
}

#[test]
fn access_tokens_of_machines_pass() {
    // Client credentials and JWT profile: the user is a machine, the client its name.
    let mut claims = access_token();
    claims["client_id"] = json!("backup-robot");
    claims["aud"] = json!([PROJECT]);
    assert_eq!(route().code(&key().token(&claims)), None);
    claims["aud"] = json!(PROJECT);
    assert_eq!(route().code(&key().token(&claims)), None);
}

#[test]
fn an_id_token_is_refused_whatever_it_lacks() {
    for lacking in [
        &[][..],
        &["at_hash"],
        &["at_hash", "sid"],
        &["at_hash", "sid", "amr", "auth_time"],
        &["at_hash", "azp", "amr", "auth_time"],
    ] {
        let claims = without(id_token(), lacking);
        assert_eq!(
            route().code(&key().token(&claims)),
            Some(Code::NotAnAccessToken),
            "{lacking:?}"
        );
    }
}

#[test]
fn an_impersonators_token_is_refused_unless_allowed() {
    let mut claims = access_token();
    claims["act"] = json!({"iss": URL, "sub": "290000000000000009", "act": {"sub": "2"}});
    let token = key().token(&claims);
    assert_eq!(route().code(&token), Some(Code::DelegationRefused));
    let allowed = Route::new(&json!({"allow_act": true}));
    assert_eq!(allowed.code(&token), None);
}

#[test]
fn a_token_without_the_projects_audience_is_told_which_scope_to_ask_for() {
    let mut claims = access_token();
    claims["aud"] = json!(["280000000000000001", "280000000000000002"]);
    let token = key().token(&claims);
    assert_eq!(route().code(&token), Some(Code::AudienceScopeMissing));
    for code in [Code::AudienceScopeMissing, Code::AudienceMismatch] {
        assert!(code.advice().contains("urn:zitadel:iam:org:project:id:PROJECT_ID:aud"));
    }
    // Not for its own application either, or nobody can tell.
    for client in [json!("290000000000000001"), json!(["280000000000000001"]), json!(null)] {
        claims["client_id"] = client;
        assert_eq!(route().code(&key().token(&claims)), Some(Code::AudienceMismatch));
    }
    claims["azp"] = json!("280000000000000002");
    assert_eq!(route().code(&key().token(&claims)), Some(Code::AudienceScopeMissing));
}

#[test]
fn a_token_without_roles_is_told_of_the_projects_setting() {
    let scoped = format!("urn:zitadel:iam:org:project:{PROJECT}:roles");
    let claims = without(access_token(), &["urn:zitadel:iam:org:project:roles", &scoped]);
    assert_eq!(route().code(&key().token(&claims)), Some(Code::RolesNotAsserted));
    assert!(Code::RolesNotAsserted.advice().contains("Assert Roles on Authentication"));
    // A route without roles does not care.
    assert_eq!(Route::new(&json!({})).code(&key().token(&claims)), None);
}

#[test]
fn an_admin_of_another_project_is_none_of_ours() {
    let scoped = format!("urn:zitadel:iam:org:project:{PROJECT}:roles");
    let mut claims = without(access_token(), &[&scoped]);
    let roles = claims["urn:zitadel:iam:org:project:roles"].clone();
    claims["urn:zitadel:iam:org:project:999:roles"] = roles;
    assert_eq!(route().code(&key().token(&claims)), Some(Code::RolesNotAsserted));
}

#[test]
fn roles_of_every_shape_are_read() {
    let name = format!("urn:zitadel:iam:org:project:{PROJECT}:roles");
    for (claim, expected) in [
        (json!({"admin:tools": {"1": "a.example"}}), None),
        (json!([{"admin:tools": {"1": "a.example"}}]), None),
        (json!(["admin:tools"]), None),
        (json!({"admin:toolsmith": {"1": "a.example"}}), Some(Code::RoleMissing)),
        (json!({"admin": {"tools": "a.example"}}), Some(Code::RoleMissing)),
        (json!({"admin:tools": {}}), Some(Code::RoleMissing)),
        (json!("admin:tools"), Some(Code::RoleMissing)),
        (json!({}), Some(Code::RoleMissing)),
        (json!([]), Some(Code::RoleMissing)),
        (json!(true), Some(Code::RoleMissing)),
        (json!(null), Some(Code::RolesNotAsserted)),
    ] {
        let code = route().code(&key().token(&with(&name, claim.clone())));
        assert_eq!(code, expected, "{claim}");
    }
}
