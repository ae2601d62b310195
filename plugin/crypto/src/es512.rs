//! ES512 (RFC 7518 section 3.4), for which `jsonwebtoken` has no name.

use crate::ecdsa::p521;

/// A public key of ES512.
#[derive(Clone)]
pub struct PublicKey(p521::PublicKey);

impl PublicKey {
    /// The key at `point`, uncompressed (SEC 1 section 2.3.3); `None` if that is not on the curve,
    /// or in another form.
    #[must_use]
    pub fn new(point: &[u8]) -> Option<Self> {
        p521::PublicKey::new(point).map(Self)
    }

    /// Whether `signature`, R and S side by side, is the key's over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.verifies(message, signature)
    }
}
