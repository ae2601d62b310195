//! Who passes with which token.

use jsonwebtoken::Algorithm;
use kombi_spec::code::Code;
use serde_json::json;

use crate::{
    issuer::{self, Key, NOW_S, PROJECT, SUBJECT, claims, key, with},
    route::{self, Route, forwarded, header, refused, request},
};

#[test]
fn a_token_of_every_algorithm_passes() {
    for key in [
        Key::rsa("r", Algorithm::RS256),
        Key::rsa("r", Algorithm::RS512),
        Key::rsa("r", Algorithm::PS256),
        Key::p256("e", 7),
        Key::p384("f", 7),
        Key::ed25519("d", 7),
    ] {
        let token = key.token(&claims());
        let route = Route::with_issuers_keys(&[key]);
        let forward = forwarded(route.get(&token));
        assert_eq!(header(&forward, "x-kombi-sub"), Some(SUBJECT));
        assert_eq!(header(&forward, "x-kombi-issuer"), Some(issuer::URL));
        assert_eq!(forward.would_refuse, None);
    }
}

#[test]
fn the_upstream_is_told_the_id_of_every_request_that_passes() {
    let authorization = format!("Bearer {}", key().token(&claims()));
    let with_token = vec![("authorization", authorization.as_str())];
    for (route, headers, others) in [
        (Route::with_keys(&json!({"access": "public"}), &[]), vec![], 0),
        (Route::new(&json!({"shadow": true})), vec![], 0),
        (Route::new(&json!({})), with_token, 3),
    ] {
        let (passage, step) = route.begin(request("GET", &headers));
        let forward = forwarded(step);
        let set: Vec<_> = passage.headers(&forward).collect();
        assert_eq!(set.len(), others + 1, "{set:?}");
        assert_eq!(set.last(), Some(&("x-kombi-request-id", "r1")));
    }
}

#[test]
fn a_key_serves_its_own_algorithms_only() {
    let route = Route::with_issuers_keys(&[
        Key::rsa("rsa", Algorithm::RS256),
        Key::p256("p256", 7),
        Key::p384("p384", 7),
        Key::ed25519("ed", 7),
    ]);
    let pss = Key::rsa("rsa", Algorithm::PS256).token(&claims());
    assert_eq!(route.code(&pss), Some(Code::AlgorithmRefused));
    for (alg, kid) in [("ES256", "rsa"), ("RS256", "ed"), ("ES384", "p256"), ("EdDSA", "p384")] {
        let token = key().sign(&json!({"alg": alg, "kid": kid}), &claims());
        assert_eq!(route.code(&token), Some(Code::AlgorithmRefused), "{alg} {kid}");
    }
}

#[test]
fn a_changed_token_is_refused() {
    let route = Route::new(&json!({}));
    let token = key().token(&claims());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let other = key().token(&with("sub", json!("1")));
    let (other_message, other_signature) = other.rsplit_once('.').unwrap();
    assert_eq!(route.code(&token), None);
    for changed in [
        format!("{message}.{other_signature}"),
        format!("{other_message}.{signature}"),
        format!("{message}."),
        format!("{message}.{}", "A".repeat(86)),
        Key::ed25519("main", 8).token(&claims()),
    ] {
        assert_eq!(route.code(&changed), Some(Code::SignatureInvalid), "{changed}");
    }
    for mangled in [
        format!("{message}.{signature}="),
        format!("{message}.{signature}AA.AA"),
        format!("{header}..{signature}"),
        format!(".{message}.{signature}"),
    ] {
        let code = route.code(&mangled).unwrap();
        assert!(
            [Code::TokenMalformed, Code::SignatureInvalid].contains(&code),
            "{mangled}: {code:?}"
        );
    }
}

#[test]
fn every_stray_bit_of_a_signature_is_refused() {
    let route = Route::new(&json!({}));
    let token = key().token(&claims());
    // 64 bytes are 86 characters, the last of which has four unused bits.
    let (start, last) = token.split_at(token.len() - 1);
    for character in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars() {
        let code = route.code(&format!("{start}{character}"));
        assert_eq!(code.is_none(), last == character.to_string(), "{character}");
    }
}

