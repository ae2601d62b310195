//! All headers of a map, as bytes.
//!
//! The SDK has no reader that survives a header *name* that is not UTF-8, and none that leaves the
//! headers where the host has put them; so this one call to the ABI is ours.

use kombi_gate_core::request::Fields;
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

/// All headers of `map`; `None` if the host refuses.
pub(super) fn fields(map: MapType) -> Option<Fields> {
    let mut data = std::ptr::null_mut();
    let mut size = 0;
    // SAFETY: both pointers are valid for writes during the call.
    #[allow(unsafe_code)]
    let status = unsafe { proxy_get_header_map_pairs(map, &raw mut data, &raw mut size) };
    if status != OK {
        return None;
    }
    if data.is_null() {
        return Some(Fields::default());
    }
    // SAFETY: the host allocated `size` bytes by proxy_on_memory_allocate, which is the SDK's
    // `Vec::with_capacity(size)`, filled them, and leaves them to us.
    #[allow(unsafe_code)]
    let serialized = unsafe { Vec::from_raw_parts(data, size, size) };
    Some(Fields::from_host(serialized))
}
