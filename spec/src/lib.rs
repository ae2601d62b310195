//! The contracts between the gate (the filter), the exchange (the sidecar) and those who call
//! them: header names, error codes, and the types that cross the wire. No logic lives here.

pub mod account;
pub mod assertion;
pub mod code;
pub mod handoff;
pub mod header;
pub mod introspection;
pub mod lease;
pub mod problem;
pub mod session;
pub mod usage;
