//! An issuer: its keys, and tokens signed with them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, EncodingKey, crypto::rust_crypto::DEFAULT_PROVIDER as BACKEND, jwk::EllipticCurve,
};
use serde_json::{Value, json};

pub(crate) const URL: &str = "https://id.example";
pub(crate) const PROJECT: &str = "273456789012345678";
pub(crate) const ORGANISATION: &str = "310000000000000001";
pub(crate) const SUBJECT: &str = "290000000000000001";

/// The moment at which all tests take place, in seconds.
pub(crate) const NOW_S: u64 = 1_800_000_000;

/// A key pair of the issuer.
pub(crate) struct Key {
    pub(crate) kid: &'static str,
    algorithm: Algorithm,
    /// RSAPrivateKey of RFC 8017, or a private key in PKCS#8.
    der: Vec<u8>,
}

impl Key {
    /// The RSA key of RFC 7515 appendix A.2, for any RSA algorithm.
    pub(crate) fn rsa(kid: &'static str, algorithm: Algorithm) -> Self {
        let jwk: Value =
            serde_json::from_str(include_str!("../vectors/rsa_private_key.json")).unwrap();
        // RSAPrivateKey of RFC 8017 appendix A.1.2.
        let mut fields = der(0x02, &[0]);
        for name in ["n", "e", "d", "p", "q", "dp", "dq", "qi"] {
            let number = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
            let sign: &[u8] = if number[0] < 0x80 { &[] } else { &[0] };
            fields.extend(der(0x02, &[sign, &number].concat()));
        }
        Self { kid, algorithm, der: der(0x30, &fields) }
    }

    /// The P-256 key with a private number made of `seed`.
    pub(crate) fn p256(kid: &'static str, seed: u8) -> Self {
        let prefix = "MEECAQAwEwYHKoZIzj0CAQYIKoZIzj0DAQcEJzAlAgEBBCA";
        let pkcs8 = [URL_SAFE_NO_PAD.decode(prefix).unwrap(), vec![seed; 32]].concat();
        Self { kid, algorithm: Algorithm::ES256, der: pkcs8 }
    }

    /// The P-384 key with a private number made of `seed`.
    pub(crate) fn p384(kid: &'static str, seed: u8) -> Self {
        let prefix = "ME4CAQAwEAYHKoZIzj0CAQYFK4EEACIENzA1AgEBBDA";
        let pkcs8 = [URL_SAFE_NO_PAD.decode(prefix).unwrap(), vec![seed; 48]].concat();
        Self { kid, algorithm: Algorithm::ES384, der: pkcs8 }
    }

    /// The Ed25519 key with a private number made of `seed`.
    pub(crate) fn ed25519(kid: &'static str, seed: u8) -> Self {
        let prefix = "MC4CAQAwBQYDK2VwBCIEIA";
        let pkcs8 = [URL_SAFE_NO_PAD.decode(prefix).unwrap(), vec![seed; 32]].concat();
        Self { kid, algorithm: Algorithm::EdDSA, der: pkcs8 }
    }

    /// The public key, as the issuer publishes it.
    pub(crate) fn public(&self) -> Value {
        let encode = |bytes: Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
        let utils = &BACKEND.key_utils;
        let mut jwk = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => {
                let read = utils.ec_pub_components_from_private_key;
                let (curve, x, y) = read(&self.der, self.algorithm).unwrap();
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Algorithm::EdDSA => {
                let read = utils.ed_pub_components_from_private_key;
                let x = read(&self.der, &EllipticCurve::Ed25519).unwrap();
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(x)})
            }
            _ => {
                let (n, e) = (utils.rsa_pub_components_from_private_key)(&self.der).unwrap();
                json!({"kty": "RSA", "n": encode(n), "e": encode(e)})
            }
        };
        jwk["kid"] = self.kid.into();
        jwk["use"] = "sig".into();
        jwk["alg"] = json!(self.algorithm);
        jwk
    }

    /// A token with `claims`, as Zitadel signs it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&json!({"alg": self.algorithm, "kid": self.kid, "typ": "JWT"}), claims)
    }

    /// A token with any header.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_bytes(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// A token of any bytes.
    pub(crate) fn sign_bytes(&self, header: &[u8], claims: &[u8]) -> String {
        let encode = |part| URL_SAFE_NO_PAD.encode::<&[u8]>(part);
        let message = format!("{}.{}", encode(header), encode(claims));
        let private = match self.algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_der(&self.der),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&self.der),
            _ => EncodingKey::from_rsa_der(&self.der),
        };
        let signature = signature(&message, &private, self.algorithm);
        format!("{message}.{signature}")
    }
}

/// Signs with a backend of the issuer's own: the gate's need not know how to sign.
pub(crate) fn signature(message: &str, private: &EncodingKey, algorithm: Algorithm) -> String {
    let signer = (BACKEND.signer_factory)(&algorithm, private).unwrap();
    URL_SAFE_NO_PAD.encode(signer.try_sign(message.as_bytes()).unwrap())
}

/// The key that most tests sign with: the fastest.
pub(crate) fn key() -> Key {
    Key::ed25519("main", 7)
}

/// The claims of an ordinary access token.
pub(crate) fn claims() -> Value {
    json!({
        "iss": URL,
        "sub": SUBJECT,
        "aud": ["client", PROJECT],
        "exp": NOW_S + 3600,
        "iat": NOW_S - 60,
        "nbf": NOW_S - 60,
        "jti": "V2_1-at_2",
    })
}

/// Ordinary claims with one more, or with another value.
pub(crate) fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// Ordinary claims with `roles`, granted by one organisation.
pub(crate) fn with_roles(roles: &[&str]) -> Value {
    let granted: serde_json::Map<String, Value> = roles
        .iter()
        .map(|role| ((*role).to_owned(), json!({ ORGANISATION: "example.com" })))
        .collect();
    with(&format!("urn:zitadel:iam:org:project:{PROJECT}:roles"), granted.into())
}

/// A DER value (ITU-T X.690 section 8.1.3).
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    let length = match (high, low) {
        (0, ..0x80) => vec![low],
        (0, _) => vec![0x81, low],
        _ => vec![0x82, high, low],
    };
    [&[tag], length.as_slice(), content].concat()
}
