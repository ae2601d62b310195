//! EMSA-PKCS1-v1_5 (RFC 8017 section 9.2).
//!
//! A signature is checked by encoding the message anew and comparing all of it, never by parsing
//! what was signed: there is no padding to skip, no ASN.1 to read, and nowhere for garbage to
//! hide (Bleichenbacher's forgery of 2006).

use crate::hash::Hash;

/// What comes before the digest in the DER of DigestInfo (section 9.2, note 1).
const fn digest_info_prefix(hash: Hash) -> [u8; 19] {
    let (length, arc, digest_length) = match hash {
        Hash::Sha256 => (0x31, 0x01, 0x20),
        Hash::Sha384 => (0x41, 0x02, 0x30),
        Hash::Sha512 => (0x51, 0x03, 0x40),
    };
    [
        0x30,
        length,
        0x30,
        0x0d,
        0x06,
        0x09,
        0x60,
        0x86,
        0x48,
        0x01,
        0x65,
        0x03,
        0x04,
        0x02,
        arc,
        0x05,
        0x00,
        0x04,
        digest_length,
    ]
}

/// The encoded message of `length` bytes with `digest`; `None` if it does not fit.
pub(crate) fn encode(hash: Hash, digest: &[u8], length: usize) -> Option<Vec<u8>> {
    let prefix = digest_info_prefix(hash);
    let padding = length.checked_sub(prefix.len() + digest.len() + 3)?;
    if padding < 8 {
        return None;
    }
    let mut encoded = Vec::with_capacity(length);
    encoded.extend_from_slice(&[0x00, 0x01]);
    encoded.resize(2 + padding, 0xff);
    encoded.push(0x00);
    encoded.extend_from_slice(&prefix);
    encoded.extend_from_slice(digest);
    Some(encoded)
}
