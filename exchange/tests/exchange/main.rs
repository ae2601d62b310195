//! The exchange as its neighbours see it: the gate in front, instances behind, and the operator.

// Fixtures may stop at the first surprise just as tests may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod binary;
mod database;
mod exchange;
mod gate;
mod instance;
mod issuer;
mod ledger;

mod admin;
mod alike;
mod assertions;
mod audit;
mod backup;
mod blocked;
mod command_line;
mod durability;
mod entrants;
mod flags;
mod handoff;
mod hook;
mod introspection;
mod introspection_process;
mod isolation;
mod kong;
mod leases;
mod limits;
mod logins;
mod logout;
mod old_pocketbase;
mod operations;
mod reach;
mod revocations;
mod rotate_keys;
mod several;
mod traces;
mod trespass;
mod usage;
mod usage_process;
mod usage_reports;
