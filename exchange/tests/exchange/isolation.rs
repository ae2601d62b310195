//! One instance's trouble is its own.

use std::time::Duration;

use kombi_exchange::address::Reach;
use kombi_spec::{code::Code, header};
use tokio::task::JoinHandle;

use crate::{
    exchange::{Exchange, code},
    instance::{FakeInstance, Script},
};

const LANE: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_instance_holds_up_nobody_else() {
    let exchange = Exchange::start_with(|config| {
        config.limits.lane = LANE;
        config.instance_timeout = Duration::from_secs(60);
    })
    .await;
    let healthy = FakeInstance::honest().await;
    let stuck = FakeInstance::start(|_| Script::Hang(Vec::new())).await;
    exchange.register("stuck", &stuck.url(), Reach::Private).await;
    exchange.register("healthy", &healthy.url(), Reach::Private).await;
    let login_into_stuck = || -> JoinHandle<Code> {
        let assertion = exchange.gate.assertion("owner", "stuck");
        let post = exchange.client.post(exchange.url("stuck"));
        let response = post.header(header::ASSERTION, assertion).send();
        tokio::spawn(async move { code(response.await.unwrap()).await })
    };
    let held: Vec<_> = (0..LANE).map(|_| login_into_stuck()).collect();
    while stuck.calls().len() < LANE {
        assert!(held.iter().all(|login| !login.is_finished()));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Its lane is full: whoever comes now is sent away, and everybody else gets through.
    assert_eq!(login_into_stuck().await.unwrap(), Code::Overloaded);
    assert_eq!(exchange.login("owner", "healthy").await.status(), 200);
    assert_eq!(stuck.calls().len(), LANE);
    assert!(held.iter().all(|login| !login.is_finished()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_never_answers_is_left_alone_and_others_are_not() {
    let exchange = Exchange::start().await;
    let healthy = FakeInstance::honest().await;
    // It accepts and hangs up.
    let dead = FakeInstance::start(|_| Script::Send(Vec::new())).await;
    exchange.register("dead", &dead.url(), Reach::Private).await;
    exchange.register("healthy", &healthy.url(), Reach::Private).await;
    for _ in 0..8 {
        assert_eq!(code(exchange.login("owner", "dead").await).await, Code::InstanceUnavailable);
    }
    assert_eq!(dead.calls().len(), 5, "the rest was answered without it");
    assert_eq!(exchange.login("owner", "healthy").await.status(), 200);
    let tried_again = async {
        while dead.calls().len() == 5 {
            assert_eq!(
                code(exchange.login("owner", "dead").await).await,
                Code::InstanceUnavailable
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), tried_again).await.expect("it is never tried");
}
