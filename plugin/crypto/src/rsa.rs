//! The RSA public key operation (RFC 8017).

use dashu_int::{UBig, monty::MontgomeryRepr};

use crate::{hash::Hash, pkcs1, pss};

/// Sizes of the modulus in bits: RFC 7518 section 3.3 demands the lower bound, the cost of a
/// verification the upper one.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// The exponents of RSA (RFC 8017 section 3.1) whose cost is bounded.
const EXPONENTS: std::ops::Range<u64> = 3..1 << 33;

/// How a message becomes the number that is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Padding {
    /// EMSA-PKCS1-v1_5, of RS256 and its siblings.
    Pkcs1,
    /// EMSA-PSS with a salt as long as the hash and MGF1 with the same hash, as RFC 7518 section
    /// 3.5 demands, of PS256 and its siblings.
    Pss,
}

/// An RSA public key, ready for verifications.
pub(crate) struct PublicKey {
    modulus: UBig,
    modulus_bits: usize,
    exponent: u64,
    ring: MontgomeryRepr,
}

impl PublicKey {
    /// The key with the modulus `n` and the exponent `e`, big-endian; `None` if it is too small,
    /// too large, or no RSA key.
    pub(crate) fn new(n: &[u8], e: &[u8]) -> Option<Self> {
        let (n, e) = (without_leading_zeros(n), without_leading_zeros(e));
        // Before any arithmetic, so that no key can make it costly.
        let modulus_bits = bit_length(n)?;
        let exponent = e
            .iter()
            .try_fold(0_u64, |sum, byte| sum.checked_mul(256)?.checked_add(u64::from(*byte)))?;
        let odd = n.last()? % 2 == 1 && exponent % 2 == 1;
        if !odd || !MODULUS_BITS.contains(&modulus_bits) || !EXPONENTS.contains(&exponent) {
            return None;
        }
        let modulus = UBig::from_be_bytes(n);
        // It panics on an even modulus, which cannot come this far.
        let ring = MontgomeryRepr::new(modulus.clone());
        Some(Self { modulus, modulus_bits, exponent, ring })
    }

    /// Whether `signature` is the key's over `message` (RFC 8017 sections 8.1.2 and 8.2.2).
    // Not part of whoever calls it, which may be built for size.
    #[inline(never)]
    pub(crate) fn verifies(
        &self,
        padding: Padding,
        hash: Hash,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let Some(recovered) = self.recover(signature) else {
            return false;
        };
        let digest = hash.digest(&[message]);
        match padding {
            Padding::Pkcs1 => {
                pkcs1::encode(hash, &digest, recovered.len()).is_some_and(|em| em == recovered)
            }
            Padding::Pss => pss::is_consistent(hash, &digest, &recovered, self.modulus_bits - 1),
        }
    }

    /// RSAVP1 with the conversions around it: the encoded message in `signature`, as long as the
    /// modulus. `None` if the signature is not as long as the modulus, or not less than it.
    fn recover(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let length = self.modulus_bits.div_ceil(8);
        if signature.len() != length {
            return None;
        }
        let number = UBig::from_be_bytes(signature);
        if number >= self.modulus {
            return None;
        }
        let message = self.power(number).to_be_bytes();
        let mut encoded = vec![0; length.checked_sub(message.len())?];
        encoded.extend_from_slice(&message);
        Some(encoded)
    }

