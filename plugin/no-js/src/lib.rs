//! Nothing: `jsonwebtoken` names `js-sys` for every wasm32 target, but calls it in browsers only.
//! In a proxy there is no JavaScript, and `wasm-bindgen` must not be in the filter's tree.
