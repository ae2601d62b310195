//! Attacks on the assertion. What is wrong with a single one is tested in the library; here,
//! that all of it is checked, and that an assertion is good once.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kombi_exchange::address::Reach;
use kombi_spec::{
    assertion::{Assertion, LIFETIME_S},
    code::Code,
    header,
};

use crate::{
    binary::Serving,
    exchange::{Exchange, client, code},
    gate::{Gate, claims},
    instance::FakeInstance,
};

#[tokio::test]
async fn a_request_needs_exactly_one_assertion() {
    let exchange = Exchange::start().await;
    let post = || exchange.client.post(exchange.url("lab"));
    assert_eq!(code(post().send().await.unwrap()).await, Code::AssertionMissing);
    let [one, two] = [(); 2].map(|()| exchange.gate.assertion("owner", "lab"));
    let both = post().header(header::ASSERTION, one).header(header::ASSERTION, two);
    assert_eq!(code(both.send().await.unwrap()).await, Code::AssertionInvalid);
    for text in ["", "a.b.c", "é"] {
        let refused = post().header(header::ASSERTION, text).send().await.unwrap();
        assert_eq!(code(refused).await, Code::AssertionInvalid, "{text}");
    }
}

#[tokio::test]
async fn an_assertion_for_something_else_is_refused() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    type Change = fn(&mut Assertion);
    let changes: [(Change, Code); 6] = [
        (|claims| claims.aud = "backend".to_owned(), Code::AssertionInvalid),
        (|claims| claims.htm = Some("GET".to_owned()), Code::AssertionInvalid),
        (|claims| claims.htp = Some("/sso/instances/b/session".into()), Code::AssertionInvalid),
        (|claims| claims.htp = None, Code::AssertionInvalid),
        (|claims| claims.sub = String::new(), Code::AssertionInvalid),
        (|claims| (claims.iat, claims.exp) = (1000, 1030), Code::AssertionExpired),
    ];
    for (change, expected) in changes {
        let mut claims = claims("owner", "lab");
        change(&mut claims);
        let refused = exchange.present(&exchange.gate.sign(&claims), "lab").await;
        assert_eq!(code(refused).await, expected, "{claims:?}");
    }
    let foreign = Gate::new(2).assertion("owner", "lab");
    assert_eq!(code(exchange.present(&foreign, "lab").await).await, Code::AssertionInvalid);
    assert!(instance.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_uses_at_once_one_succeeds() {
    let exchange = Exchange::start_with(|config| {
        // A hundred signatures are a matter of seconds without optimisation.
        config.instance_timeout = Duration::from_secs(30);
    })
    .await;
    let instance = FakeInstance::honest().await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let assertion = exchange.gate.assertion("owner", "lab");
    let uses: Vec<_> = (0..100)
        .map(|_| {
            let post = exchange.client.post(exchange.url("lab"));
            tokio::spawn(post.header(header::ASSERTION, &assertion).send())
        })
        .collect();
    let mut successes = 0;
    for used in uses {
        let response = used.await.unwrap().unwrap();
        if response.status() == 200 {
            successes += 1;
        } else {
            assert_eq!(code(response).await, Code::AssertionReplayed);
        }
    }
    assert_eq!(successes, 1);
    assert_eq!(instance.calls().len(), 1);
}

#[tokio::test]
async fn a_refused_login_spends_its_assertion_too() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    let assertion = exchange.gate.assertion("owner", "lab");
    assert_eq!(code(exchange.present(&assertion, "lab").await).await, Code::InstanceForbidden);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    assert_eq!(code(exchange.present(&assertion, "lab").await).await, Code::AssertionReplayed);
}

#[tokio::test]
async fn the_query_changes_nothing() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let assertion = exchange.gate.assertion("owner", "lab");
    let url = format!("{}?instance=other&sub=admin", exchange.url("lab"));
    let request = exchange.client.post(url).header(header::ASSERTION, assertion);
    assert_eq!(request.send().await.unwrap().status(), 200);
    assert_eq!(instance.calls()[0].claims.sub, "owner");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_may_be_four_seconds_off_and_not_six_with_five_allowed() {
    // The binary's own setting.
    let data = tempfile::tempdir().unwrap();
    let serving = Serving::start(data.path());
    let (gate, client) = (Gate::new(1), client());
    let url = format!("http://{}/sso/instances/lab/session", serving.listen);
    // Made by a clock that is ahead, and used at the end of its life by one that is behind.
    let ahead = |now: u64, by: i64| {
        let iat = now.checked_add_signed(by).unwrap();
        (iat, iat + LIFETIME_S)
    };
    let over = |now: u64, by: i64| {
        let exp = now.checked_add_signed(-by).unwrap();
        (exp - LIFETIME_S, exp)
    };
    type Times = fn(u64, i64) -> (u64, u64);
    let cases: [(Times, i64, Code); 4] = [
        (ahead, 4, Code::InstanceForbidden),
        (ahead, 6, Code::AssertionInvalid),
        (over, 4, Code::InstanceForbidden),
        (over, 6, Code::AssertionExpired),
    ];
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (times, by, expected) in cases {
        // The second in which it was signed must be the one in which it was judged.
        let found = loop {
            let signed_at = now();
            let mut claims = claims("owner", "lab");
            (claims.iat, claims.exp) = times(signed_at, by);
            let post = client.post(&url).header(header::ASSERTION, gate.sign(&claims));
            let found = code(post.send().await.unwrap()).await;
            if now() == signed_at {
                break found;
            }
        };
        assert_eq!(found, expected, "{by} s");
    }
}
