//! The gate as its shell sees it: really signed tokens go in, steps come out.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod attacks;
mod configuration;
mod issuer;
mod passage;
mod properties;
mod remembered;
mod route;
mod rules;
mod shadow;
mod vectors;
mod zitadel;
