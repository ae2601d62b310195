//! Sessions that are to end, and do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use kombi_exchange::{
    address::Reach,
    instance::{InstanceId, Subject},
    revocations,
    store::StoreError,
    time::UnixTime,
};
use tokio::time::{sleep, timeout};

use crate::{
    database,
    exchange::Exchange,
    instance::{FakeInstance, Script, json},
};

/// Asks beside the running exchange, which finds it at its next look.
async fn ask(exchange: &Exchange, instance: &str, sub: &str) {
    let store = database::of(exchange.data.path()).open().unwrap();
    let (instance, sub) = (InstanceId::parse(instance).unwrap(), Subject::parse(sub).unwrap());
    store
        .write(move |connection| {
            revocations::ask(connection, &instance, &sub, "test", UnixTime::now())
        })
        .await
        .map_err(|error: StoreError| error)
        .unwrap();
}

async fn pending(exchange: &Exchange) -> String {
    let (_, metrics) = exchange.ops("/metrics").await;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("kombi_exchange_revocations_pending"))
        .unwrap();
    line.split(' ').nth(1).unwrap().to_owned()
}

pub(crate) async fn until_none_is_pending(exchange: &Exchange) {
    let none = async {
        while pending(exchange).await != "0" {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), none).await.expect("it is done in the end");
}

/// An exchange that finds, when it starts, that `owner`'s sessions in `instance` are to end.
async fn asked_before_it_started(instance: &FakeInstance) -> Exchange {
    let mut exchange = Exchange::start().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    exchange.stop().await.unwrap();
    ask(&exchange, "lab", "owner").await;
    exchange.start_again().await;
    exchange
}

#[tokio::test]
async fn what_was_asked_for_before_the_exchange_started_is_done_and_signed_for_that_alone() {
    let instance = FakeInstance::start(|_| Script::Send(json(200, r#"{"ended":true}"#))).await;
    let exchange = asked_before_it_started(&instance).await;
    until_none_is_pending(&exchange).await;
    let calls = instance.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].line, "POST /api/kombisphere/end-sessions HTTP/1.1");
    assert_eq!(calls[0].claims.aud, "lab#end-sessions");
    assert_eq!(calls[0].claims.sub, "owner");
}

#[tokio::test]
async fn an_instance_that_fails_is_asked_again_until_it_has_done_it() {
    let failures = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&failures);
    let instance = FakeInstance::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Script::Send(json(500, "{}")),
        1 => Script::Send(json(200, r#"{"what":"else"}"#)),
        _ => Script::Send(json(200, r#"{"ended":false}"#)),
    })
    .await;
    let exchange = asked_before_it_started(&instance).await;
    until_none_is_pending(&exchange).await;
    let calls = instance.calls();
    assert_eq!(calls.len(), 3);
    let ids: std::collections::HashSet<_> = calls.iter().map(|call| &call.claims.jti).collect();
    assert_eq!(ids.len(), 3, "each attempt is signed anew");
}

#[tokio::test]
async fn an_instance_that_is_gone_from_the_registry_leaves_nothing_to_do() {
    let instance = FakeInstance::start(|_| Script::Send(json(500, "{}"))).await;
    let exchange = Exchange::start().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    ask(&exchange, "lab", "owner").await;
    assert_eq!(pending(&exchange).await, "1");
    exchange.unregister("lab").await;
    until_none_is_pending(&exchange).await;
}