    /// `number` to the power of the exponent, bit by bit from the top. The exponents in use have
    /// two bits set, and for them this is faster than the library's `pow` with its windows.
    fn power(&self, number: UBig) -> UBig {
        let base = self.ring.reduce(number);
        let mut power = base.clone();
        for bit in (0..self.exponent.ilog2()).rev() {
            power = power.sqr();
            if self.exponent >> bit & 1 == 1 {
                power *= &base;
            }
        }
        power.residue()
    }
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

/// The bits of a big-endian number without leading zeros.
fn bit_length(number: &[u8]) -> Option<usize> {
    let top = number.first()?;
    Some(number.len() * 8 - top.leading_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A modulus of 2048 bits, made for these tests.
    const N: &str = "b9f0a0161ba1b83e24157d51716beb7035b5686e08a308f3692a7b9b6c42d36179d1725932e23f13\
        33ad3f1af2762d34c45b062120587c6a7037b22c3c966d2719456b56f2df22986ca60e93ede49695\
        16010c1c393b983475a403c012406fd1c91faf782c57a71ba28f3b2f6265ca4e9c430581da2637c9\
        6cedda0df5037557a85e3209f5ec689ce3f5918f135567a456950a16529661c1e0bd3b707a1c83ae\
        4465297f4fe0ff4ff021060dc991035b153f6d2c6bf292ff2d68ba33f05b03ffd10afc9aaabc9a4a\
        69bb61f8b55ab61c00d8b94ae35e3eb3b832ac23a788505e9af22e4b54ba54008e26681b625322c0\
        88c6ef7821b7ba552c6908f839eec811";
    /// The private exponent to [`N`].
    const D: &str = "3319b1354234c8a8b34c009bd05b03625c3055d9df9fc6c6f681096566745b196fdc22dbe6c30ce8\
        9f0c1ecaae15d248ad2a02de39c077b8dccc41b82c927ebeff0ff7f6f65a626c97776f8c3215df58\
        6baab00455aa4e2324ad85a6549dc6dd55b3d28a694d518ca3b94f5faf602020488b96c8e0061ed0\
        c991f89a5b5aaef58711e7e24181f00ba8d3cc44f679124384a66ac82a46e0e8e4364c654fc6e501\
        637d62662c11d9be8cb812262ce8ad714158364bd08381f2d3f4a224c4fb402e06fa7518ed1c1f65\
        8cdb96a87009756388a56fd2dac4ae68548c56e096b99607e53ab6ecbef53245e85742079b175e77\
        71b96be80f0c10419809fbbf5b5bd1c1";
    /// A modulus of 2049 bits, made for these tests.
    const N_2049: &str = "1b6f00535d4caf66f2e7982b9ef932d651afa55449f48a95e44a932091b8665228233b6beb1582f5\
        fe5ab4bcb6629f3620fb757b3e54bb00ef64b3fb87cbd8c7d482eea5f9c04e951a0d8afeb5b9014d\
        e54462ac4bf79e06d37521a39ba34697f98990ebe945942b0a379d076bba6f9a3ed550e64ee76800\
        52c1f403bd8b290605d8b706486c351988b76263b44f834545c6bbcebd89ed3829dcf44a9022d12b\
        e3499215c00c280d5aae60fa1c068b9ebd42ddbb85c653386e29454e83b54d553b0fecc65f09284e\
        adaa34a572a1417e7dd7f103b36f7bca0432fc1d23b2b0ef5373b1097a441ddebed0d3b2f821394d\
        e01fd720ba7dd2bcdb89a0fde0095f789";
    /// The private exponent to [`N_2049`].
    const D_2049: &str = "136815a9e371710f79bbfd78b63001177d97ac7411110dcc753f900ed526c6334e338640947f9632\
        20a9d7fb3b664ecc82ce7fd01c4ae2330a2689efe0a38289f23a614a468014d703241b748de6ff16\
        349e88d2ebb69232aff9c73f2ec57515e32fbeb63441c54c212130536490f18c02f0f216ca3086f0\
        db9a5add1e83c8145be70bf88c0cc5dfa08449338095f6437e36251d81cdfa0864631eaa0e88c2d6\
        0c4df8277dd4a1ad83bc149a0e9090b596b6f575706c37b38485ba4da285a52c31df2de4d3fb4d08\
        d006b9585ed1685cca28fcdef47a28e4e51dea6d5581e9c49c00fe74c79840ddcd213d7a2a644bec\
        f0774cd93b45343e43945755a00f50b91";

    const MESSAGE: &[u8] = b"what is signed";

    /// A key pair that signs whatever it is given.
    struct Pair {
        public: PublicKey,
        private_exponent: UBig,
    }

    impl Pair {
        fn new(n: &str, d: &str) -> Self {
            let number = |hex| UBig::from_str_radix(hex, 16).unwrap();
            let public = PublicKey::new(&number(n).to_be_bytes(), &[1, 0, 1]).unwrap();
            Self { public, private_exponent: number(d) }
        }

        /// The signature from which `encoded` is recovered.
        fn sign(&self, encoded: &[u8]) -> Vec<u8> {
            let length = self.public.modulus_bits.div_ceil(8);
            let number = UBig::from_be_bytes(encoded);
            assert!(number < self.public.modulus);
            let power = self.public.ring.reduce(number).pow(&self.private_exponent);
            let signature = power.residue().to_be_bytes();
            [vec![0; length - signature.len()], signature.into_vec()].concat()
        }

        fn accepts(&self, padding: Padding, encoded: &[u8]) -> bool {
            self.public.verifies(padding, Hash::Sha256, MESSAGE, &self.sign(encoded))
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    }

    /// The DER in front of a SHA-256 digest.
    const SHA256: &str = "30 31 30 0d 06 09 60 86 48 01 65 03 04 02 01 05 00 04 20";

    /// The `header` in hex with the digest of the message.
    fn info(header: &str) -> Vec<u8> {
        [hex(header), Hash::Sha256.digest(&[MESSAGE])].concat()
    }

    /// `00 01 ff … 00 info garbage`, 256 bytes.
    fn pkcs1(info: &[u8], garbage: usize) -> Vec<u8> {
        let mut encoded = vec![0x00, 0x01];
        encoded.resize(256 - info.len() - 1 - garbage, 0xff);
        encoded.push(0x00);
        encoded.extend_from_slice(info);
        encoded.resize(256, 0xa5);
        encoded
    }

    #[test]
    fn only_the_one_encoding_of_pkcs1_is_accepted() {
        let pair = Pair::new(N, D);
        let right = pkcs1(&info(SHA256), 0);
        assert!(pair.accepts(Padding::Pkcs1, &right));
        assert!(!pair.accepts(Padding::Pss, &right));
        let with = |at: usize, byte: u8| {
            let mut encoded = right.clone();
            encoded[at] = byte;
            encoded
        };
        let forgeries = [
            // Bleichenbacher 2006: garbage behind the digest instead of padding.
            pkcs1(&info(SHA256), 1),
            pkcs1(&info(SHA256), 64),
            pkcs1(&info(SHA256), 256 - 3 - 8 - 51),
            pkcs1(&info(SHA256), 256 - 3 - 51),
            // Garbage in parameters, and lengths that are not DER.
            pkcs1(&info("30 33 30 0f 06 09 60 86 48 01 65 03 04 02 01 04 02 a5 a5 04 20"), 0),
            pkcs1(&info("30 81 31 30 0d 06 09 60 86 48 01 65 03 04 02 01 05 00 04 20"), 0),
            pkcs1(&info("30 80 30 0d 06 09 60 86 48 01 65 03 04 02 01 05 00 04 20"), 0),
            // Without NULL, which RFC 8017 lets a verifier accept; this one does not.
            pkcs1(&info("30 2f 30 0b 06 09 60 86 48 01 65 03 04 02 01 04 20"), 0),
            // The OIDs of SHA-384, SHA-224, SHA-1 and MD5.
            pkcs1(&info("30 31 30 0d 06 09 60 86 48 01 65 03 04 02 02 05 00 04 20"), 0),
            pkcs1(&info("30 31 30 0d 06 09 60 86 48 01 65 03 04 02 04 05 00 04 20"), 0),
            pkcs1(&info("30 2d 30 09 06 05 2b 0e 03 02 1a 05 00 04 20"), 0),
            pkcs1(&info("30 30 30 0c 06 08 2a 86 48 86 f7 0d 02 05 05 00 04 20"), 0),
            // No DigestInfo, no digest, nothing.
            pkcs1(&info(""), 0),
            pkcs1(&hex(SHA256), 0),
            pkcs1(&[], 0),
            vec![0],
            vec![1],
            // Damaged padding, separator and digest.
            with(1, 0x00),
            with(1, 0x02),
            with(2, 0x00),
            with(100, 0xfe),
            with(204, 0xff),
            with(255, !right[255]),
        ];
        for (case, forgery) in forgeries.iter().enumerate() {
            assert!(!pair.accepts(Padding::Pkcs1, forgery), "case {case}");
        }
    }

    #[test]
    fn a_signature_is_as_long_as_the_modulus_and_less_than_it() {
        let pair = Pair::new(N, D);
        let verifies =
            |bytes: &[u8]| pair.public.verifies(Padding::Pkcs1, Hash::Sha256, MESSAGE, bytes);
        let right = pair.sign(&pkcs1(&info(SHA256), 0));
        assert!(verifies(&right));
        // The same number modulo n, in as many bytes as it needs.
        let more = UBig::from_be_bytes(&right) + &pair.public.modulus;
        for wrong in [
            &[][..],
            &right[1..],
            &right[..255],
            &[&[0], right.as_slice()].concat(),
            &[right.as_slice(), &[0]].concat(),
            &pair.public.modulus.to_be_bytes(),
            &more.to_be_bytes(),
            &[0xff; 256],
            &[0; 256],
        ] {
            assert!(!verifies(wrong), "{wrong:02x?}");
        }
    }

    /// An encoding as in RFC 8017 section 9.1.1 for a number of `bits`, where `change` is done to
    /// the data block before it is masked.
    fn pss(bits: usize, salt: &[u8], mask: Hash, change: fn(&mut Vec<u8>)) -> Vec<u8> {
        let digest = Hash::Sha256.digest(&[MESSAGE]);
        let h = Hash::Sha256.digest(&[&[0; 8], &digest, salt]);
        let length = bits.div_ceil(8);
        let mut data = vec![0; length - 32 - 1 - salt.len() - 1];
        data.push(0x01);
        data.extend_from_slice(salt);
        change(&mut data);
        for (byte, mask) in data.iter_mut().zip(pss::mgf1(mask, &h, length)) {
            *byte ^= mask;
        }
        data[0] &= 0xff >> (8 * length - bits);
        [data, h, vec![0xbc]].concat()
    }

    #[test]
    fn only_a_consistent_pss_encoding_is_accepted() {
        let pair = Pair::new(N, D);
        let right = pss(2047, &[7; 32], Hash::Sha256, |_| ());
        assert!(pair.accepts(Padding::Pss, &right));
        assert!(!pair.accepts(Padding::Pkcs1, &right));
        let changed = |change| pss(2047, &[7; 32], Hash::Sha256, change);
        let with = |at: usize, byte: u8| {
            let mut encoded = right.clone();
            encoded[at] = byte;
            encoded
        };
        let forgeries = [
            // RFC 7518 section 3.5: the salt is as long as the hash.
            pss(2047, &[], Hash::Sha256, |_| ()),
            pss(2047, &[7; 31], Hash::Sha256, |_| ()),
            pss(2047, &[7; 33], Hash::Sha256, |_| ()),
            pss(2047, &[7; 48], Hash::Sha256, |_| ()),
            pss(2047, &[7; 256 - 32 - 2], Hash::Sha256, |_| ()),
            // MGF1 with another hash.
            pss(2047, &[7; 32], Hash::Sha512, |_| ()),
            // The data block is 190 zeros, 01 and the salt.
            changed(|data| data[1] = 1),
            changed(|data| data[189] = 1),
            changed(|data| data[190] = 0),
            changed(|data| data[190] = 2),
            changed(|data| data[191] = 8),
            with(255, 0xcc),
            with(254, !right[254]),
            with(100, !right[100]),
            vec![0xbc],
            vec![0],
        ];
        for (case, forgery) in forgeries.iter().enumerate() {
            assert!(!pair.accepts(Padding::Pss, forgery), "case {case}");
        }
    }

    #[test]
    fn pss_may_be_a_byte_shorter_than_the_modulus() {
        let pair = Pair::new(N_2049, D_2049);
        let right = pss(2048, &[7; 32], Hash::Sha256, |_| ());
        assert_eq!(right.len(), 256);
        assert!(pair.accepts(Padding::Pss, &right));
        assert!(!pair.accepts(Padding::Pss, &pss(2040, &[7; 32], Hash::Sha256, |_| ())));
        let digest = Hash::Sha256.digest(&[MESSAGE]);
        let after = |byte| [&[byte], right.as_slice()].concat();
        assert!(pss::is_consistent(Hash::Sha256, &digest, &after(0), 2048));
        assert!(!pss::is_consistent(Hash::Sha256, &digest, &after(1), 2048));
    }

    #[test]
    fn pss_of_any_length_is_judged_without_a_panic() {
        let digest = Hash::Sha256.digest(&[MESSAGE]);
        let mut encoded = pss(2047, &[7; 32], Hash::Sha256, |_| ());
        assert!(pss::is_consistent(Hash::Sha256, &digest, &encoded, 2047));
        assert!(!pss::is_consistent(Hash::Sha256, &digest, &encoded[1..], 2047));
        // A bit beyond the length.
        encoded[0] |= 0x80;
        assert!(!pss::is_consistent(Hash::Sha256, &digest, &encoded, 2047));
        for bits in 0..700 {
            for length in [0, 1, 32, 33, 65, 66, 80] {
                let short = vec![0xbc; length];
                assert!(!pss::is_consistent(Hash::Sha256, &digest, &short, bits));
            }
        }
    }

    #[test]
    fn keys_that_are_no_rsa_keys_are_refused() {
        let odd = |length: usize, top: u8| {
            let mut n = vec![0xff; length];
            n[0] = top;
            n
        };
        let least = odd(256, 0x80);
        for (n, e) in [
            (&least, &[1, 0, 1][..]),
            (&least, &[0, 1, 0, 1]),
            (&least, &[3]),
            (&[vec![0], least.clone()].concat(), &[1, 0, 1]),
            (&odd(1024, 0xff), &[1, 0xff, 0xff, 0xff, 0xff]),
        ] {
            assert!(PublicKey::new(n, e).is_some(), "{e:?}");
        }
        let even = [vec![0xff; 255], vec![0xfe]].concat();
        for n in [vec![], vec![0; 256], odd(256, 0x7f), odd(128, 0xff), odd(1025, 1), even] {
            assert!(PublicKey::new(&n, &[1, 0, 1]).is_none(), "{} bytes", n.len());
        }
        for e in [&[][..], &[0], &[1], &[2], &[1, 0], &[2, 0, 0, 0, 1], &[0xff; 9], &[0xff; 400]] {
            assert!(PublicKey::new(&least, e).is_none(), "{e:?}");
        }
    }
}
