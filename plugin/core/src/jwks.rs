//! An issuer's public keys (RFC 7517), and what each may be used for.

use std::collections::BTreeMap;

mod jwk;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use kombi_gate_crypto::es512;
use kombi_spec::code::Code;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    refusal::Refusal,
    token::{Algorithm, Token},
};
use jwk::Jwk;

/// Most keys in a set. Issuers publish a handful.
const MAX_KEYS: usize = 64;

/// Largest document read, in bytes.
const MAX_BYTES: usize = 256 * 1024;

/// The document is no usable key set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// It is not a JWK Set.
    #[error("not a JWK Set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is larger than any issuer needs.
    #[error("the key set is larger than {MAX_BYTES} bytes")]
    TooLarge,
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
    key: PublicKey,
    algorithms: Vec<Algorithm>,
}

#[derive(Clone)]
enum PublicKey {
    /// Of an algorithm that `jsonwebtoken` knows.
    Library(DecodingKey),
    /// Of the one that it does not.
    Es512(es512::PublicKey),
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
        if bytes.len() > MAX_BYTES {
            return Err(JwksError::TooLarge);
        }
        kombi_gate_crypto::install();
        let document: Document = serde_json::from_slice(bytes)?;
        if document.keys.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let mut seen: BTreeMap<String, Option<VerifyingKey>> = BTreeMap::new();
        for value in document.keys {
            // Whatever else is wrong with a key, its `kid` is taken.
            let Some(kid) = value.get("kid").and_then(Value::as_str).filter(|k| !k.is_empty())
            else {
                continue;
            };
            seen.entry(kid.to_owned())
                .and_modify(|earlier| *earlier = None)
                .or_insert_with(|| Jwk::deserialize(&value).ok()?.verifying_key());
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
                format!("the token's key may not be used with {}", token.algorithm),
            ));
        }
        let (message, signature) = token.signed_parts();
        if self.verifies(message, signature, token.algorithm) {
            return Ok(());
        }
        Err(Refusal::new(
            Code::SignatureInvalid,
            "the signature does not fit the token and the issuer's key",
        ))
    }

    /// Whether `signature` (in base64url) is this key's for `message`.
    #[must_use]
    pub fn verifies(&self, message: &str, signature: &str, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
            && self.key.verifies(message.as_bytes(), signature, algorithm)
    }
}

impl PublicKey {
    fn verifies(&self, message: &[u8], signature: &str, algorithm: Algorithm) -> bool {
        match self {
            Self::Library(key) => algorithm.in_library().is_some_and(|algorithm| {
                jsonwebtoken::crypto::verify(signature, message, key, algorithm).unwrap_or(false)
            }),
            Self::Es512(key) => URL_SAFE_NO_PAD
                .decode(signature)
                .is_ok_and(|signature| key.verifies(message, &signature)),
        }
    }
}

#[cfg(test)]
mod tests;
