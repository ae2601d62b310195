//! The ledger of AI usage under fire: a small run of `cargo stack ledger`.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use stack::ledger::{self, Settings};

#[tokio::test]
async fn every_call_has_one_row_with_the_right_numbers_whatever_dies() {
    let settings = Settings { calls: 400, at_once: 16, json: true };
    let figures = ledger::measure(settings, None).await.unwrap();
    assert!(figures.held(), "{:#}", figures.json());
    assert!(figures.exact > 200 && figures.estimated > 40, "{:#}", figures.json());
}
