//! What the KombiSphere gate decides about a request, without a host, a clock, or I/O.
//!
//! [`gate::Passage`] is one request on its way through: it takes what the host knows, and answers
//! with a [`step::Step`] for the host to carry out. Time is an argument, so every rule can be
//! tested and fuzzed natively.

pub mod admission;
pub mod ai;
pub mod assertion;
pub mod authorize;
pub mod cache;
pub mod config;
pub mod credentials;
pub mod exchange;
pub mod fetch;
pub mod gate;
pub mod identity;
pub mod introspect;
pub mod json;
pub mod jwks;
pub mod keys;
pub mod limit;
pub mod plan;
pub mod refusal;
pub mod request;
pub mod reserved;
pub mod roles;
pub mod step;
pub mod time;
pub mod token;
pub mod worker;
pub mod zone;
