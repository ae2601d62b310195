//! Free ports on the loopback address.

use std::{
    net::{Ipv4Addr, TcpListener},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail};

/// Below the range from which the system takes the ports of outgoing connections, so that none
/// of those takes a port between its choice and its use.
const RANGE: std::ops::Range<u32> = 15_000..32_000;

/// A port that nothing listens on. Two calls in one process never return the same, and two
/// processes look in different places.
pub fn free() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let span = RANGE.end - RANGE.start;
    for _ in 0..span {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = process::id().wrapping_mul(61).wrapping_add(step) % span;
        let port = u16::try_from(RANGE.start + offset)?;
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