#[test]
fn each_issuer_has_its_own_audiences_algorithms_keys_and_roles() {
    let other = "https://other.example";
    let route = Route::with_keys(
        &json!({
            "issuers": [
                {"issuer": issuer::URL, "audiences": [PROJECT], "algorithms": ["EdDSA"], "project": PROJECT},
                {"issuer": other, "audiences": ["portal"], "algorithms": ["ES256"], "roles_claim": "groups"},
            ],
            "roles": {"any_of": ["staff"]},
        }),
        &[(issuer::URL, &[key()]), (other, &[Key::p256("main", 9)])],
    );
    let theirs = |name: &str, value| {
        let mut claims = with(name, value);
        claims["iss"] = other.into();
        claims
    };
    let mut good = theirs("aud", json!("portal"));
    good["groups"] = json!(["staff"]);
    let foreign = Key::p256("main", 9);
    assert_eq!(route.code(&foreign.token(&good)), None);
    assert_eq!(route.code_for("GET", &["staff"]), None);
    good["aud"] = json!(PROJECT);
    assert_eq!(route.code(&foreign.token(&good)), Some(Code::AudienceMismatch));
    good["aud"] = json!("portal");
    assert_eq!(route.code(&key().token(&good)), Some(Code::AlgorithmRefused));
    assert_eq!(route.code(&Key::p256("main", 10).token(&good)), Some(Code::SignatureInvalid));
    // The other issuer's claim means nothing in our tokens.
    let ours = with("groups", json!(["staff"]));
    assert_eq!(route.code(&key().token(&ours)), Some(Code::RolesNotAsserted));
    for iss in [format!("{}/", issuer::URL), "HTTPS://id.example".to_owned(), String::new()] {
        assert_eq!(route.code(&key().token(&with("iss", json!(iss)))), Some(Code::IssuerUnknown));
    }
}

#[test]
fn the_dates_of_a_token_are_checked_against_the_given_moment() {
    let route = Route::new(&json!({"clock_skew_s": 10, "max_age_s": 600}));
    for (name, value, expected) in [
        ("exp", json!(NOW_S - 9), None),
        ("exp", json!(NOW_S - 10), Some(Code::TokenExpired)),
        ("nbf", json!(NOW_S + 10), None),
        ("nbf", json!(NOW_S + 11), Some(Code::TokenNotYetValid)),
        ("iat", json!(NOW_S - 609), None),
        ("iat", json!(NOW_S - 610), Some(Code::TokenTooOld)),
        ("exp", json!("never"), Some(Code::TokenMalformed)),
    ] {
        assert_eq!(route.code(&key().token(&with(name, value))), expected, "{name}");
    }
}

#[test]
fn a_long_token_is_refused_before_it_is_read() {
    let token = key().token(&with("x", json!("y".repeat(2000))));
    let code = |bytes| Route::new(&json!({ "max_token_bytes": bytes })).code(&token);
    assert_eq!(code(token.len()), None);
    assert_eq!(code(token.len() - 1), Some(Code::CredentialsMalformed));
    let default = key().token(&with("x", json!("y".repeat(16_384))));
    assert_eq!(Route::new(&json!({})).code(&default), Some(Code::CredentialsMalformed));
}

#[test]
fn an_opaque_token_is_refused_with_advice() {
    let reply = refused(Route::new(&json!({})).get("dGhlX3BlcnNvbmFsX2FjY2Vzc190b2tlbg"));
    assert_eq!(reply.refusal.code, Code::TokenMalformed);
    assert!(reply.refusal.detail.contains("personal access tokens"), "{}", reply.refusal.detail);
}

#[test]
fn no_answer_repeats_a_part_of_the_token() {
    let route = Route::new(&json!({"roles": {"any_of": ["admin"]}}));
    let good = key().token(&claims());
    for token in [good.clone(), format!("{good}A"), format!("{good}.x.y"), good.replace('.', "")] {
        let reply = refused(route.get(&token));
        let said = format!("{} {:?}", String::from_utf8_lossy(&reply.body), reply.refusal);
        assert!(token.split('.').all(|part| part.len() < 8 || !said.contains(part)), "{said}");
    }
}

#[test]
fn a_grpc_client_is_refused_in_its_own_terms() {
    let route = Route::new(&json!({"roles": {"any_of": ["admin"]}}));
    let token = format!("Bearer {}", key().token(&claims()));
    let grpc = ("content-type", "application/grpc+proto");
    for (headers, status) in [
        (vec![grpc], "16"),
        (vec![grpc, ("authorization", token.as_str())], "7"),
        (vec![grpc, ("x-kombi-sub", "1")], "3"),
    ] {
        let reply = refused(route.send(request("POST", &headers)));
        let found = reply.headers.iter().find(|(name, _)| *name == "grpc-status");
        assert_eq!((reply.status, found.unwrap().1.as_str()), (200, status));
    }
}

#[test]
fn an_unusable_configuration_refuses_everybody() {
    for configuration in [json!({"shadow": true}), json!({"issuers": 5, "shadow": true}), json!([])]
    {
        let route = Route::with_keys(&configuration, &[]);
        let step = route.get(&key().token(&claims()));
        assert_eq!(route::code(&step), Some(Code::ConfigurationInvalid), "{configuration}");
        assert_eq!(refused(step).status, 503);
    }
}
