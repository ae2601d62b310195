//! What nodes are told about limits that they share.

use std::{sync::Arc, time::Duration};

use kombi_exchange::leases::store::{Local, Shared};
use kombi_spec::{
    assertion::Assertion,
    code::Code,
    header,
    introspection::SUBJECT,
    lease::{LeaseAnswer, MAX_REPORT_BYTES, PATH},
};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    exchange::{Exchange, code},
    gate,
};

fn report(node: &str, seq: u64, used: u64) -> Value {
    json!({"node": node, "holdings": [{
        "rule": "per-user", "key": "9f86d081", "amount": 1000, "period_ms": 3_600_000,
        "burst": 1000, "ttl_ms": 10_000, "lease": 1, "seq": seq, "granted": 0, "used": used,
        "released": 0, "wanted": 100,
    }]})
}

fn claims(sub: &str) -> Assertion {
    Assertion { htp: Some(PATH.to_owned()), ..gate::claims(sub, "") }
}

impl Exchange {
    async fn leases(&self, assertion: &str, report: impl ToString) -> Response {
        let url = format!("http://{}{PATH}", self.addresses.public);
        let request = self.client.post(url).header(header::ASSERTION, assertion);
        request.body(report.to_string()).send().await.unwrap()
    }

    async fn told(&self, report: Value) -> LeaseAnswer {
        let response = self.leases(&self.gate.sign(&claims(SUBJECT)), report).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }
}

#[tokio::test]
async fn nodes_share_a_quota_of_the_exchange() {
    let exchange = Exchange::start().await;
    // Nodes of an earlier exchange would be heard first.
    let first = exchange.told(report("n1", 1, 0)).await;
    assert_eq!((first.shares[0].granted, first.shares[0].left), (0, 1000));
    assert!((1..=1000).contains(&first.shares[0].retry_after_ms), "{first:?}");
    let mut seq = 2;
    let first = loop {
        let told = exchange.told(report("n1", seq, 0)).await;
        if told.shares[0].granted > 0 {
            break told;
        }
        assert!(seq < 1_000, "{told:?}");
        seq += 1;
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((first.shares[0].granted, first.shares[0].left), (100, 900));
    let second = exchange.told(report("n2", 1, 5)).await;
    assert_eq!((second.shares[0].granted, second.shares[0].left), (105, 795));
    assert_eq!(second.memory, first.memory);
    let again = exchange.told(report("n2", 1, 5)).await;
    assert_eq!(again.shares[0].left, 795, "a report that comes twice counts once");
    let (_, metrics) = exchange.ops("/metrics").await;
    let counted = format!("kombi_exchange_lease_reports_total{{outcome=\"ok\"}} {}", seq + 2);
    assert!(metrics.contains(&counted), "{metrics}");
}

#[tokio::test]
async fn only_the_gate_itself_reports_and_it_may_do_so_more_than_once_with_one_assertion() {
    let exchange = Exchange::start().await;
    let user = exchange.gate.sign(&claims("u1"));
    assert_eq!(
        code(exchange.leases(&user, report("n1", 1, 0)).await).await,
        Code::AssertionInvalid
    );
    let other = Assertion { htp: Some("/gate/introspect".to_owned()), ..claims(SUBJECT) };
    let other = exchange.gate.sign(&other);
    assert_eq!(
        code(exchange.leases(&other, report("n1", 1, 0)).await).await,
        Code::AssertionInvalid
    );
    let own = exchange.gate.sign(&claims(SUBJECT));
    for seq in 1..=3 {
        assert_eq!(exchange.leases(&own, report("n1", seq, 0)).await.status(), 200);
    }
}

#[tokio::test]
async fn what_is_no_report_is_refused() {
    let exchange = Exchange::start().await;
    let own = exchange.gate.sign(&claims(SUBJECT));
    for (body, expected) in [
        (String::new(), Code::BodyMalformed),
        ("{}".to_owned(), Code::BodyMalformed),
        (json!({"node": "n", "holdings": []}).to_string(), Code::BodyMalformed),
        (" ".repeat(MAX_REPORT_BYTES + 1), Code::BodyTooLarge),
    ] {
        assert_eq!(code(exchange.leases(&own, body).await).await, expected);
    }
    let url = format!("http://{}{PATH}", exchange.addresses.public);
    assert_eq!(code(exchange.client.get(url).send().await.unwrap()).await, Code::MethodNotAllowed);
}

#[tokio::test]
async fn without_its_store_the_exchange_refuses_reports_and_is_ready_all_the_same() {
    // Nothing listens on the discard port.
    let store = Arc::new(Shared::new("redis://127.0.0.1:9/0").unwrap());
    let exchange = Exchange::start_with(|config| config.leases = store).await;
    let own = exchange.gate.sign(&claims(SUBJECT));
    let response = exchange.leases(&own, report("n1", 1, 0)).await;
    assert_eq!(code(response).await, Code::LeasesUnavailable);
    assert_eq!(exchange.ops("/readyz").await.0, 200);
    let (_, metrics) = exchange.ops("/metrics").await;
    assert!(!metrics.contains("kombi_exchange_lease_reports_total{outcome=\"ok\"}"), "{metrics}");
    assert!(metrics.contains("kombi_exchange_lease_reports_total{outcome="), "{metrics}");
}

#[tokio::test]
async fn quotas_without_a_place_have_no_share_and_the_others_go_on() {
    let store = Arc::new(Local::with_room_for(2));
    let exchange = Exchange::start_with(|config| config.leases = store).await;
    let about = |seq: u64, keys: &[&str]| {
        let one = report("n1", seq, 0)["holdings"][0].clone();
        let holding = |key: &&str| {
            let mut holding = one.clone();
            holding["key"] = json!(key);
            holding
        };
        json!({"node": "n1", "holdings": keys.iter().map(holding).collect::<Vec<_>>()})
    };
    let keys = |answer: LeaseAnswer| -> Vec<String> {
        answer.shares.into_iter().map(|share| share.key).collect()
    };
    assert_eq!(keys(exchange.told(about(1, &["a"])).await), ["a"]);
    assert_eq!(keys(exchange.told(about(2, &["b", "c", "a"])).await), ["b", "a"]);
    assert_eq!(keys(exchange.told(about(3, &["c"])).await), [""; 0]);
    let (_, metrics) = exchange.ops("/metrics").await;
    for (outcome, count) in [("ok", 1), ("full", 2)] {
        let counted =
            format!("kombi_exchange_lease_reports_total{{outcome=\"{outcome}\"}} {count}");
        assert!(metrics.contains(&counted), "{metrics}");
    }
}
