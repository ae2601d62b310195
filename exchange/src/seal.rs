//! How what opens an instance is sealed at rest.
//!
//! The seal is ChaCha20-Poly1305 (RFC 8439) under the operator's key, with the kind of access and
//! the instance's id as associated data: what is copied to another instance's row, or passed off
//! as another kind, does not open.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use crate::{
    access::{self, Access, HookKey},
    instance::InstanceId,
    random::{self, NoRandomness},
};

/// Says what a seal is for, and tells later formats apart.
const HOOK_KEY: &str = "kombi-exchange/hook-key/1/";

/// The same for a superuser's credentials.
const SUPERUSER: &str = "kombi-exchange/superuser/1/";

/// The same for the audit's key.
const AUDIT_KEY: &str = "kombi-exchange/audit-key/1";

/// The same for [`Seal::proof`].
const PROOF: &str = "kombi-exchange/proof/1";

/// Seals and opens what opens instances.
pub struct Seal(LessSafeKey);

/// What is sealed does not open: sealed with another key, for something else, or damaged.
#[derive(Debug, thiserror::Error)]
#[error("what is sealed does not open with this key")]
pub struct Broken;

impl Seal {
    /// A seal with the operator's key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Option<Self> {
        UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(|key| Self(LessSafeKey::new(key)))
    }

    /// Seals `access` to the instance `id`.
    pub fn close(&self, id: &InstanceId, access: &Access) -> Result<Vec<u8>, NoRandomness> {
        match access {
            Access::Hook(key) => self.close_bound_to(bound_to(HOOK_KEY, id), key.as_bytes()),
            Access::Superuser(superuser) => {
                // Two strings always serialise.
                let secret = serde_json::to_vec(superuser).unwrap_or_default();
                self.close_bound_to(bound_to(SUPERUSER, id), &secret)
            }
        }
    }

    /// Opens what [`close`](Self::close) sealed for the instance `id` as access of this `kind`.
    pub fn open(&self, id: &InstanceId, kind: &str, sealed: &[u8]) -> Result<Access, Broken> {
        match kind {
            access::HOOK => {
                let key = self.open_bound_to(bound_to(HOOK_KEY, id), sealed)?;
                HookKey::from_bytes(&key).map(Access::Hook).ok_or(Broken)
            }
            access::SUPERUSER => {
                let secret = self.open_bound_to(bound_to(SUPERUSER, id), sealed)?;
                serde_json::from_slice(&secret).map(Access::Superuser).map_err(|_| Broken)
            }
            _ => Err(Broken),
        }
    }

    /// Seals the audit's key.
    pub fn close_audit_key(&self, key: &[u8]) -> Result<Vec<u8>, NoRandomness> {
        self.close_bound_to(Aad::from(AUDIT_KEY.to_owned()), key)
    }

    /// Opens the audit's key.
    pub fn open_audit_key(&self, sealed: &[u8]) -> Result<Vec<u8>, Broken> {
        self.open_bound_to(Aad::from(AUDIT_KEY.to_owned()), sealed)
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

fn bound_to(purpose: &str, id: &InstanceId) -> Aad<String> {
    Aad::from(format!("{purpose}{id}"))
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seal(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Superuser;

    fn id(text: &str) -> InstanceId {
        InstanceId::parse(text).unwrap()
    }

    fn accesses() -> [Access; 2] {
        let superuser = Superuser { email: "a@b.c".to_owned(), password: "secret".to_owned() };
        [Access::Hook(HookKey::random().unwrap()), Access::Superuser(superuser)]
    }

    #[test]
    fn what_is_sealed_opens_for_its_instance_and_as_its_kind_only() {
        let seal = Seal::new(&[7; 32]).unwrap();
        let [hook, superuser] = accesses();
        for (access, other) in [(&hook, superuser.kind()), (&superuser, hook.kind())] {
            let sealed = seal.close(&id("a"), access).unwrap();
            assert_eq!(seal.open(&id("a"), access.kind(), &sealed).unwrap(), *access);
            assert!(seal.open(&id("b"), access.kind(), &sealed).is_err());
            assert!(seal.open(&id("a"), other, &sealed).is_err());
            assert!(seal.open(&id("a"), "key", &sealed).is_err());
            let others = Seal::new(&[8; 32]).unwrap();
            assert!(others.open(&id("a"), access.kind(), &sealed).is_err());
        }
    }

    #[test]
    fn a_damaged_seal_does_not_open() {
        let seal = Seal::new(&[7; 32]).unwrap();
        for access in accesses() {
            let sealed = seal.close(&id("a"), &access).unwrap();
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= 1;
                assert!(seal.open(&id("a"), access.kind(), &damaged).is_err(), "byte {at}");
                assert!(seal.open(&id("a"), access.kind(), &sealed[..at]).is_err(), "first {at}");
            }
        }
    }

    #[test]
    fn another_operators_key_is_noticed() {
        let proof = Seal::new(&[7; 32]).unwrap().proof().unwrap();
        assert!(Seal::new(&[7; 32]).unwrap().recognises(&proof));
        assert!(!Seal::new(&[8; 32]).unwrap().recognises(&proof));
    }
}
