//! One public key, and whether it can verify tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::DecodingKey;
use kombi_gate_crypto::es512;
use serde::Deserialize;
use serde_json::Value;

use super::{PublicKey, VerifyingKey};
use crate::token::Algorithm;

/// Smallest RSA modulus in bits (RFC 7518 section 3.3), and the largest: one of 8192 bits would cost
/// the gateway sixteen times as much a token.
const RSA_MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// The members of a JWK that matter here (RFC 7517 section 4, RFC 7518 section 6, RFC 8037).
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    d: Option<Value>,
}

impl Jwk {
    /// The key, if it can verify a token's signature.
    pub(super) fn verifying_key(&self) -> Option<VerifyingKey> {
        let for_signatures = self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        // A private key that is published can sign for anybody.
        if !for_signatures || self.d.is_some() {
            return None;
        }
        let (key, mut algorithms) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", None) => (self.rsa()?, RSA_ALGORITHMS.to_vec()),
            ("EC", Some("P-256")) => (self.elliptic(32, Algorithm::ES256)?, vec![Algorithm::ES256]),
            ("EC", Some("P-384")) => (self.elliptic(48, Algorithm::ES384)?, vec![Algorithm::ES384]),
            ("OKP", Some("Ed25519")) => (self.edwards()?, vec![Algorithm::EdDSA]),
            ("EC", Some("P-521")) => (self.p521()?, vec![Algorithm::ES512]),
            _ => return None,
        };
        if let Some(alg) = &self.alg {
            algorithms.retain(|allowed| alg.parse() == Ok(*allowed));
        }
        (!algorithms.is_empty()).then_some(VerifyingKey { key, algorithms })
    }

    fn rsa(&self) -> Option<PublicKey> {
        let (n, e) = (decode(self.n.as_ref()?)?, decode(self.e.as_ref()?)?);
        (is_sound_modulus(&n) && is_sound_exponent(&e))
            .then(|| PublicKey::Library(DecodingKey::from_rsa_raw_components(&n, &e)))
    }

    fn elliptic(&self, length: usize, algorithm: Algorithm) -> Option<PublicKey> {
        let (x, y) = (self.x.as_ref()?, self.y.as_ref()?);
        if decode(x)?.len() != length || decode(y)?.len() != length {
            return None;
        }
        on_curve(DecodingKey::from_ec_components(x, y).ok()?, algorithm)
    }

    fn p521(&self) -> Option<PublicKey> {
        let (x, y) = (decode(self.x.as_ref()?)?, decode(self.y.as_ref()?)?);
        if x.len() != 66 || y.len() != 66 {
            return None;
        }
        es512::PublicKey::new(&[&[4], x.as_slice(), &y].concat()).map(PublicKey::Es512)
    }

    fn edwards(&self) -> Option<PublicKey> {
        let x = self.x.as_ref()?;
        if decode(x)?.len() != 32 {
            return None;
        }
        on_curve(DecodingKey::from_ed_components(x).ok()?, Algorithm::EdDSA)
    }
}

const RSA_ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// An odd number of an accepted size; issuers may write leading zeros.
fn is_sound_modulus(n: &[u8]) -> bool {
    let significant: Vec<u8> = n.iter().copied().skip_while(|byte| *byte == 0).collect();
    let (Some(first), Some(last)) = (significant.first(), significant.last()) else {
        return false;
    };
    let unused = usize::try_from(first.leading_zeros()).unwrap_or(0);
    let bits = significant.len().saturating_mul(8).saturating_sub(unused);
    RSA_MODULUS_BITS.contains(&bits) && last % 2 == 1
}

/// An odd number from 3 on; at most 4 bytes bound what a token can cost.
fn is_sound_exponent(e: &[u8]) -> bool {
    e.len() <= 4
        && e.last().is_some_and(|low| low % 2 == 1)
        && e.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) >= 3
}

/// The key, if the backend takes its point: with a signature that is none, it only says no.
fn on_curve(key: DecodingKey, algorithm: Algorithm) -> Option<PublicKey> {
    jsonwebtoken::crypto::verify("", b"", &key, algorithm.in_library()?).ok()?;
    Some(PublicKey::Library(key))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}
