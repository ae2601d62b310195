//! The published examples of RFC 7515 appendix A, RFC 7520 section 4 and RFC 8037 appendix A.

use kombi_gate_core::{
    jwks::KeySet,
    token::{Algorithm, Token},
};
use serde::Deserialize;
use serde_json::{Value, json};

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
