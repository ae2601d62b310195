//! The zone that a node's workers share, as the hosts have it.

use std::cell::Cell as Remembered;

use kombi_gate_core::zone::{Cell, Mark, NotWritten, Zone};
use proxy_wasm::hostcalls;

use super::{KIND, Kind};

/// Smallest zone on Kong that is used, in bytes: a value larger than the zone is a trap.
const SMALLEST: u64 = 512 * 1024;

/// A mark that no cell on Envoy has.
const NEVER: u32 = u32::MAX;

thread_local! {
    static THERE: Remembered<bool> = const { Remembered::new(false) };
    static SIZE: Remembered<Option<u64>> = const { Remembered::new(None) };
}

struct SharedData;

/// The zone. Until a request of this worker has found out that there is one, there is none: on
/// Kong, touching shared data without a zone is a trap.
pub(crate) fn zone() -> Option<&'static dyn Zone> {
    THERE.get().then_some(&SharedData)
}

/// Finds out whether there is a zone, on the host `kind`. Only a request may ask, and once: Kong
/// answers for `kong.*` in Lua, in whatever coroutine ran last, and often enough a worker would
/// die of it.
pub(super) fn explore(kind: Kind) {
    let there = match kind {
        Kind::Kong => {
            // Set in kong.conf beside the zone itself.
            let size = hostcalls::get_property(vec!["ngx", "kombi_zone"]).ok().flatten();
            let size = size.and_then(|size| bytes(&size));
            SIZE.set(size);
            size.is_some_and(|size| size >= SMALLEST)
        }
        Kind::Other => true,
    };
    THERE.set(there);
}

/// A size as nginx writes it: `16m`, `512k`, `1048576`.
fn bytes(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim().to_ascii_lowercase();
    let (digits, unit) = match text.strip_suffix('m') {
        Some(digits) => (digits, 1024 * 1024),
        None => text.strip_suffix('k').map_or((text.as_str(), 1), |digits| (digits, 1024)),
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl Zone for SharedData {
    fn read(&self, name: &str) -> Option<Cell> {
        let (value, mark) = hostcalls::get_shared_data(name).ok()?;
        value.map(|value| Cell { value, mark: Mark(mark) })
    }

    fn write(&self, name: &str, value: &[u8], mark: Mark) -> Result<(), NotWritten> {
        // Without a mark, Kong refuses a new cell where there is one and Envoy overwrites it. With
        // one that no cell has, Envoy does as Kong: it compares marks of cells that exist only.
        let new = if KIND.get() == Some(Kind::Kong) { None } else { Some(NEVER) };
        hostcalls::set_shared_data(name, Some(value), mark.0.or(new)).map_err(|_| NotWritten)
    }

    fn size_bytes(&self) -> Option<u64> {
        SIZE.get()
    }
}
