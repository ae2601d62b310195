use super::*;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

/// The key of RFC 8037 appendix A.2.
fn ed25519(kid: &str) -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid,
           "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

fn rsa(kid: &str, bytes: usize) -> Value {
    let n = URL_SAFE_NO_PAD.encode(vec![0xC5; bytes]);
    json!({"kty": "RSA", "kid": kid, "n": n, "e": "AQAB"})
}

/// A modulus of `bytes` bytes, from its first and last byte.
fn modulus(kid: &str, first: u8, bytes: usize, last: u8) -> Value {
    let mut n = vec![first; bytes];
    n[bytes - 1] = last;
    with(rsa(kid, bytes), "n", json!(URL_SAFE_NO_PAD.encode(n)))
}

/// The key of RFC 7515 appendix A.3.
fn ec(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-256", "kid": kid,
           "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
           "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

/// The key of RFC 7515 appendix A.4.
fn p521(kid: &str) -> Value {
    json!({"kty": "EC", "crv": "P-521", "kid": kid,
           "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
           "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"})
}

fn parse(keys: &[Value]) -> Result<KeySet, JwksError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn the_key_decides_which_algorithms_it_serves() {
    let set = parse(&[
        ed25519("ed"),
        rsa("any", 256),
        with(rsa("one", 256), "alg", json!("RS256")),
        p521("p521"),
    ])
    .unwrap();
    assert_eq!(set.get("p521").unwrap().algorithms, [Algorithm::ES512]);
    assert_eq!(set.get("ed").unwrap().algorithms, [Algorithm::EdDSA]);
    assert_eq!(set.get("any").unwrap().algorithms.len(), 6);
    assert_eq!(set.get("one").unwrap().algorithms, [Algorithm::RS256]);
}

#[test]
fn keys_that_cannot_verify_tokens_are_passed_over() {
    for unusable in [
        rsa("k", 128),
        rsa("k", 513),
        rsa("k", 1024),
        // 2047 bits; an even number; all zeros.
        modulus("k", 0x45, 256, 0xC5),
        modulus("k", 0xC5, 256, 0xC4),
        modulus("k", 0, 256, 0),
        with(rsa("k", 256), "e", json!("AA")),
        with(rsa("k", 256), "e", json!("AQ")),
        with(rsa("k", 256), "e", json!("AAAB")),
        with(rsa("k", 256), "e", json!("AQABAQAB")),
        with(rsa("k", 256), "e", json!("")),
        with(rsa("k", 256), "e", json!("AQAB=")),
        with(rsa("k", 256), "n", json!("!")),
        with(rsa("k", 256), "n", json!("")),
        with(rsa("k", 256), "d", json!("AQAB")),
        with(rsa("k", 256), "use", json!("enc")),
        with(rsa("k", 256), "alg", json!("RSA-OAEP")),
        with(rsa("k", 256), "alg", json!("HS256")),
        with(rsa("k", 256), "alg", json!("ES256")),
        with(ec("k"), "alg", json!("ES384")),
        with(ec("k"), "crv", json!("P-384")),
        with(ec("k"), "crv", json!("P-521")),
        with(ec("k"), "crv", json!("secp256k1")),
        with(ec("k"), "kty", json!("OKP")),
        with(ec("k"), "y", json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1")),
        with(ec("k"), "y", ec("k")["x"].clone()),
        with(ec("k"), "d", json!("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")),
        with(p521("k"), "alg", json!("ES384")),
        with(p521("k"), "alg", json!("ES256")),
        with(p521("k"), "crv", json!("P-384")),
        with(p521("k"), "y", p521("k")["x"].clone()),
        with(
            p521("k"),
            "y",
            json!(
                "NKZEDjdnUNI3H9G9wsjztx0vTuXqNDLIFcyjFWD-XZOH7HdLVYOGMOXLv1qMvgqR3QBkxpmaH25uZ_rd7eTIyPY"
            ),
        ),
        with(p521("k"), "use", json!("enc")),
        with(p521("k"), "d", json!("AA")),
        // No point of the curve has this y.
        with(ed25519("k"), "x", json!("AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        with(ed25519("k"), "key_ops", json!([])),
        with(ed25519("k"), "key_ops", json!("verify")),
        with(ed25519("k"), "use", json!("enc")),
        with(ed25519("k"), "key_ops", json!(["sign"])),
        with(ed25519("k"), "alg", json!("RS256")),
        with(ed25519("k"), "alg", json!("none")),
        with(ed25519("k"), "crv", json!("X25519")),
        with(ed25519("k"), "x", json!("AAAA")),
        with(ed25519("k"), "kid", json!("")),
        with(ed25519("k"), "kid", json!(1)),
        json!({"kty": "oct", "kid": "k", "k": "c2VjcmV0"}),
        json!({"kty": "EC", "crv": "P-256", "kid": "k", "x": "AAAA", "y": "AAAA"}),
        json!("nonsense"),
    ] {
        let set = parse(&[ed25519("good"), unusable.clone()]).unwrap();
        assert!(set.get("k").is_none(), "{unusable}");
        assert!(set.get("good").is_some());
    }
}

#[test]
fn sound_keys_of_any_accepted_size_are_kept() {
    for sound in [
        rsa("k", 256),
        rsa("k", 512),
        with(rsa("k", 256), "e", json!("Aw")),
        with(rsa("k", 256), "e", json!("AAEAAQ")),
        modulus("k", 0x80, 256, 0x01),
        with(rsa("k", 256), "use", json!("sig")),
        with(rsa("k", 256), "key_ops", json!(["verify"])),
        with(rsa("k", 256), "x5c", json!(["MII"])),
        ec("k"),
        with(ec("k"), "alg", json!("ES256")),
        p521("k"),
        with(p521("k"), "alg", json!("ES512")),
        ed25519("k"),
    ] {
        assert!(parse(std::slice::from_ref(&sound)).is_ok(), "{sound}");
    }
}

#[test]
fn a_kid_that_is_there_twice_names_no_key() {
    for second in [
        rsa("k", 256),
        ed25519("k"),
        with(ed25519("k"), "use", json!("enc")),
        json!({"kid": "k", "kty": 5}),
    ] {
        for keys in [[ed25519("k"), second.clone()], [second.clone(), ed25519("k")]] {
            let set = parse(&[&keys[..], &[ed25519("other")]].concat()).unwrap();
            assert!(set.get("k").is_none(), "{second}");
            assert!(set.get("other").is_some());
        }
    }
}

#[test]
fn a_set_without_a_usable_key_is_an_error() {
    assert!(matches!(parse(&[]), Err(JwksError::NoUsableKey)));
    let many = vec![ed25519("k"); MAX_KEYS + 1];
    assert!(matches!(parse(&many), Err(JwksError::TooManyKeys)));
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(MAX_BYTES));
    assert!(matches!(KeySet::parse(large.as_bytes()), Err(JwksError::TooLarge)));
    assert!(matches!(KeySet::parse(b"[]"), Err(JwksError::Malformed(_))));
    assert!(matches!(KeySet::parse(b"{\"keys\":{}}"), Err(JwksError::Malformed(_))));
}
