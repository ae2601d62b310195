//! A short run of `cargo stack faults`.

use stack::faults::{Fault, Settings, run};

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_or_doubled_by_kill_9() {
    let settings = Settings { name: Some(Fault::Kill9), times: 5, seed: None };
    assert!(run(settings, None).await.is_ok_and(|held| held), "see above");
}
