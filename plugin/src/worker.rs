//! What all routes of one worker share: the instance's memory outlives every request.

use std::cell::RefCell;

use kombi_gate_core::keys::KeyStore;

thread_local! {
    static KEYS: RefCell<KeyStore> = RefCell::default();
}

/// Runs `f` on the worker's keys. `f` must not call the host, so it cannot come back here.
pub(crate) fn with_keys<T>(f: impl FnOnce(&mut KeyStore) -> T) -> T {
    KEYS.with_borrow_mut(f)
}
