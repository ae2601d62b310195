//! All headers of a map, as bytes.
//!
//! The SDK has no reader that survives a header *name* that is not UTF-8, so this one call to
//! the ABI is ours.

use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
#[allow(unsafe_code)]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(
        map_type: MapType,
        return_data: *mut *mut u8,
        return_size: *mut usize,
    ) -> u32;
}

/// The ABI's status of a call that succeeded.
const OK: u32 = 0;

/// A header map as the host serialised it: the number of pairs, then the sizes of each name and
/// value, then the names and values themselves, each with a NUL after it. Numbers are
/// little-endian and of 32 bits.
pub(super) struct Pairs {
    serialized: Vec<u8>,
}

/// All headers of `map`; `None` if the host refuses.
pub(super) fn pairs(map: MapType) -> Option<Pairs> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both pointers are valid for writes during the call.
    #[allow(unsafe_code)]
    let status = unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) };
    if status != OK {
        return None;
    }
    if data.is_null() {
        return Some(Pairs { serialized: Vec::new() });
    }
    // SAFETY: the host allocated `size` bytes by proxy_on_memory_allocate, which is the SDK's
    // `Vec::with_capacity(size)`, filled them, and leaves them to us.
    #[allow(unsafe_code)]
    let serialized = unsafe { Vec::from_raw_parts(data, size, size) };
    Some(Pairs { serialized })
}

impl Pairs {
    /// The pairs, in order; ends early where the host's bytes make no sense.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let count = number(&self.serialized, 0).unwrap_or(0);
        let mut sizes = 4;
        let mut text = count.saturating_mul(8).saturating_add(4);
        (0..count).map_while(move |_| {
            let name = number(&self.serialized, sizes)?;
            let value = number(&self.serialized, sizes.checked_add(4)?)?;
            sizes = sizes.checked_add(8)?;
            let name = take(&self.serialized, &mut text, name)?;
            let value = take(&self.serialized, &mut text, value)?;
            Some((name, value))
        })
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let (number, _) = bytes.get(at..)?.split_first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*number)).ok()
}

fn take<'a>(bytes: &'a [u8], at: &mut usize, length: usize) -> Option<&'a [u8]> {
    let end = at.checked_add(length)?;
    let taken = bytes.get(*at..end)?;
    *at = end.checked_add(1)?;
    Some(taken)
}
