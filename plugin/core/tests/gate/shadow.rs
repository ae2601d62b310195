//! Shadow mode: what would be refused is told, and passes.

use kombi_spec::code::Code;
use serde_json::json;

use crate::{
    issuer::{SUBJECT, claims, key, with, with_roles},
    route::{Route, SIGNING_KEY, forwarded, header, refused, request, would_refuse},
};

fn route() -> Route {
    Route::new(&json!({
        "shadow": true,
        "roles": {"any_of": ["admin"]},
        "assertion": {"audience": "x", "signing_key": SIGNING_KEY},
    }))
}

#[test]
fn whoever_would_pass_passes_as_always() {
    let forward = forwarded(route().get(&key().token(&with_roles(&["admin"]))));
    assert_eq!(would_refuse(&forward), None);
    assert_eq!(header(&forward, "x-kombi-sub"), Some(SUBJECT));
    assert!(header(&forward, "x-kombi-assertion").is_some());
}

#[test]
fn a_verified_caller_without_the_role_is_named_but_not_vouched_for() {
    let forward = forwarded(route().get(&key().token(&with_roles(&["user"]))));
    assert_eq!(would_refuse(&forward), Some(Code::RoleMissing));
    assert_eq!(forward.would_refuse.as_ref().unwrap().subject.as_deref(), Some(SUBJECT));
    assert_eq!(header(&forward, "x-kombi-sub"), Some(SUBJECT));
    assert_eq!(header(&forward, "x-kombi-roles"), Some("user"));
    assert_eq!(header(&forward, "x-kombi-assertion"), None);
}

#[test]
fn a_caller_who_is_not_verified_passes_unnamed() {
    let good = key().token(&claims());
    let (message, _) = good.rsplit_once('.').unwrap();
    for (token, code) in [
        (format!("{message}.AAAA"), Code::SignatureInvalid),
        (key().token(&with("exp", json!(1))), Code::TokenExpired),
        (key().token(&with("aud", json!("x"))), Code::AudienceMismatch),
        ("opaque".to_owned(), Code::TokenMalformed),
    ] {
        let forward = forwarded(route().get(&token));
        assert_eq!(would_refuse(&forward), Some(code));
        assert_eq!((forward.identity, forward.headers.len()), (None, 0));
    }
    let forward = forwarded(route().send(request("GET", &[])));
    assert_eq!(would_refuse(&forward), Some(Code::TokenMissing));
}

#[test]
fn a_reserved_header_is_refused_even_so() {
    let authorization = format!("Bearer {}", key().token(&with_roles(&["admin"])));
    for headers in [
        vec![("X_Kombi_Sub", "1")],
        vec![("authorization", authorization.as_str()), ("x-kombi-roles", "admin")],
    ] {
        let reply = refused(route().send(request("GET", &headers)));
        assert_eq!(reply.refusal.code, Code::HeaderReserved);
    }
}
