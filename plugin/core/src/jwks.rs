//! An issuer's public keys (RFC 7517), and what each may be used for.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use kombi_spec::code::Code;
use serde::Deserialize;
use serde_json::Value;

use crate::{refusal::Refusal, token::Token};

/// Most keys in a set. Issuers publish a handful.
const MAX_KEYS: usize = 64;

/// Smallest RSA modulus in bytes (RFC 7518 section 3.3), and the largest that a token may cost us.
const RSA_MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// The document is no usable key set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It is not a JWK Set.
    #[error("not a JWK Set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It holds more keys than any issuer needs.
    #[error("the key set has more than {MAX_KEYS} keys")]
    TooManyKeys,
    /// None of its keys can verify a token.
    #[error("the key set has no key that can verify a token")]
    NoUsableKey,
}

/// The keys of one issuer that can verify tokens, by `kid`.
#[derive(Clone)]
pub struct KeySet {
    keys: BTreeMap<String, VerifyingKey>,
}

/// A public key and the algorithms it may be used with.
#[derive(Clone)]
pub struct VerifyingKey {
    key: DecodingKey,
    algorithms: Vec<Algorithm>,
}

impl KeySet {
    /// Reads a JWK Set. A key that cannot verify a token (unknown type, for encryption, too
    /// short) is passed over, as RFC 7517 section 5 asks; so is every key whose `kid` is not
    /// unique, for there is no telling which of them is meant.
    pub fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }
        kombi_gate_crypto::install();
        let document: Document = serde_json::from_slice(bytes)?;
        if document.keys.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let mut seen: BTreeMap<String, Option<VerifyingKey>> = BTreeMap::new();
        for value in document.keys {
            let Ok(jwk) = Jwk::deserialize(value) else {
                continue;
            };
            let Some(kid) = jwk.kid.clone().filter(|kid| !kid.is_empty()) else {
                continue;
            };
            seen.entry(kid)
                .and_modify(|earlier| *earlier = None)
                .or_insert_with(|| jwk.verifying_key());
        }
        let keys: BTreeMap<_, _> =
            seen.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect();
        if keys.is_empty() { Err(JwksError::NoUsableKey) } else { Ok(Self { keys }) }
    }

    /// The key called `kid`.
    #[must_use]
    pub fn get(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }
}

impl VerifyingKey {
    /// Verifies the signature of `token`. The key decides what it may be used for, not the token
    /// (RFC 8725 section 3.1).
    pub fn verify(&self, token: &Token) -> Result<(), Refusal> {
        if !self.algorithms.contains(&token.algorithm) {
            return Err(Refusal::new(
                Code::AlgorithmRefused,
                format!("the token's key may not be used with {:?}", token.algorithm),
            ));
        }
        let (message, signature) = token.signed_parts();
        match jsonwebtoken::crypto::verify(
            signature,
            message.as_bytes(),
            &self.key,
            token.algorithm,
        ) {
            Ok(true) => Ok(()),
            _ => Err(Refusal::new(
                Code::SignatureInvalid,
                "the signature does not fit the token and the issuer's key",
            )),
        }
    }
}

/// The members of a JWK that matter here (RFC 7517 section 4, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key, if it can verify a token's signature.
    fn verifying_key(&self) -> Option<VerifyingKey> {
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !for_signatures {
            return None;
        }
        let (key, mut algorithms) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => (self.rsa()?, RSA_ALGORITHMS.to_vec()),
            ("EC", Some("P-256")) => (self.elliptic(32)?, vec![Algorithm::ES256]),
            ("EC", Some("P-384")) => (self.elliptic(48)?, vec![Algorithm::ES384]),
            ("OKP", Some("Ed25519")) => (self.edwards()?, vec![Algorithm::EdDSA]),
            _ => return None,
        };
        if let Some(alg) = &self.alg {
            algorithms.retain(|allowed| alg.parse() == Ok(*allowed));
        }
        (!algorithms.is_empty()).then_some(VerifyingKey { key, algorithms })
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let n = decode(self.n.as_ref()?)?;
        let e = decode(self.e.as_ref()?)?;
        let length = n.iter().skip_while(|byte| **byte == 0).count();
        // An exponent of at most 4 bytes bounds the cost; an even or tiny one is no RSA key.
        let exponent_is_sound =
            e.len() <= 4 && e.last().is_some_and(|low| low % 2 == 1) && e != [1];
        (RSA_MODULUS_BYTES.contains(&length) && exponent_is_sound)
            .then(|| DecodingKey::from_rsa_raw_components(&n, &e))
    }

    fn elliptic(&self, length: usize) -> Option<DecodingKey> {
        let (x, y) = (self.x.as_ref()?, self.y.as_ref()?);
        (decode(x)?.len() == length && decode(y)?.len() == length)
            .then(|| DecodingKey::from_ec_components(x, y).ok())?
    }

    fn edwards(&self) -> Option<DecodingKey> {
        let x = self.x.as_ref()?;
        (decode(x)?.len() == 32).then(|| DecodingKey::from_ed_components(x).ok())?
    }
}

const RSA_ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
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

    fn parse(keys: &[Value]) -> Result<KeySet, JwksError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn the_key_decides_which_algorithms_it_serves() {
        let set =
            parse(&[ed25519("ed"), rsa("any", 256), with(rsa("one", 256), "alg", json!("RS256"))])
                .unwrap();
        assert_eq!(set.get("ed").unwrap().algorithms, [Algorithm::EdDSA]);
        assert_eq!(set.get("any").unwrap().algorithms, RSA_ALGORITHMS);
        assert_eq!(set.get("one").unwrap().algorithms, [Algorithm::RS256]);
    }

    #[test]
    fn keys_that_cannot_verify_tokens_are_passed_over() {
        for unusable in [
            rsa("k", 128),
            rsa("k", 1024),
            with(rsa("k", 256), "e", json!("AA")),
            with(rsa("k", 256), "e", json!("AQ")),
            with(rsa("k", 256), "n", json!("!")),
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
    fn a_kid_that_is_there_twice_names_no_key() {
        let set = parse(&[ed25519("k"), ed25519("other"), rsa("k", 256)]).unwrap();
        assert!(set.get("k").is_none());
        assert!(set.get("other").is_some());
    }

    #[test]
    fn a_set_without_a_usable_key_is_an_error() {
        assert!(matches!(parse(&[]), Err(JwksError::NoUsableKey)));
        let many = vec![ed25519("k"); MAX_KEYS + 1];
        assert!(matches!(parse(&many), Err(JwksError::TooManyKeys)));
        assert!(matches!(KeySet::parse(b"[]"), Err(JwksError::Malformed(_))));
        assert!(matches!(KeySet::parse(b"{\"keys\":{}}"), Err(JwksError::Malformed(_))));
    }
}
