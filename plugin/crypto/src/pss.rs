//! EMSA-PSS (RFC 8017 section 9.1.2), with a salt as long as the hash and MGF1 with the same hash,
//! as RFC 7518 section 3.5 demands.

use crate::hash::Hash;

/// Whether the message with `digest` was encoded as `recovered`, a number below `2^bits` with
/// leading zeros.
pub(crate) fn is_consistent(hash: Hash, digest: &[u8], recovered: &[u8], bits: usize) -> bool {
    check(hash, digest, recovered, bits).is_some()
}

/// `Some` if consistent. The numbers are those of the steps in section 9.1.2.
fn check(hash: Hash, digest: &[u8], recovered: &[u8], bits: usize) -> Option<()> {
    let (hash_length, salt_length) = (hash.length(), hash.length());
    let length = bits.div_ceil(8);
    // RSAVP1's number must fit into `length` bytes, which can be one less than the modulus has.
    let (above, encoded) = recovered.split_at_checked(recovered.len().checked_sub(length)?)?;
    all_zero(above)?;
    // 3. The parts must fit.
    let masked_length = length.checked_sub(hash_length + 1)?;
    let padding_length = masked_length.checked_sub(salt_length + 1)?;
    // 4, 5.
    let (masked, rest) = encoded.split_at_checked(masked_length)?;
    let (h, trailer) = rest.split_at_checked(hash_length)?;
    (trailer == [0xbc]).then_some(())?;
    // 6. The bits beyond the length must be zero.
    let unused_bits = 8 * length - bits;
    let used_mask = 0xff_u8.checked_shr(u32::try_from(unused_bits).ok()?)?;
    (masked.first()? & !used_mask == 0).then_some(())?;
    // 7, 8, 9.
    let mut data = mgf1(hash, h, masked_length);
    for (byte, masked) in data.iter_mut().zip(masked) {
        *byte ^= masked;
    }
    *data.first_mut()? &= used_mask;
    // 10.
    let (padding, rest) = data.split_at_checked(padding_length)?;
    let (separator, salt) = rest.split_first()?;
    all_zero(padding)?;
    (*separator == 0x01).then_some(())?;
    // 12, 13, 14.
    (hash.digest(&[&[0; 8], digest, salt]) == h).then_some(())
}

fn all_zero(bytes: &[u8]) -> Option<()> {
    bytes.iter().all(|byte| *byte == 0).then_some(())
}

/// The mask generation function of appendix B.2.1.
pub(crate) fn mgf1(hash: Hash, seed: &[u8], length: usize) -> Vec<u8> {
    let mut mask = Vec::with_capacity(length + hash.length());
    for counter in 0_u32.. {
        if mask.len() >= length {
            break;
        }
        mask.extend_from_slice(&hash.digest(&[seed, &counter.to_be_bytes()]));
    }
    mask.truncate(length);
    mask
}
