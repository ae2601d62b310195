//! Calls of AI models: one endpoint that speaks OpenAI's API, in front of several providers.
//!
//! Read along in [`conversation`]: a call is reserved in the exchange's ledger before it leaves,
//! and settled when its answer has ended.

pub mod answer;
pub mod ask;
pub mod conversation;
pub mod departure;
mod estimate;
mod events;
pub mod health;
mod lexer;
pub mod models;
pub mod outbox;
mod outcome;
mod reading;
#[cfg(test)]
mod sample;
mod service;
mod size;
pub mod tally;
pub mod usage;

use models::Models;

/// What a route that leads to models demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Where the API begins, without a slash at its end.
    pub path: String,
    /// The models.
    pub models: Models,
    /// Whether calls are reserved and settled in the exchange's ledger.
    pub ledger: bool,
}
