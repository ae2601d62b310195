//! An issuer inside the test: it signs tokens, publishes its keys to the filter's dispatches,
//! and misbehaves on order.

use std::{cell::RefCell, rc::Rc};

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, jwk::Jwk};
use serde_json::{Value, json};

use crate::{
    host::WAITING_ROOM,
    peers::{Answer, Call, Failure, Peers},
    route::with,
};

/// The Zitadel project that the tokens are for.
pub const PROJECT: &str = "273456789012345678";

/// Zitadel's claim with the roles.
pub const ROLES_CLAIM: &str = "urn:zitadel:iam:org:project:roles";

/// What comes before the seed in an Ed25519 private key in PKCS#8 (RFC 8410 section 7).
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What comes before the scalar in a P-256 private key in PKCS#8 (RFC 5915).
const P256_PREFIX: [u8; 35] = [
    0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01,
    0x01, 0x04, 0x20,
];

/// A key of 2048 bits that was made for these tests and signs nothing else.
const RSA: &str = include_str!("issuer/rsa2048.txt");

/// An issuer. Clones are the same issuer, so a test keeps one while a node has the other.
#[derive(Clone)]
pub struct Issuer(Rc<RefCell<State>>);

struct State {
    url: String,
    keys: Vec<Key>,
    keys_made: u8,
    discovery: Behaviour,
    key_set: Behaviour,
    delay_ms: u64,
    discovery_requests: u64,
    key_set_requests: u64,
}

struct Key {
    kid: String,
    algorithm: Algorithm,
    secret: EncodingKey,
    published: bool,
}

/// How the issuer answers.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// As it should.
    Honest,
    /// With an error.
    Status(u16),
    /// Not at all.
    Fails(Failure),
    /// With `:status` 200 and half of the document, and then no more: a timeout that looks well.
    Stalls,
    /// With 200 and these bytes.
    Says(Vec<u8>),
}

impl Issuer {
    /// An honest issuer at `url` with one Ed25519 key.
    #[must_use]
    pub fn new(url: &str) -> Self {
        let issuer = Self(Rc::new(RefCell::new(State {
            url: url.to_owned(),
            keys: Vec::new(),
            keys_made: 0,
            discovery: Behaviour::Honest,
            key_set: Behaviour::Honest,
            delay_ms: 5,
            discovery_requests: 0,
            key_set_requests: 0,
        })));
        issuer.rotate(Algorithm::EdDSA, false);
        issuer
    }

    /// Its identifier.
    #[must_use]
    pub fn url(&self) -> String {
        self.0.borrow().url.clone()
    }

    /// Signs with a new key of `algorithm` (RS256, ES256 or `EdDSA`) from now on; the previous
    /// ones stay published, or not. Returns the new `kid`.
    pub fn rotate(&self, algorithm: Algorithm, drop_previous: bool) -> String {
        let mut state = self.0.borrow_mut();
        state.keys_made = state.keys_made.wrapping_add(1);
        let seed = [state.keys_made; 32];
        let secret = match algorithm {
            Algorithm::RS256 => {
                let text: String = RSA.split_whitespace().collect();
                EncodingKey::from_rsa_der(&STANDARD.decode(text).unwrap_or_default())
            }
            Algorithm::ES256 => EncodingKey::from_ec_der(&[P256_PREFIX.as_slice(), &seed].concat()),
            _ => EncodingKey::from_ed_der(&[ED25519_PREFIX.as_slice(), &seed].concat()),
        };
        let kid = format!("key-{}", state.keys_made);
        for key in &mut state.keys {
            key.published &= !drop_previous;
        }
        state.keys.push(Key { kid: kid.clone(), algorithm, secret, published: true });
        kid
    }

    /// How it answers from now on: discovery, then the key set.
    pub fn behave(&self, discovery: Behaviour, key_set: Behaviour) {
        let mut state = self.0.borrow_mut();
        state.discovery = discovery;
        state.key_set = key_set;
    }

    /// How long it takes for an answer from now on, in milliseconds.
    pub fn delay(&self, ms: u64) {
        self.0.borrow_mut().delay_ms = ms;
    }

    /// How often it was asked for its key set.
    #[must_use]
    pub fn key_set_requests(&self) -> u64 {
        self.0.borrow().key_set_requests
    }

    /// How often it was asked for its metadata.
    #[must_use]
    pub fn discovery_requests(&self) -> u64 {
        self.0.borrow().discovery_requests
    }

