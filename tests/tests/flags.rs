//! Feature flags on real parts: what an admin set is in the user's record, and stays there.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stack::{
    answer::Answer,
    stack::{HOMELAB, Instance, Stack, WayIn},
};

const BARE: Instance =
    Instance { id: "bare", owner: "ada", members: &["grace"], way_in: WayIn::Superuser };

#[tokio::test]
async fn both_ways_in_apply_flags_and_the_user_sees_them() {
    let mut stack = Stack::with(&[HOMELAB, BARE]).await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    let subject = stack.issuer.subject("ada").await.unwrap();
    let admin = json!({"sub": "grace", "roles": ["admin:super"]});
    let admin = stack.issuer.mint(admin).await.unwrap();
    for (at, instance) in [HOMELAB, BARE].into_iter().enumerate() {
        let url = format!(
            "{}/admin/instances/{}/users/{subject}/flags",
            stack.gateway.url(),
            instance.id
        );
        let set = async |stack: &Stack, version: u64, beta: bool| {
            let flags = json!({"beta": beta, "theme": "dark"});
            let body = json!({"version": version, "flags": flags, "reason": "a trial"});
            let request = stack.client().put(&url).bearer_auth(&admin).json(&body);
            Answer::to(request).await.unwrap().status
        };
        let until_applied = async |stack: &Stack, version: u64| {
            let deadline = Instant::now() + Duration::from_secs(30);
            loop {
                let request = stack.client().get(&url).bearer_auth(&admin);
                let standing = Answer::to(request).await.unwrap().json();
                if standing["state"] == "applied" && standing["version"] == version {
                    return;
                }
                assert!(Instant::now() < deadline, "never applied: {standing}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Before the person was ever there.
        assert_eq!(set(&stack, 1, true).await, 202);
        let session = stack.log_in(&ada, instance.id).await.unwrap().json();
        until_applied(&stack, 1).await;
        let seen = async |stack: &Stack| -> Value {
            let record = session["record"]["id"].as_str().unwrap();
            let own = stack.instances[at].url();
            let own = format!("{own}/api/collections/users/records/{record}");
            let own = stack.client().get(own);
            let own = own.header("authorization", session["token"].as_str().unwrap());
            Answer::to(own).await.unwrap().json()["feature_flags"].clone()
        };
        let wanted = |version, beta: bool| json!({"version": version, "flags": {"beta": beta, "theme": "dark"}});
        assert_eq!(seen(&stack).await, wanted(1, true), "{}", instance.id);

        // While the instance is down, and through a restart of the exchange.
        stack.instances[at].pause().unwrap();
        assert_eq!(set(&stack, 2, false).await, 202);
        assert_eq!(set(&stack, 1, false).await, 409);
        stack.exchange().unwrap().crash_and_restart().await.unwrap();
        stack.instances[at].go_on().unwrap();
        until_applied(&stack, 2).await;
        assert_eq!(seen(&stack).await, wanted(2, false), "{}", instance.id);
    }
}
