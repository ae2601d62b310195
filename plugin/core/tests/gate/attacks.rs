//! The threats of RFC 8725 section 2, each as tokens that somebody might send.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use kombi_gate_core::step::Step;
use kombi_spec::code::Code;
use serde_json::{Value, json};

use crate::{
    issuer::{Key, NOW_S, PROJECT, claims, key, signature, with},
    route::{Route, request},
};

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A token with any header and a signature of the attacker's choice.
fn forged(header: &Value, signature: &str) -> String {
    format!("{}.{}.{signature}", encode(header), encode(&claims()))
}

/// A token under HMAC with `secret`.
fn under_hmac(alg: &str, secret: &[u8]) -> String {
    let message = forged(&json!({"alg": alg, "kid": "rsa"}), "");
    let message = message.trim_end_matches('.');
    let key = EncodingKey::from_secret(secret);
    let signature = signature(message, &key, Algorithm::HS256);
    format!("{message}.{signature}")
}

fn assert_all_refused(tokens: &[(&str, String, Code)]) {
    let route =
        Route::with_issuers_keys(&[key(), Key::rsa("rsa", Algorithm::RS256), Key::p256("ec", 7)]);
    assert_eq!(route.code(&key().token(&claims())), None);
    for (attack, token, code) in tokens {
        assert_eq!(route.code(token), Some(*code), "{attack}");
    }
}

/// Section 2.1, "Weak Signatures and Insufficient Signature Validation".
#[test]
fn the_token_does_not_choose_how_it_is_verified() {
    let modulus = Key::rsa("rsa", Algorithm::RS256).public()["n"].as_str().unwrap().to_owned();
    let public = Key::rsa("rsa", Algorithm::RS256).public().to_string();
    let raw = URL_SAFE_NO_PAD.decode(&modulus).unwrap();
    let own = Key::ed25519("mallory", 66);
    let embedded = |name: &str, value: Value| {
        own.sign(&json!({"alg": "EdDSA", "kid": "main", name: value}), &claims())
    };
    let unsigned = |alg: &str| forged(&json!({"alg": alg, "kid": "main"}), "");
    assert_all_refused(&[
        ("none", unsigned("none"), Code::AlgorithmRefused),
        ("None", unsigned("None"), Code::AlgorithmRefused),
        ("NONE", unsigned("NONE"), Code::AlgorithmRefused),
        ("nOnE", unsigned("nOnE"), Code::AlgorithmRefused),
        ("no signature", unsigned("EdDSA"), Code::SignatureInvalid),
        ("HMAC, modulus as secret", under_hmac("HS256", &raw), Code::AlgorithmRefused),
        ("HMAC, modulus as text", under_hmac("HS256", modulus.as_bytes()), Code::AlgorithmRefused),
        ("HMAC, key as secret", under_hmac("HS256", public.as_bytes()), Code::AlgorithmRefused),
        ("HMAC called RS256", under_hmac("RS256", &raw), Code::SignatureInvalid),
        ("hs256", under_hmac("hs256", &raw), Code::AlgorithmRefused),
        ("a key of its own", embedded("jwk", own.public()), Code::SignatureInvalid),
        ("a key elsewhere", embedded("jku", json!("https://evil.example")), Code::SignatureInvalid),
        ("a certificate", embedded("x5c", json!(["MIIB"])), Code::SignatureInvalid),
        ("a certificate elsewhere", embedded("x5u", json!("https://x")), Code::SignatureInvalid),
    ]);
}

/// Section 2.2, "Weak Symmetric Keys": there are none, strong or weak. (Section 2.4 is about encryption,
/// which is refused as a whole.)
#[test]
fn a_secret_that_can_be_guessed_is_good_for_nothing() {
    assert_all_refused(
        &["HS256", "HS384", "HS512"]
            .map(|alg| ("guessed", under_hmac(alg, b"secret"), Code::AlgorithmRefused)),
    );
}

/// Section 2.3, "Incorrect Composition of Encryption and Signature".
#[test]
fn encrypted_and_nested_tokens_are_refused() {
    let nested = key().sign_bytes(
        br#"{"alg":"EdDSA","kid":"main","cty":"JWT"}"#,
        key().token(&claims()).as_bytes(),
    );
    let jwe = json!({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "rsa"});
    assert_all_refused(&[
        ("a JWE", format!("{}.AA.AA.AA.AA", encode(&jwe)), Code::TokenMalformed),
        ("a JWE in three parts", forged(&jwe, "AA"), Code::TokenMalformed),
        ("a nested JWT", nested, Code::TokenMalformed),
    ]);
}

/// Section 2.5, "Insecure Use of Elliptic Curve Encryption", and what signatures know of it.
#[test]
fn signatures_without_arithmetic_in_them_are_refused() {
    let header = json!({"alg": "ES256", "kid": "ec"});
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    // r and s are the order of P-256, which is zero to it.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
        0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let order = URL_SAFE_NO_PAD.encode([order, order].concat());
    let rsa = json!({"alg": "RS256", "kid": "rsa"});
    let [zero, one] =
        [0, 1].map(|last| URL_SAFE_NO_PAD.encode([&[0; 255], [last].as_slice()].concat()));
    assert_all_refused(&[
        ("zeros", forged(&header, &zeros), Code::SignatureInvalid),
        ("the order", forged(&header, &order), Code::SignatureInvalid),
        ("DER", forged(&header, "MAYCAQECAQE"), Code::SignatureInvalid),
        (
            "Ed25519 zeros",
            forged(&json!({"alg": "EdDSA", "kid": "main"}), &zeros),
            Code::SignatureInvalid,
        ),
        ("RSA zero", forged(&rsa, &zero), Code::SignatureInvalid),
        ("RSA one", forged(&rsa, &one), Code::SignatureInvalid),
    ]);
}

