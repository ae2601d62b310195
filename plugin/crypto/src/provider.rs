//! How `jsonwebtoken` finds the algorithms.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils},
    errors::{Error, ErrorKind},
    jwk::{EllipticCurve, ThumbprintHash},
    signature::{self, Signer, Verifier},
};

use crate::{
    ecdsa::{p256, p384},
    ed25519,
    hash::Hash,
    rsa::{self, Padding},
};

/// Verifies RS, PS, ES256, ES384 and EdDSA; signs EdDSA. Everything else is an error, HMAC
/// included: a gate that knew HMAC could be made to take a public key for its secret (RFC 8725
/// section 2.1).
pub static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: signer,
    verifier_factory: verifier,
    key_utils: KeyUtils {
        rsa_pub_components_from_private_key: |_| Err(unsupported()),
        rsa_pub_components_from_public_key: |_| Err(unsupported()),
        ec_pub_components_from_private_key: |_, _| Err(unsupported()),
        ed_pub_components_from_private_key,
        compute_digest,
    },
};

/// A public key and what it is used with.
enum PublicKey {
    Rsa(rsa::PublicKey, Padding, Hash),
    P256(p256::PublicKey),
    P384(p384::PublicKey),
    Ed25519(ed25519::PublicKey),
}

struct KeyVerifier {
    algorithm: Algorithm,
    key: PublicKey,
}

impl Verifier<Vec<u8>> for KeyVerifier {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let fits = match &self.key {
            PublicKey::Rsa(key, padding, hash) => key.verifies(*padding, *hash, message, signature),
            PublicKey::P256(key) => key.verifies(message, signature),
            PublicKey::P384(key) => key.verifies(message, signature),
            PublicKey::Ed25519(key) => key.verifies(message, signature),
        };
        if fits { Ok(()) } else { Err(signature::Error::new()) }
    }
}

impl JwtVerifier for KeyVerifier {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>, Error> {
    // A key of one family is never used with an algorithm of another.
    let rsa = |padding, hash| match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } if key.family() == AlgorithmFamily::Rsa => {
            rsa::PublicKey::new(n, e)
                .map(|key| PublicKey::Rsa(key, padding, hash))
                .ok_or_else(|| ErrorKind::InvalidRsaKey("size, parity or exponent".into()).into())
        }
        _ => Err(Error::from(ErrorKind::InvalidKeyFormat)),
    };
    let bytes = |family| match key.kind() {
        DecodingKeyKind::SecretOrDer(bytes) if key.family() == family => Ok(bytes.as_slice()),
        _ => Err(Error::from(ErrorKind::InvalidKeyFormat)),
    };
    let key = match algorithm {
        Algorithm::RS256 => rsa(Padding::Pkcs1, Hash::Sha256)?,
        Algorithm::RS384 => rsa(Padding::Pkcs1, Hash::Sha384)?,
        Algorithm::RS512 => rsa(Padding::Pkcs1, Hash::Sha512)?,
        Algorithm::PS256 => rsa(Padding::Pss, Hash::Sha256)?,
        Algorithm::PS384 => rsa(Padding::Pss, Hash::Sha384)?,
        Algorithm::PS512 => rsa(Padding::Pss, Hash::Sha512)?,
        Algorithm::ES256 => p256::PublicKey::new(bytes(AlgorithmFamily::Ec)?)
            .map(PublicKey::P256)
            .ok_or(ErrorKind::InvalidEcdsaKey)?,
        Algorithm::ES384 => p384::PublicKey::new(bytes(AlgorithmFamily::Ec)?)
            .map(PublicKey::P384)
            .ok_or(ErrorKind::InvalidEcdsaKey)?,
        Algorithm::EdDSA => ed25519::PublicKey::new(bytes(AlgorithmFamily::Ed)?)
            .map(PublicKey::Ed25519)
            .ok_or(ErrorKind::InvalidEddsaKey)?,
        _ => return Err(unsupported()),
    };
    Ok(Box::new(KeyVerifier { algorithm: *algorithm, key }))
}

struct EdDsaSigner(ed25519::PrivateKey);

