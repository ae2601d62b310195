//! A short flood of made-up tokens, as fast as they are answered. `cargo stack flood` makes a long
//! one, at a rate of choice.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use stack::{
    flood::{self, Forgery, Settings},
    stack::Options,
};

/// Fewer would be no flood.
const FEWEST: u64 = 500;

async fn flooded_with(with: Forgery) {
    let settings = Settings { json: false, seconds: 10, rate: 0, connections: 16, with };
    let report = flood::measure(settings, Options::default()).await.unwrap();
    println!("{report}");
    assert!(report.is_well(), "{report}");
    assert!(report.sent() >= FEWEST, "{report}");
}

#[tokio::test]
async fn made_up_key_ids_leave_the_issuer_and_good_tokens_alone() {
    flooded_with(Forgery::MadeUpKeys).await;
}

#[tokio::test]
async fn broken_signatures_leave_the_issuer_and_good_tokens_alone() {
    flooded_with(Forgery::BrokenSignatures).await;
}