/// Section 2.6, "Multiplicity of JSON Encodings".
#[test]
fn json_that_two_readers_may_read_differently_is_refused() {
    let header = br#"{"alg":"EdDSA","kid":"main"}"#;
    let sign = |claims: &[u8]| key().sign_bytes(header, claims);
    let good = claims().to_string();
    let twice = good.replacen('{', "{\"sub\":\"1\",", 1);
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let bom = [b"\xef\xbb\xbf", good.as_bytes()].concat();
    let latin1 = good.replace("client", "cli\u{0}nt").replace('\u{0}', "x").into_bytes();
    let latin1: Vec<u8> =
        latin1.iter().map(|byte| if *byte == b'x' { 0xe9 } else { *byte }).collect();
    let deep =
        with("x", serde_json::from_str(&format!("{}{}", "[".repeat(40), "]".repeat(40))).unwrap());
    let comment = good.replacen('{', "{/**/", 1);
    assert_all_refused(&[
        ("a name twice", sign(twice.as_bytes()), Code::TokenMalformed),
        ("UTF-16", sign(&utf16), Code::TokenMalformed),
        ("a byte order mark", sign(&bom), Code::TokenMalformed),
        ("Latin-1", sign(&latin1), Code::TokenMalformed),
        ("deep nesting", key().token(&deep), Code::TokenMalformed),
        ("a comment", sign(comment.as_bytes()), Code::TokenMalformed),
        ("two objects", sign(format!("{good}{good}").as_bytes()), Code::TokenMalformed),
        ("no object", sign(b"\"x\""), Code::TokenMalformed),
        (
            "an unknown extension",
            key().sign(&json!({"alg": "EdDSA", "kid": "main", "crit": ["x"], "x": 1}), &claims()),
            Code::TokenMalformed,
        ),
        (
            "b64",
            key().sign(
                &json!({"alg": "EdDSA", "kid": "main", "crit": ["b64"], "b64": false}),
                &claims(),
            ),
            Code::TokenMalformed,
        ),
    ]);
}

/// Section 2.7, "Substitution Attacks".
#[test]
fn tokens_for_somebody_else_are_refused() {
    let aud = |aud: Value| key().token(&with("aud", aud));
    assert_all_refused(&[
        ("another audience", aud(json!("other")), Code::AudienceMismatch),
        ("others only", aud(json!(["other", "client"])), Code::AudienceMismatch),
        ("no audience", aud(json!(null)), Code::AudienceMismatch),
        ("a longer audience", aud(json!(format!("{PROJECT}1"))), Code::AudienceMismatch),
        ("another case", aud(json!([format!(" {PROJECT}")])), Code::AudienceMismatch),
        ("an object", aud(json!({PROJECT: 1})), Code::TokenMalformed),
        (
            "another issuer",
            key().token(&with("iss", json!("https://evil.example"))),
            Code::IssuerUnknown,
        ),
        ("no issuer", key().token(&with("iss", json!(null))), Code::TokenMalformed),
        ("no subject", key().token(&with("sub", json!(""))), Code::TokenMalformed),
        (
            "the gate's own name",
            key().token(&with("sub", json!("kombi-gate"))),
            Code::TokenMalformed,
        ),
    ]);
}

/// Section 2.8, "Cross-JWT Confusion".
#[test]
fn tokens_for_another_purpose_are_refused() {
    let typed =
        |typ: &str| key().sign(&json!({"alg": "EdDSA", "kid": "main", "typ": typ}), &claims());
    let logout = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    assert_all_refused(&[
        ("the gate's assertion", typed("kombi-assertion+jwt"), Code::TokenMalformed),
        ("a logout token by type", typed("logout+jwt"), Code::TokenMalformed),
        ("a proof of possession", typed("dpop+jwt"), Code::TokenMalformed),
        ("an introspection answer", typed("token-introspection+jwt"), Code::TokenMalformed),
        ("a logout token by claim", key().token(&with("events", logout)), Code::NotAnAccessToken),
        ("a bound token", key().token(&with("cnf", json!({"jkt": "x"}))), Code::NotAnAccessToken),
        ("an ID token", key().token(&with("nonce", json!("n"))), Code::NotAnAccessToken),
        ("an expired token", key().token(&with("exp", json!(NOW_S - 60))), Code::TokenExpired),
    ]);
}

/// Section 2.9, "Indirect Attacks on the Server".
#[test]
fn nothing_in_a_token_leads_anywhere() {
    let route = Route::new(&json!({}));
    for kid in ["../../dev/null", "' OR 1=1 --", "https://evil.example/key", "main\u{0}", "MAIN"] {
        let header = json!({"alg": "EdDSA", "kid": kid, "jku": "https://evil.example/keys"});
        let token = key().sign(&header, &claims());
        let authorization = format!("Bearer {token}");
        // At most the issuer itself is asked.
        match route.send(request("GET", &[("authorization", &authorization)])) {
            Step::Call(call) => assert_eq!(call.address, "id.example:443"),
            step => assert_eq!(crate::route::code(&step), Some(Code::KeyUnknown), "{kid}"),
        }
    }
}
