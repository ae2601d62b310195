//! The published examples of RFC 7515 appendix A, RFC 7520 section 4 and RFC 8037 appendix A.
//!
//! The JSON serializations among them are made here of the others' parts: none is read. RFC 8037
//! A.1 to A.3 are the key of A.4 and its thumbprint; A.5 verifies A.4; the rest is about encryption.

use kombi_gate_core::{
    jwks::KeySet,
    token::{Algorithm, Token},
};
use kombi_spec::code::Code;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    issuer::{claims, key},
    route::Route,
};

#[derive(Deserialize)]
struct Vector {
    source: String,
    key: Value,
    alg: String,
    jws: String,
    expected: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/jws.json")).unwrap()
}

/// The vector's key as an issuer would publish it. The examples have no `kid`, or another.
fn published(vector: &Vector) -> Option<KeySet> {
    let mut key = vector.key.clone();
    key["kid"] = json!("k");
    KeySet::parse(json!({ "keys": [key] }).to_string().as_bytes()).ok()
}

#[test]
fn every_signature_that_can_be_verified_is() {
    for vector in vectors().iter().filter(|vector| vector.expected == "verified") {
        let set = published(vector).unwrap();
        let key = set.get("k").unwrap();
        let algorithm: Algorithm = vector.alg.parse().unwrap();
        let (message, signature) = vector.jws.rsplit_once('.').unwrap();
        assert!(key.verifies(message, signature, algorithm), "{}", vector.source);
        assert!(!key.verifies(&format!("{message}A"), signature, algorithm), "{}", vector.source);
        let flipped: String = signature.chars().rev().collect();
        assert!(!key.verifies(message, &flipped, algorithm), "{}", vector.source);
        assert!(!key.verifies(message, "", algorithm), "{}", vector.source);
    }
    assert_eq!(vectors().iter().filter(|vector| vector.expected == "verified").count(), 7);
}

#[test]
fn unsigned_tokens_and_shared_secrets_are_refused_with_their_keys_at_hand() {
    for vector in vectors().iter().filter(|vector| vector.expected == "refused") {
        assert!(published(vector).is_none(), "{}", vector.source);
        assert!(Token::parse(&vector.jws).is_err(), "{}", vector.source);
    }
}

/// RFC 7515 A.6 and A.7, and the shapes of RFC 7520 4.6 and 4.7: JSON serializations, made of the
/// signatures of A.2 and A.3, which are good.
#[test]
fn json_serializations_are_refused_however_good_their_signatures() {
    let vectors = vectors();
    let parts = |source: &str| {
        let vector = vectors.iter().find(|vector| vector.source == source).unwrap();
        let mut parts = vector.jws.split('.').map(str::to_owned);
        [parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap()]
    };
    let [rs256, payload, by_rs256] = parts("RFC 7515 A.2");
    let [es256, _, by_es256] = parts("RFC 7515 A.3");
    let kid = json!({"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"});
    let general = json!({"payload": payload, "signatures": [
        {"protected": rs256, "header": {"kid": "2010-12-29"}, "signature": by_rs256},
        {"protected": es256, "header": kid, "signature": by_es256},
    ]});
    let flattened =
        json!({"payload": payload, "protected": es256, "header": kid, "signature": by_es256});
    let unprotected =
        json!({"payload": payload, "header": {"alg": "ES256"}, "signature": by_es256});
    let route = Route::new(&json!({}));
    for json in [general, flattened, unprotected] {
        assert_eq!(route.code(&json.to_string()), Some(Code::TokenMalformed), "{json}");
    }
}

/// RFC 7520 4.5, and the same of a token that is good: the payload is elsewhere.
#[test]
fn detached_payloads_are_refused() {
    let good = key().token(&claims());
    let route = Route::new(&json!({}));
    assert_eq!(route.code(&good), None);
    for jws in vectors().into_iter().map(|vector| vector.jws).chain([good]) {
        let parts: Vec<&str> = jws.split('.').collect();
        let detached = format!("{}..{}", parts[0], parts[2]);
        assert!(Token::parse(&detached).is_err(), "{jws}");
        assert!(route.code(&detached).is_some(), "{jws}");
    }
}
