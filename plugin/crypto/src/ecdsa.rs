//! ECDSA in the forms of RFC 7518 section 3.4: the key as an uncompressed point, the signature as
//! R and S side by side. High values of S are accepted, as that section does not forbid them.

macro_rules! curve {
    ($curve:ident, $doc:literal) => {
        pub(crate) mod $curve {
            use $curve::ecdsa::{Signature, VerifyingKey, signature::Verifier};

            #[doc = $doc]
            #[derive(Clone)]
            pub(crate) struct PublicKey(VerifyingKey);

            impl PublicKey {
                /// The key at `point`; `None` if that is not on the curve, or in another form.
                pub(crate) fn new(point: &[u8]) -> Option<Self> {
                    // Compressed, hybrid and compact points are no JWK's.
                    (*point.first()? == 0x04).then_some(())?;
                    VerifyingKey::from_sec1_bytes(point).ok().map(Self)
                }

                /// Whether `signature` is the key's over `message`.
                pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
                    Signature::from_slice(signature)
                        .is_ok_and(|signature| self.0.verify(message, &signature).is_ok())
                }
            }
        }
    };
}

curve!(p256, "A public key of ES256.");
curve!(p384, "A public key of ES384.");
curve!(p521, "A public key of ES512.");
