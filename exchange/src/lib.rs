//! `kombi-exchange`, the sidecar behind the gateway: it turns an assertion that the gate signed
//! into a session in somebody's KombiStack instance, asks the issuer about opaque tokens, and keeps
//! the ledger of AI usage.
//!
//! A login reads from top to bottom in [`session`], a question about a token in
//! [`introspection`](mod@introspection), an AI call in [`usage`]. The exchange trusts nothing but the assertion, and
//! it must never be reachable from the internet except through the gateway.

pub mod access;
pub mod address;
pub mod admin;
pub mod admission;
pub mod assertion;
pub mod audit;
pub mod backup;
pub mod blocked;
pub mod body;
pub mod breaker;
pub mod cli;
pub mod command;
pub mod config;
pub mod connector;
mod csv;
pub mod damage;
pub mod data_dir;
pub mod database;
pub mod doctor;
pub mod entrance;
pub mod entrant;
mod errands;
pub mod flags;
pub mod handoff;
pub mod instance;
pub mod introspection;
pub mod kong;
pub mod lanes;
pub mod leases;
pub mod links;
pub mod listener;
pub mod log;
pub mod logout;
pub mod metrics;
pub mod ops;
pub mod outbound;
pub mod random;
pub mod refusal;
pub mod registration;
pub mod registry;
mod reply;
pub mod revocations;
pub mod role;
pub mod route;
pub mod seal;
pub mod server;
pub mod session;
pub mod spent;
pub mod store;
pub mod time;
pub mod traces;
pub mod usage;
mod vouched;
