//! Ed25519 (RFC 8032), as RFC 8037 uses it.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

/// What comes before the seed in an Ed25519 private key in PKCS#8 (RFC 8410 section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// An Ed25519 public key that is not of small order.
pub(crate) struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key `bytes`. `None` if they are no point, or one of small order, with which a
    /// signature fits more than one message.
    pub(crate) fn new(bytes: &[u8]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// Whether `signature` is the key's over `message`. Strict: beyond RFC 8032, a signature
    /// whose R is of small order is refused; no honest signer makes one.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_strict(message, &signature).is_ok())
    }
}

/// An Ed25519 private key.
pub(crate) struct PrivateKey(SigningKey);

impl PrivateKey {
    /// Reads PKCS#8 as RFC 8410 writes it: a seed, without attributes or a public key.
    pub(crate) fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let seed = der.strip_prefix(&PKCS8_PREFIX)?;
        Some(Self(SigningKey::from_bytes(seed.try_into().ok()?)))
    }

    /// The public key.
    pub(crate) fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The signature over `message`.
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}
