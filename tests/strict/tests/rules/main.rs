//! The host itself: modules that break a rule on purpose are found out, and only they.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod bodies;
mod hosts;
mod phases;
mod probe;
mod shared;
