//! The real parts as processes: gateway, exchange, issuer, KombiStack and backend, for the demo
//! and for the integration tests alike.

// JSON is read by name throughout; what is absent reads as null.
#![allow(clippy::indexing_slicing)]

pub mod ai;
pub mod answer;
pub mod artifacts;
pub mod backend;
pub mod bench;
pub mod demo;
pub mod envoy;
pub mod exchange;
pub mod faults;
pub mod flood;
pub mod host;
mod interrupt;
pub mod issuer;
pub mod kombistack;
pub mod ledger;
pub mod limits;
pub mod listening;
pub mod log;
pub mod metrics;
pub mod nodes;
pub mod port;
pub mod portal;
pub mod postgres;
pub mod process;
pub mod release;
pub mod routes;
pub mod run_dir;
pub mod shared_store;
pub mod soak;
pub mod stack;
mod statistics;
mod told;
pub mod up;
