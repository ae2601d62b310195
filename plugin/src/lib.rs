//! `kombi_gate`, the proxy-wasm filter: a thin shell around [`kombi_gate_core`].
//!
//! The core decides, the shell carries out. Nothing here may panic or call the host outside the
//! phase that allows it: on Kong either can kill the worker and everything it serves. Only a
//! WebAssembly build has a host, so a native build of this crate is empty.

#![cfg(target_arch = "wasm32")]
// The entry point that the macro below defines has no place for documentation.
#![allow(missing_docs)]

mod host;
mod log;
mod meter;
mod request;
mod root;
mod worker;

/// To measure the usual allocator by; `ARCHITECTURE.md` has what came of it.
#[cfg(feature = "talc")]
#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context_id| Box::new(root::Root::new(context_id)));
}}
