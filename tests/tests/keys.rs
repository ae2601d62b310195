//! The issuer's keys under load, on a real host.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};
use kombi_spec::code::Code;
use serde_json::json;
use stack::{answer::Answer, stack::Stack};

/// Many requests at once, with these tokens in turn; none may be refused.
async fn all_pass(stack: &Stack, tokens: &[String]) {
    let requests = tokens.iter().rev().cycle().take(25);
    for answer in join_all(requests.map(|token| stack.get_as(token, "/user"))).await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "of {} tokens: {}", tokens.len(), answer.summary());
    }
}

/// The issuer's next key, and a token of it, while those of all keys before it are in use all the
/// time.
async fn rotated_under_load(stack: &Stack, tokens: &[String]) -> String {
    let done = Cell::new(false);
    let rotate = async {
        stack.issuer.rotate("ES256", false).await.unwrap();
        let newest = stack.issuer.token("ada").await.unwrap();
        done.set(true);
        newest
    };
    let load = async {
        while !done.get() {
            all_pass(stack, tokens).await;
        }
    };
    join(rotate, load).await.0
}

#[tokio::test]
async fn ten_rotations_under_load_refuse_no_valid_request() {
    let stack = Stack::gate().await.unwrap();
    let mut tokens = vec![stack.issuer.token("ada").await.unwrap()];
    for _ in 0..10 {
        tokens.push(rotated_under_load(&stack, &tokens).await);
        // The newest from many connections at once, before anybody knows its key, and the older
        // ones among them.
        for _ in 0..4 {
            all_pass(&stack, &tokens).await;
        }
    }
}

#[tokio::test]
async fn made_up_key_ids_reach_the_issuer_once_in_ten_seconds_and_harm_nobody() {
    let stack = Stack::gate().await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    for _ in 0..20 {
        assert_eq!(stack.get_as(&ada, "/user").await.unwrap().status, 200);
    }
    let mut made_up = Vec::new();
    for n in 0..200 {
        let order = json!({"sub": "mallory", "kid": format!("made-up-{n}"), "algorithm": "EdDSA"});
        made_up.push(stack.issuer.mint(order).await.unwrap());
    }
    let before = stack.issuer.key_set_requests().await.unwrap();
    let began = Instant::now();
    for batch in made_up.chunks(20) {
        let requests = batch.iter().map(|token| stack.get_as(token, "/user"));
        for answer in join_all(requests).await {
            assert_eq!(answer.unwrap().code(), Some(Code::KeyUnknown));
        }
        assert_eq!(stack.get_as(&ada, "/user").await.unwrap().status, 200);
    }
    let asked = stack.issuer.key_set_requests().await.unwrap() - before;
    // One for every ten seconds begun, and one that the tick may have made meanwhile.
    let most = began.elapsed().as_secs() / 10 + 2;
    assert!(asked <= most, "the key set was asked for {asked} times in {:?}", began.elapsed());
}

#[tokio::test]
async fn clients_that_leave_while_they_wait_take_nobody_along() {
    let stack = Stack::gate().await.unwrap();
    for round in 0..5 {
        stack.issuer.rotate("ES256", false).await.unwrap();
        let token = stack.issuer.token("ada").await.unwrap();
        let impatient = (0..20).map(|_| {
            let request = stack.get("/user").bearer_auth(&token);
            Answer::to(request.timeout(Duration::from_millis(3)))
        });
        // Whether one of them was fast enough does not matter.
        drop(join_all(impatient).await);
        let answer = stack.get_as(&token, "/user").await.unwrap();
        assert_eq!(answer.status, 200, "round {round}: {}", answer.summary());
    }
}
