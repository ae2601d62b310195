//! How long the verification of a token takes in WebAssembly: built for wasm32-wasip1 this is
//! what measures, built for the machine it is the host that runs it.

#[cfg(target_arch = "wasm32")]
mod guest;
#[cfg(not(target_arch = "wasm32"))]
mod host;

#[cfg(target_arch = "wasm32")]
fn main() {
    guest::main();
}

#[cfg(not(target_arch = "wasm32"))]
fn main() -> wasmtime::Result<()> {
    host::main()
}