impl Signer<Vec<u8>> for EdDsaSigner {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

impl JwtSigner for EdDsaSigner {
    fn algorithm(&self) -> Algorithm {
        Algorithm::EdDSA
    }
}

fn signer(algorithm: &Algorithm, key: &EncodingKey) -> Result<Box<dyn JwtSigner>, Error> {
    if *algorithm != Algorithm::EdDSA {
        return Err(unsupported());
    }
    if key.family() != AlgorithmFamily::Ed {
        return Err(ErrorKind::InvalidKeyFormat.into());
    }
    let key = ed25519::PrivateKey::from_pkcs8(key.as_bytes()).ok_or(ErrorKind::InvalidEddsaKey)?;
    Ok(Box::new(EdDsaSigner(key)))
}

fn ed_pub_components_from_private_key(der: &[u8], curve: &EllipticCurve) -> Result<Vec<u8>, Error> {
    if *curve != EllipticCurve::Ed25519 {
        return Err(unsupported());
    }
    let key = ed25519::PrivateKey::from_pkcs8(der).ok_or(ErrorKind::InvalidEddsaKey)?;
    Ok(key.public_key().to_vec())
}

fn compute_digest(data: &[u8], hash: ThumbprintHash) -> Result<Vec<u8>, Error> {
    let hash = match hash {
        ThumbprintHash::SHA256 => Hash::Sha256,
        ThumbprintHash::SHA384 => Hash::Sha384,
        ThumbprintHash::SHA512 => Hash::Sha512,
        _ => return Err(unsupported()),
    };
    Ok(hash.digest(&[data]))
}

fn unsupported() -> Error {
    ErrorKind::UnsupportedAlgorithm.into()
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    use jsonwebtoken::{crypto, jwk::Jwk};

    use super::*;

    /// The keys and the example of RFC 8037 appendix A.
    const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const SIGNED: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    const SIGNATURE: &str = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt\
        9g7sVvpAr_MuM0KAg";
    const THUMBPRINT: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";

    const ALL: [Algorithm; 12] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];

    fn pkcs8() -> Vec<u8> {
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        [prefix.to_vec(), URL_SAFE_NO_PAD.decode(SEED).unwrap()].concat()
    }

    #[test]
    fn the_example_of_rfc_8037_is_signed_verified_and_named() {
        crate::install();
        crate::install();
        let key = EncodingKey::from_ed_der(&pkcs8());
        let signature = crypto::sign(SIGNED.as_bytes(), &key, Algorithm::EdDSA).unwrap();
        assert_eq!(signature, SIGNATURE);
        let public = DecodingKey::from_ed_components(PUBLIC).unwrap();
        for (message, fits) in [(SIGNED, true), ("something else", false)] {
            let found = crypto::verify(SIGNATURE, message.as_bytes(), &public, Algorithm::EdDSA);
            assert_eq!(found.unwrap(), fits);
        }
        let jwk = Jwk::from_encoding_key(&key, Algorithm::EdDSA).unwrap();
        assert_eq!(jwk.thumbprint(ThumbprintHash::SHA256).unwrap(), THUMBPRINT);
    }

    #[test]
    fn a_key_serves_only_the_algorithms_of_its_family() {
        let n = vec![0xff; 256];
        for (key, served) in [
            (DecodingKey::from_rsa_raw_components(&n, &[1, 0, 1]), &ALL[3..9]),
            (DecodingKey::from_ed_components(PUBLIC).unwrap(), &ALL[11..]),
            (DecodingKey::from_secret(&[7; 32]), &[]),
            (DecodingKey::from_rsa_der(&n), &[]),
        ] {
            for algorithm in &ALL {
                let answer = verifier(algorithm, &key);
                assert_eq!(answer.is_ok(), served.contains(algorithm), "{algorithm:?} {key:?}");
            }
        }
    }

    #[test]
    fn keys_that_are_no_points_or_of_small_order_are_refused() {
        let identity = [&[1][..], &[0; 31]].concat();
        for key in [&[][..], &[7; 31], &[7; 33], &identity, &[0; 32]] {
            assert!(verifier(&Algorithm::EdDSA, &DecodingKey::from_ed_der(key)).is_err());
        }
        for key in [&[][..], &[0], &[4; 65], &[2; 33], &[4; 97], &[0; 65]] {
            for algorithm in [Algorithm::ES256, Algorithm::ES384] {
                assert!(verifier(&algorithm, &DecodingKey::from_ec_der(key)).is_err());
            }
        }
    }

    #[test]
    fn only_ed25519_signs() {
        let ed = EncodingKey::from_ed_der(&pkcs8());
        for algorithm in &ALL[..11] {
            assert!(signer(algorithm, &ed).is_err(), "{algorithm:?}");
        }
        for der in [&[][..], &pkcs8()[..47], &[pkcs8(), vec![0]].concat(), &[0; 48]] {
            assert!(signer(&Algorithm::EdDSA, &EncodingKey::from_ed_der(der)).is_err());
        }
        assert!(signer(&Algorithm::EdDSA, &EncodingKey::from_secret(&pkcs8())).is_err());
    }
}
