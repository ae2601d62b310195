//! Keys of instances, and how they are sealed at rest.
//!
//! The seal is ChaCha20-Poly1305 (RFC 8439) under the operator's key, with the instance's id as
//! associated data: a sealed key that is copied to another instance's row does not open.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::session::KEY_BYTES;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{
    instance::InstanceId,
    random::{self, NoRandomness},
};

/// Says what a seal is for, and tells later formats apart.
const HOOK_KEY: &str = "kombi-exchange/hook-key/1/";

/// The same for [`Seal::proof`].
const PROOF: &str = "kombi-exchange/proof/1";

/// The key that the exchange and one instance share. It opens the hook of that instance only.
#[derive(Clone, PartialEq, Eq)]
pub struct HookKey([u8; KEY_BYTES]);

/// Seals and opens the keys of instances.
pub struct Seal(LessSafeKey);

/// A sealed key does not open: sealed with another key, for another instance, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("the sealed key of this instance does not open")]
pub struct Broken;

impl HookKey {
    /// A new key.
    pub fn random() -> Result<Self, NoRandomness> {
        random::bytes().map(Self)
    }

    /// The key as the instance's environment carries it: base64url without padding.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the HMAC of a signed request is keyed with: the text, because PocketBase's HMAC takes a
    /// string, which cannot carry 32 arbitrary bytes.
    #[must_use]
    pub fn hmac_secret(&self) -> String {
        self.to_text()
    }
}

impl Seal {
    /// A seal with the operator's key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Seals `key` for the instance `id`.
    pub fn close(&self, id: &InstanceId, key: &HookKey) -> Result<Vec<u8>, NoRandomness> {
        self.close_bound_to(bound_to(id), &key.0)
    }

    /// Opens what [`close`](Self::close) sealed for the instance `id`.
    pub fn open(&self, id: &InstanceId, sealed: &[u8]) -> Result<HookKey, Broken> {
        let key = self.open_bound_to(bound_to(id), sealed)?;
        <[u8; KEY_BYTES]>::try_from(key).map(HookKey).map_err(|_| Broken)
    }

    /// Something that only the same key [recognises](Self::recognises).
    pub fn proof(&self) -> Result<Vec<u8>, NoRandomness> {
        self.close_bound_to(Aad::from(PROOF.to_owned()), &[])
    }

    /// Whether `proof` was made with this key.
    #[must_use]
    pub fn recognises(&self, proof: &[u8]) -> bool {
        self.open_bound_to(Aad::from(PROOF.to_owned()), proof).is_ok()
    }

    fn close_bound_to(&self, aad: Aad<String>, secret: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        // Random nonces are safe here: one is drawn per registration, far below 2^32.
        let nonce: [u8; NONCE_LEN] = random::bytes()?;
        let mut sealed = secret.to_vec();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| NoRandomness)?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open_bound_to(&self, aad: Aad<String>, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(Broken)?;
        let mut sealed = sealed.to_vec();
        self.0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut sealed)
            .map(|secret| secret.to_vec())
            .map_err(|_| Broken)
    }
}

fn bound_to(id: &InstanceId) -> Aad<String> {
    Aad::from(format!("{HOOK_KEY}{id}"))
}

impl std::fmt::Debug for HookKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookKey(…)")
    }
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    #[test]
    fn a_sealed_key_opens_for_its_instance_only() {
        let seal = Seal::new(&[7; 32]).unwrap();
        let key = HookKey::random().unwrap();
        let sealed = seal.close(&id("a"), &key).unwrap();
        assert_eq!(seal.open(&id("a"), &sealed).unwrap(), key);
        assert!(seal.open(&id("b"), &sealed).is_err());
        assert!(Seal::new(&[8; 32]).unwrap().open(&id("a"), &sealed).is_err());
    }

    #[test]
    fn a_damaged_seal_does_not_open() {
        let seal = Seal::new(&[7; 32]).unwrap();
        let sealed = seal.close(&id("a"), &HookKey::random().unwrap()).unwrap();
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(seal.open(&id("a"), &damaged).is_err(), "byte {at}");
            assert!(seal.open(&id("a"), &sealed[..at]).is_err(), "first {at} bytes");
        }
    }

    #[test]
    fn another_operators_key_is_noticed() {
        let proof = Seal::new(&[7; 32]).unwrap().proof().unwrap();
        assert!(Seal::new(&[7; 32]).unwrap().recognises(&proof));
        assert!(!Seal::new(&[8; 32]).unwrap().recognises(&proof));
    }

    #[test]
    fn no_key_is_ever_shown() {
        let key = HookKey::random().unwrap();
        assert!(!format!("{key:?}").contains(&key.to_text()));
    }
}