    /// The claims of an ordinary access token, good for an hour from `now_s`.
    #[must_use]
    pub fn claims(&self, now_s: u64) -> Value {
        json!({
            "iss": self.url(),
            "sub": "275000000000000001",
            "aud": ["another-client", PROJECT],
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + 3600,
            ROLES_CLAIM: {"user": {"271000000000000001": "homelab.example"}},
            "urn:zitadel:iam:user:resourceowner:id": "271000000000000001",
        })
    }

    /// An ordinary access token, good for an hour from `now_s`.
    #[must_use]
    pub fn token(&self, now_s: u64) -> String {
        self.sign(&self.claims(now_s))
    }

    /// A token with `claims`, signed with the newest key.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let (kid, algorithm) = self
            .0
            .borrow()
            .keys
            .last()
            .map(|key| (key.kid.clone(), format!("{:?}", key.algorithm)))
            .unwrap_or_default();
        self.sign_as(&json!({"alg": algorithm, "typ": "JWT", "kid": kid}), claims)
    }

    /// A token with this `header`, signed with the newest key whatever the header says.
    ///
    /// # Panics
    /// If the signature cannot be made.
    #[must_use]
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(header), encode(claims));
        let state = self.0.borrow();
        let signature = state
            .keys
            .last()
            .map(|key| jsonwebtoken::crypto::sign(message.as_bytes(), &key.secret, key.algorithm));
        match signature {
            Some(Ok(signature)) => format!("{message}.{signature}"),
            other => panic!("no signature: {other:?}"),
        }
    }

    /// The filter's configuration for a route that takes this issuer's tokens; the members of
    /// `more` are added.
    #[must_use]
    pub fn route(&self, more: Value) -> Value {
        let configuration = json!({
            "access": "authenticated",
            "issuers": [{
                "issuer": self.url(),
                "audiences": [PROJECT],
                "project": PROJECT,
                "algorithms": ["RS256", "ES256", "EdDSA"],
            }],
            "keys": {"wait_at": WAITING_ROOM},
        });
        with(configuration, &more)
    }

    fn metadata(&self) -> String {
        let url = self.url();
        json!({"issuer": url, "jwks_uri": format!("{url}/oauth/v2/keys")}).to_string()
    }

    fn key_set(&self) -> String {
        let state = self.0.borrow();
        let keys: Vec<Value> = state.keys.iter().filter(|key| key.published).map(public).collect();
        json!({ "keys": keys }).to_string()
    }
}

fn public(key: &Key) -> Value {
    let mut jwk = match Jwk::from_encoding_key(&key.secret, key.algorithm) {
        Ok(jwk) => jwk,
        Err(error) => panic!("a key has no public half: {error}"),
    };
    jwk.common.key_id = Some(key.kid.clone());
    let mut value = serde_json::to_value(jwk).unwrap_or_default();
    if let Some(members) = value.as_object_mut() {
        members.insert("use".to_owned(), json!("sig"));
    }
    value
}

impl Peers for Issuer {
    fn answer(&mut self, call: &Call) -> Answer {
        let (behaviour, asks_for_keys) = {
            let mut state = self.0.borrow_mut();
            let own = state.url.split("://").nth(1).and_then(|rest| rest.split('/').next());
            if own != Some(call.authority()) {
                return Answer::failure(Failure::Resolver);
            }
            if call.path().ends_with("/.well-known/openid-configuration") {
                state.discovery_requests += 1;
                (state.discovery.clone(), false)
            } else if call.path().ends_with("/oauth/v2/keys") {
                state.key_set_requests += 1;
                (state.key_set.clone(), true)
            } else {
                return Answer::reply(404, "{}").after(state.delay_ms);
            }
        };
        let document = if asks_for_keys { self.key_set() } else { self.metadata() };
        let answer = match behaviour {
            Behaviour::Honest => Answer::reply(200, document),
            Behaviour::Status(status) => Answer::reply(status, "{\"error\":\"down\"}"),
            Behaviour::Fails(failure) => Answer::failure(failure),
            Behaviour::Stalls => {
                let half = document.len() / 2;
                Answer::stall(document.as_bytes().get(..half).unwrap_or_default())
            }
            Behaviour::Says(bytes) => Answer::reply(200, bytes),
        };
        answer.after(self.0.borrow().delay_ms)
    }
}
