//! Feature flags: what an admin set gets into the instance, in the end and in the right order.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use kombi_exchange::address::Reach;
use kombi_spec::code::Code;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    exchange::{Exchange, code},
    instance::{Call, FakeInstance, Script, json as answer},
};

const PATH: &str = "/admin/instances/lab/users/owner/flags";

/// What an instance has of somebody's flags, and how it behaves.
#[derive(Default)]
struct Record {
    /// Whether there is such a user.
    linked: bool,
    /// Whether it answers with an error.
    down: bool,
    flags: Value,
}

/// An instance with one record, whose hook is as ours.
async fn instance(record: &Arc<Mutex<Record>>) -> FakeInstance {
    let record = Arc::clone(record);
    FakeInstance::start(move |call: &Call| {
        let order: Value = call.payload();
        let mut record = record.lock().unwrap();
        Script::Send(if record.down {
            answer(502, "<html>")
        } else if order["do"].is_null() {
            record.linked = true;
            answer(200, r#"{"record":{"id":"r1"},"token":"t"}"#)
        } else if !record.linked {
            answer(200, r#"{"record":null,"changed":false}"#)
        } else if record.flags["version"].as_u64() > order["version"].as_u64() {
            answer(409, r#"{"data":{"code":"flags_outdated"}}"#)
        } else {
            let wanted = json!({"version": order["version"], "flags": order["flags"]});
            let changed = record.flags != wanted;
            record.flags = wanted;
            answer(200, &json!({"record": "r1", "changed": changed}).to_string())
        })
    })
    .await
}

async fn exchange(record: &Arc<Mutex<Record>>) -> (Exchange, FakeInstance) {
    let instance = instance(record).await;
    let exchange =
        Exchange::start_with(|config| config.limits.drift = Duration::from_secs(1)).await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    (exchange, instance)
}

impl Exchange {
    async fn flags(&self, method: Method, body: Value) -> Response {
        self.admin(&["admin:tools"], method, PATH, body).await
    }

    async fn set(&self, version: u64, beta: bool) -> Response {
        let body = json!({"version": version, "flags": {"beta": beta}, "reason": "a trial"});
        self.flags(Method::PUT, body).await
    }

    async fn standing(&self) -> Value {
        let response = self.flags(Method::GET, json!(null)).await;
        assert_eq!(response.status(), 200);
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    async fn until(&self, holds: impl Fn(&Value) -> bool) -> Value {
        let waiting = async {
            loop {
                let standing = self.standing().await;
                if holds(&standing) {
                    return standing;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(30), waiting).await.expect("it comes to that in the end")
    }
}

fn applied(version: u64) -> impl Fn(&Value) -> bool {
    move |standing| standing["state"] == "applied" && standing["version"] == version
}

#[tokio::test]
async fn flags_wait_for_an_instance_that_is_down_and_for_an_exchange_that_is() {
    let record = Arc::new(Mutex::new(Record { linked: true, down: true, ..Record::default() }));
    let (mut exchange, _instance) = exchange(&record).await;
    assert_eq!(exchange.set(1, true).await.status(), 202);
    let standing = exchange.until(|standing| standing["problem"].is_string()).await;
    assert_eq!(
        (&standing["state"], &standing["applied_version"]),
        (&json!("pending"), &json!(null))
    );
    let (_, metrics) = exchange.ops("/metrics").await;
    assert!(metrics.contains("kombi_exchange_flags_pending 1"), "{metrics}");
    exchange.stop().await.unwrap();
    record.lock().unwrap().down = false;
    exchange.start_again().await;
    let standing = exchange.until(applied(1)).await;
    assert_eq!((&standing["lag_s"], &standing["applied_version"]), (&json!(0), &json!(1)));
    assert_eq!(record.lock().unwrap().flags, json!({"version": 1, "flags": {"beta": true}}));
    let kept = crate::audit::kept(exchange.data.path());
    for line in [
        "person root flags_set lab owner version 1 a trial ok",
        "exchange  flags_applied lab owner version 1  ok",
    ] {
        assert!(kept.iter().any(|one| one == line), "{line}: {kept:#?}");
    }
}

#[tokio::test]
async fn an_older_version_is_refused_and_the_same_may_come_again() {
    let record = Arc::new(Mutex::new(Record { linked: true, ..Record::default() }));
    let (exchange, _instance) = exchange(&record).await;
    for (version, beta, status) in
        [(2, true, 202), (2, true, 202), (2, false, 409), (1, true, 409), (3, false, 202)]
    {
        let set = exchange.set(version, beta).await;
        assert_eq!(set.status(), status, "{version} {beta}");
        if status == 409 {
            assert_eq!(code(set).await, Code::FlagsOutdated);
        }
    }
    exchange.until(applied(3)).await;
    for (version, flags) in [
        (0, json!({})),
        (1_u64 << 53, json!({})),
        (9, json!({"Beta": true})),
        (9, json!({"": true})),
        (9, json!({"beta": 1})),
        (9, json!({"beta": null})),
        (9, json!({"beta": "x".repeat(256)})),
        (9, (0..65).map(|n| (format!("f{n}"), json!(true))).collect()),
        (9, json!([])),
    ] {
        let body = json!({"version": version, "flags": flags, "reason": "r"});
        let refused = exchange.flags(Method::PUT, body).await;
        assert_eq!(code(refused).await, Code::BodyMalformed, "{version} {flags}");
    }
    let nowhere = "/admin/instances/nowhere/users/owner/flags";
    let body = json!({"version": 9, "flags": {}, "reason": "r"});
    let refused = exchange.admin(&["admin:super"], Method::PUT, nowhere, body).await;
    assert_eq!(code(refused).await, Code::InstanceUnknown);
    let nobody = PATH.replace("owner", "nobody");
    let none = exchange.admin(&["admin:super"], Method::GET, &nobody, json!(null)).await;
    assert_eq!(code(none).await, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_the_newest_is_there_in_the_end() {
    let record = Arc::new(Mutex::new(Record { linked: true, ..Record::default() }));
    let (exchange, _instance) = exchange(&record).await;
    let sets = (1..=40).rev().map(|version| exchange.set(version, version % 2 == 0));
    let answers = futures_util::future::join_all(sets).await;
    assert!(answers.iter().all(|answer| matches!(answer.status().as_u16(), 202 | 409)));
    exchange.until(applied(40)).await;
    assert_eq!(record.lock().unwrap().flags, json!({"version": 40, "flags": {"beta": true}}));
}

#[tokio::test]
async fn flags_wait_for_the_persons_first_login() {
    let record = Arc::new(Mutex::new(Record::default()));
    let instance = instance(&record).await;
    // Nobody looks again by themselves within this test.
    let exchange = Exchange::start().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    exchange.set(1, true).await;
    exchange.until(|standing| standing["problem"].is_string()).await;
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
    exchange.until(applied(1)).await;
}

#[tokio::test]
async fn what_somebody_changed_in_the_instance_is_found_and_mended() {
    let record = Arc::new(Mutex::new(Record { linked: true, ..Record::default() }));
    let (exchange, _instance) = exchange(&record).await;
    exchange.set(1, true).await;
    exchange.until(applied(1)).await;
    record.lock().unwrap().flags = json!({"version": 1, "flags": {"beta": false}});
    let mended = async {
        while !exchange.ops("/metrics").await.1.contains("flag_pushes_total{outcome=\"mended\"} 1")
        {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), mended).await.expect("it is found");
    assert_eq!(record.lock().unwrap().flags, json!({"version": 1, "flags": {"beta": true}}));
    let kept = crate::audit::kept(exchange.data.path());
    assert!(kept.contains(&"exchange  flags_mended lab owner version 1  ok".to_owned()));
    // Who restored the exchange from an old copy is told, and sets them anew.
    record.lock().unwrap().flags = json!({"version": 7, "flags": {}});
    let standing = exchange.until(|standing| standing["state"] == "pending").await;
    assert_eq!(standing["problem"], "the instance has flags of a later version");
    exchange.set(8, true).await;
    exchange.until(applied(8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_hangs_holds_up_nobody_elses_flags_and_logouts() {
    let exchange = Exchange::start_with(|config| {
        config.instance_timeout = Duration::from_secs(60);
    })
    .await;
    let stuck = FakeInstance::start(|_| Script::Hang(Vec::new())).await;
    exchange.register("stuck", &stuck.url(), Reach::Private).await;
    let body = json!({"version": 1, "flags": {}, "reason": "r"});
    for n in 0..100 {
        let path = format!("/admin/instances/stuck/users/p{n}/flags");
        let set = exchange.admin(&["admin:tools"], Method::PUT, &path, body.clone()).await;
        assert_eq!(set.status(), 202);
    }
    let record = Arc::new(Mutex::new(Record { linked: true, ..Record::default() }));
    let healthy = instance(&record).await;
    exchange.register("lab", &healthy.url(), Reach::Private).await;
    exchange.set(1, true).await;
    exchange.until(applied(1)).await;
    assert!((1..=4).contains(&stuck.calls().len()), "{}", stuck.calls().len());
}
