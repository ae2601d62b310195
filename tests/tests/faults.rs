//! Short runs of `cargo stack faults`.

use stack::faults::{Fault, Settings, run};

async fn holds(fault: Fault) -> bool {
    let settings = Settings { name: Some(fault), short: true, seed: None };
    run(settings, None).await.is_ok_and(|held| held)
}

#[tokio::test]
async fn whatever_reached_the_exchange_before_it_was_asked_to_stop_is_answered() {
    assert!(holds(Fault::Sigterm).await, "see above");
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_or_doubled_by_kill_9() {
    assert!(holds(Fault::Kill9).await, "see above");
}
