//! How much a caller may use.

pub mod lease;
