//! The gate, as far as the exchange can see: a key that signs assertions.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kombi_exchange::assertion::GateKey;
use kombi_spec::assertion::{Assertion, EXCHANGE_AUDIENCE, GrantedBy, ISSUER, LIFETIME_S, TYP};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde::Serialize;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Gate {
    seed: [u8; 32],
}

impl Gate {
    pub(crate) fn new(seed: u8) -> Self {
        Self { seed: [seed; 32] }
    }

    /// The public key, as the exchange is configured with it.
    pub(crate) fn public(&self) -> String {
        let pair = Ed25519KeyPair::from_seed_unchecked(&self.seed).unwrap();
        URL_SAFE_NO_PAD.encode(pair.public_key())
    }

    /// A valid assertion of `sub` for a session in `instance`.
    pub(crate) fn assertion(&self, sub: &str, instance: &str) -> String {
        self.sign(&claims(sub, instance))
    }

    pub(crate) fn sign(&self, claims: &Assertion) -> String {
        self.seal(TYP, claims)
    }

    /// Signs anything, as `typ`.
    pub(crate) fn seal(&self, typ: &str, claims: &impl Serialize) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(typ.to_owned());
        header.kid = Some(GateKey::parse(&self.public()).unwrap().id().to_owned());
        let prefix = URL_SAFE_NO_PAD.decode("MC4CAQAwBQYDK2VwBCIEIA").unwrap();
        let key = EncodingKey::from_ed_der(&[prefix.as_slice(), &self.seed].concat());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// Valid claims, to be signed as they are or changed first.
pub(crate) fn claims(sub: &str, instance: &str) -> Assertion {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    Assertion {
        iss: ISSUER.to_owned(),
        aud: EXCHANGE_AUDIENCE.to_owned(),
        sub: sub.to_owned(),
        iat: now,
        exp: now + LIFETIME_S,
        jti: format!("{:032x}", NEXT_ID.fetch_add(1, Ordering::Relaxed)),
        htm: Some("POST".to_owned()),
        htp: Some(format!("/sso/instances/{instance}/session")),
        org: None,
        roles: vec!["user".to_owned()],
        granted_by: GrantedBy::new(),
        email: Some(format!("{sub}@example.com")),
        email_verified: true,
        name: Some("Ada".to_owned()),
    }
}
