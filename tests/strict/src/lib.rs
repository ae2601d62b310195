//! A strict host for the gate: runs the built `kombi_gate.wasm` the way Kong or Envoy would, and
//! turns every rule that their documentation leaves out into an assertion.
//!
//! A [`Node`](node::Node) is one gateway: some [workers](node), each with its own instance of the
//! module, one shared zone, one clock. The test owns everything that is chance in production: the
//! [clock](clock::Clock), the [peers](peers::Peers) that answer dispatches, the order of events,
//! the bytes of a request. A hostcall that a real host would answer with a trap, a hang, or a
//! silent nothing is a [`Violation`](rule::Violation): it fails the test that caused it and tells
//! what led to it.
//!
//! Where nobody has measured what a host does, this one forbids: [`Rule::Unmeasured`](rule::Rule).
//! Where hosts differ in what they let through (names of headers), it lets through the most.

// A test host fails by panicking; its code runs in tests only.
#![allow(clippy::panic)]

pub mod clock;
pub mod exchange;
pub mod filter;
pub mod headers;
pub mod host;
pub mod issuer;
pub mod node;
pub mod outcome;
pub mod peers;
pub mod request;
pub mod route;
pub mod rule;
pub mod storm;
mod vm;
pub mod zone;
