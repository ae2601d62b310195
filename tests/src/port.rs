//! Free ports on the loopback address.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    net::{Ipv4Addr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Result, bail};

/// Below the range from which the system takes the ports of outgoing connections, so that none
/// of those takes a port between its choice and its use.
const RANGE: std::ops::Range<u16> = 15_000..32_000;

/// A port that nothing listens on. Two calls in one process never return the same, and two
/// processes look in different places.
pub fn free() -> Result<u16> {
    static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let span = u64::from(RANGE.end - RANGE.start);
    for _ in 0..span {
        let offset = FIRST.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % span;
        let port = RANGE.start + u16::try_from(offset)?;
        if is_free(port) {
            return Ok(port);
        }
    }
    bail!("expected a free port between {} and {} on 127.0.0.1, found none", RANGE.start, RANGE.end)
}

/// `wanted` if nothing listens there, else any free port.
pub fn preferably(wanted: u16) -> Result<u16> {
    if is_free(wanted) { Ok(wanted) } else { free() }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
