//! Signing the assertion that upstreams trust: see [`kombi_spec::assertion`].

mod reuse;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use kombi_spec::assertion::{Assertion, ISSUER, LIFETIME_S, TYP};
use serde::Serialize;

use crate::{identity::Identity, request::Head, time::UnixTime};
use reuse::Reuse;

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

/// Signs assertions for one upstream.
#[derive(Clone)]
pub struct Signer {
    key: EncodingKey,
    /// The protected header, encoded once.
    header: String,
    audience: String,
    /// Where an assertion is good for any request, those that may be sent again.
    unbound: Option<Reuse>,
}

impl Signer {
    /// A signer with the Ed25519 private key `seed` (32 bytes, base64url). If `bound`, each
    /// assertion is good for one method and path.
    pub fn new(seed: &str, audience: String, bound: bool) -> Result<Self, SigningKeyError> {
        let seed = URL_SAFE_NO_PAD.decode(seed).map_err(|_| SigningKeyError::Malformed)?;
        if seed.len() != 32 {
            return Err(SigningKeyError::Malformed);
        }
        kombi_gate_crypto::install();
        let key = EncodingKey::from_ed_der(&[PKCS8_PREFIX.as_slice(), &seed].concat());
        let kid = jsonwebtoken::jwk::Jwk::from_encoding_key(&key, Algorithm::EdDSA)?
            .thumbprint(jsonwebtoken::jwk::ThumbprintHash::SHA256)?;
        let header = serde_json::json!({"alg": "EdDSA", "typ": TYP, "kid": kid}).to_string();
        let unbound = (!bound).then(Reuse::default);
        Ok(Self { key, header: URL_SAFE_NO_PAD.encode(header), audience, unbound })
    }

    /// The assertion that `identity` makes the request `head`; `None` only if the library fails
    /// on a key that it accepted before. One that is bound to no request may be sent again, with
    /// the `jti` of the request that it was made for.
    #[must_use]
    pub fn sign(&self, identity: &Identity, head: &Head, now: UnixTime) -> Option<String> {
        let bound_to = |part: &str| self.unbound.is_none().then(|| part.to_owned());
        let claims = Assertion {
            iss: ISSUER.to_owned(),
            aud: self.audience.clone(),
            sub: identity.subject.clone(),
            iat: now.as_secs(),
            exp: now.as_secs().saturating_add(LIFETIME_S),
            jti: head.request_id.clone(),
            htm: bound_to(&head.method),
            htp: bound_to(&head.path),
            org: identity.organisation.clone(),
            roles: identity.roles.names().map(str::to_owned).collect(),
            email: identity.email.clone(),
            email_verified: identity.email_verified,
            name: identity.name.clone(),
        };
        match &self.unbound {
            None => self.sign_claims(&claims),
            Some(reuse) => reuse.or_sign(&claims, now, |claims| self.sign_claims(claims)),
        }
    }

    /// Signs `claims` as they are.
    fn sign_claims(&self, claims: &impl Serialize) -> Option<String> {
        let claims = URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).ok()?);
        let message = format!("{}.{claims}", self.header);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, Algorithm::EdDSA).ok()?;
        Some(format!("{message}.{signature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{DecodingKey, Validation};

    /// The key pair of RFC 8037 appendix A.
    const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    fn identity() -> Identity {
        Identity {
            issuer: "https://id.example".to_owned(),
            subject: "27345".to_owned(),
            roles: ["user".to_owned()].into_iter().collect(),
            email: Some("ada@example.com".to_owned()),
            email_verified: true,
            ..Identity::default()
        }
    }

    fn head() -> Head {
        Head {
            method: "POST".to_owned(),
            path: "/sso/instances/a/session".to_owned(),
            request_id: "r1".to_owned(),
            ..Head::default()
        }
    }

    fn assertion(bound: bool) -> Assertion {
        let signer = Signer::new(SEED, "kombi-exchange".to_owned(), bound).unwrap();
        let jwt = signer.sign(&identity(), &head(), UnixTime::from_millis(1_999)).unwrap();
        let header = jsonwebtoken::decode_header(&jwt).unwrap();
        assert_eq!(header.kid.as_deref(), Some(THUMBPRINT));
        assert_eq!(header.typ.as_deref(), Some(TYP));
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.set_audience(&["kombi-exchange"]);
        let key = DecodingKey::from_ed_components(PUBLIC).unwrap();
        jsonwebtoken::decode(&jwt, &key, &validation).unwrap().claims
    }

    #[test]
    fn a_bound_assertion_names_its_request() {
        let claims = assertion(true);
        assert_eq!(claims.htm.as_deref(), Some("POST"));
        assert_eq!(claims.htp.as_deref(), Some("/sso/instances/a/session"));
        assert_eq!((claims.iat, claims.exp), (1, 31));
        assert_eq!(claims.jti, "r1");
        assert_eq!(claims.sub, "27345");
        assert!(claims.email_verified);
    }

    #[test]
    fn an_unbound_assertion_does_not() {
        let claims = assertion(false);
        assert_eq!((claims.htm, claims.htp), (None, None));
    }

    #[test]
    fn only_an_unbound_assertion_is_sent_again() {
        for (bound, again) in [(true, false), (false, true)] {
            let signer = Signer::new(SEED, "upstream".to_owned(), bound).unwrap();
            let sign = |s| signer.sign(&identity(), &head(), UnixTime::from_secs(s)).unwrap();
            assert_eq!(sign(100) == sign(101), again);
        }
    }

    #[test]
    fn only_a_32_byte_seed_is_a_signing_key() {
        for seed in ["", "AAAA", "not base64", &format!("{SEED}=")] {
            assert!(Signer::new(seed, String::new(), true).is_err(), "{seed}");
        }
    }
}
