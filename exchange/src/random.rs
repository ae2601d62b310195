//! Random bytes from the operating system.

use ring::rand::{SecureRandom, SystemRandom};

/// The operating system has no random bytes to give.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gives no random bytes")]
pub struct NoRandomness;

/// `N` random bytes, fit for keys.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// An id for a request that has none from the gateway yet: 128 bits in hexadecimal, as Kong's.
#[must_use]
pub fn request_id() -> String {
    // An id is no secret; without randomness, keys fail and this one is merely not unique.
    format!("{:032x}", u128::from_be_bytes(bytes().unwrap_or_default()))
}
