//! The key that the gate signs with.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use kombi_spec::assertion::{Assertion, TYP};

/// What comes before the seed in an Ed25519 private key in PKCS#8 (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// The signing key is unusable.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    /// It is not a seed in base64url.
    #[error("expected a 32-byte Ed25519 seed in base64url without padding")]
    Malformed,
    /// The library refuses it.
    #[error("the Ed25519 seed is refused: {0}")]
    Refused(#[from] jsonwebtoken::errors::Error),
}

/// An Ed25519 private key, and the header of all that it signs.
#[derive(Clone)]
pub(crate) struct SigningKey {
    key: EncodingKey,
    /// The protected header, encoded once. Its `kid` is the key's thumbprint (RFC 7638), so
    /// whoever knows several keys knows which one this is.
    header: String,
    kid: String,
}

impl SigningKey {
    /// The key `seed`: 32 bytes in base64url.
    pub(crate) fn new(seed: &str) -> Result<Self, SigningKeyError> {
        let seed = URL_SAFE_NO_PAD.decode(seed).map_err(|_| SigningKeyError::Malformed)?;
        if seed.len() != 32 {
            return Err(SigningKeyError::Malformed);
        }
        kombi_gate_crypto::install();
        let key = EncodingKey::from_ed_der(&[PKCS8_PREFIX.as_slice(), &seed].concat());
        let kid = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA)?
            .thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)?;
        let header = serde_json::json!({"alg": "EdDSA", "typ": TYP, "kid": kid}).to_string();
        Ok(Self { key, header: URL_SAFE_NO_PAD.encode(header), kid })
    }

    /// A JWS of `payload` with the type `typ`, so that it passes for no assertion.
    pub(crate) fn sign_as(&self, typ: &str, payload: &[u8]) -> Option<String> {
        let header = serde_json::json!({"alg": "EdDSA", "typ": typ, "kid": self.kid}).to_string();
        self.compact(&URL_SAFE_NO_PAD.encode(header), payload)
    }

    /// Signs `claims` as they are; `None` only if the library fails on a key that it accepted
    /// before.
    pub(crate) fn sign(&self, claims: &Assertion) -> Option<String> {
        self.compact(&self.header, &serde_json::to_vec(claims).ok()?)
    }

    fn compact(&self, header: &str, payload: &[u8]) -> Option<String> {
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::EdDSA).ok()?;
        Some(format!("{message}.{signature}"))
    }
}
