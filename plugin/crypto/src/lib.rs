//! The signatures of tokens: a [`CryptoProvider`] for `jsonwebtoken` in pure Rust that is fast
//! inside WebAssembly.
//!
//! Only what a gate needs is here: verifying RS, PS, ES and EdDSA with public keys, and signing
//! with Ed25519. HMAC and every other private key are refused. All of it handles public
//! values but Ed25519 signing, so only that has to be, and is, constant-time.

mod ecdsa;
mod ed25519;
pub mod es512;
mod hash;
mod pkcs1;
mod provider;
mod pss;
mod rsa;

use jsonwebtoken::crypto::CryptoProvider;

pub use provider::PROVIDER;

/// The SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Vec<u8> {
    hash::Hash::Sha256.digest(&[bytes])
}

/// Makes this crate the provider of `jsonwebtoken` in the whole process. Cheap, and safe to
/// repeat; a provider that was chosen earlier stays.
pub fn install() {
    // An error says that there is a provider already, most often this one.
    let _ = CryptoProvider::install_default(&PROVIDER);
}
