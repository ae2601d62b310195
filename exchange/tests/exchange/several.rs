//! Several exchanges on one PostgreSQL: whichever is asked, the answer is that of one. On SQLite, a
//! second one refuses to serve, so these tests are run by `tests/postgres` alone.

use std::collections::BTreeMap;

use futures_util::{StreamExt, future::join_all, stream};
use kombi_exchange::address::Reach;
use kombi_spec::header;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::{
    audit,
    binary::Serving,
    exchange::{Exchange, client},
    gate::Gate,
    instance::{Call, FakeInstance, Script, json as answer},
    ledger::{self, Books, Terms},
    revocations::until_none_is_pending,
};

/// Two exchanges, and an instance that both know as "lab".
async fn two() -> (Exchange, Exchange, FakeInstance) {
    let one = Exchange::start().await;
    let other = one.beside(|_| ()).await;
    let instance = FakeInstance::start(|call| {
        let sub = &call.claims.sub;
        let session = json!({"record": {"id": format!("r-{sub}")}, "token": format!("t-{sub}")});
        let said = if ends_sessions(call) { json!({"ended": true}) } else { session };
        Script::Send(answer(200, &said.to_string()))
    })
    .await;
    one.register("lab", &instance.url(), Reach::Private).await;
    (one, other, instance)
}

fn ends_sessions(call: &Call) -> bool {
    call.line.contains("/end-sessions ")
}

fn count(statuses: &[StatusCode], status: u16) -> usize {
    statuses.iter().filter(|one| one.as_u16() == status).count()
}

#[tokio::test]
#[ignore = "on PostgreSQL: cargo test --test postgres"]
async fn a_code_is_redeemed_once_whichever_exchange_is_asked() {
    let (one, other, instance) = two().await;
    let code = one.code("owner", "lab").await;
    let racers = (0..200).map(|n| {
        let (exchange, code) = (if n % 2 == 0 { &one } else { &other }, &code);
        async move { exchange.redeem(code, "lab").await.status() }
    });
    let statuses: Vec<_> = stream::iter(racers).buffer_unordered(64).collect().await;
    assert_eq!((count(&statuses, 200), count(&statuses, 400)), (1, 199));
    let entered = instance.calls().iter().filter(|call| !ends_sessions(call)).count();
    assert_eq!(entered, 1);
    until_none_is_pending(&other).await;
    let ended = instance.calls().iter().filter(|call| ends_sessions(call)).count();
    assert!(ended > 0, "who redeems it again ends the session");
}

#[tokio::test]
#[ignore = "on PostgreSQL: cargo test --test postgres"]
async fn an_assertion_is_accepted_once_whichever_exchange_is_asked() {
    let (one, other, _instance) = two().await;
    for _ in 0..10 {
        let assertion = one.gate.assertion("owner", "lab");
        let racers = (0..8).map(|n| {
            let (exchange, assertion) = (if n % 2 == 0 { &one } else { &other }, &assertion);
            async move { exchange.present(assertion, "lab").await.status() }
        });
        let statuses = join_all(racers).await;
        assert_eq!((count(&statuses, 200), count(&statuses, 401)), (1, 7));
    }
}

#[tokio::test]
#[ignore = "on PostgreSQL: cargo test --test postgres"]
async fn a_budget_for_ten_calls_lets_ten_leave_by_all_exchanges_together() {
    let terms = Terms::write();
    let one = Exchange::start_with(|config| config.usage = Some(terms.settings())).await;
    let other = one.beside(|config| config.usage = Some(terms.settings())).await;
    let books = [Books::of(one.addresses.public), Books::of(other.addresses.public)];
    let racers = (0..40).map(|n| {
        let (books, id) = (&books[n % 2], format!("r{n}"));
        let wanted = ledger::wanted(&id, ledger::call("ada", "ten"));
        async move { books.reserve(&wanted).await.status() }
    });
    let statuses = join_all(racers).await;
    assert_eq!((count(&statuses, 200), count(&statuses, 429)), (10, 30));
    let data = one.data.path();
    assert_eq!(ledger::number(data, "SELECT count(*) FROM usage_metrics"), 10);
    assert_eq!(ledger::number(data, "SELECT max(tokens) FROM usage_windows"), 1_100);
}

#[tokio::test]
#[ignore = "on PostgreSQL: cargo test --test postgres"]
async fn an_order_to_an_instance_is_carried_out_once_by_all_exchanges_together() {
    let (one, other, instance) = two().await;
    let people: Vec<String> = (0..40).map(|n| format!("p{n}")).collect();
    for sub in &people {
        let path = "/admin/instances/lab/admit";
        let body = json!({"member": sub, "reason": "r"});
        assert_eq!(one.admin(&["admin:tools"], Method::POST, path, body).await.status(), 200);
    }
    let revocations = people.iter().enumerate().map(|(n, sub)| {
        let exchange = if n % 2 == 0 { &one } else { &other };
        let path = format!("/admin/users/{sub}/end-sessions");
        async move {
            let body = json!({"reason": "r"});
            exchange.admin(&["admin:tools"], Method::POST, &path, body).await.status()
        }
    });
    assert_eq!(count(&join_all(revocations).await, 202), people.len());
    until_none_is_pending(&one).await;
    let mut told = BTreeMap::<String, u32>::new();
    for call in instance.calls() {
        *told.entry(call.claims.sub).or_default() += 1;
    }
    assert_eq!(told, people.iter().map(|sub| (sub.clone(), 1)).collect());
    let kept = audit::kept(one.data.path());
    let ended =
        kept.iter().filter(|record| record.starts_with("exchange  sessions_ended ")).count();
    assert_eq!(ended, people.len());
    audit::whole(one.data.path());
}

#[tokio::test]
#[ignore = "on PostgreSQL: cargo test --test postgres"]
async fn what_all_exchanges_record_is_one_whole_audit() {
    let (one, other, _instance) = two().await;
    let logins = (0..200).map(|n| {
        let exchange = if n % 2 == 0 { &one } else { &other };
        let sub = ["owner", "member", "stranger"][n % 3];
        async move { exchange.login(sub, "lab").await.status() }
    });
    let statuses: Vec<_> = stream::iter(logins).buffer_unordered(32).collect().await;
    assert_eq!((count(&statuses, 200), count(&statuses, 403)), (134, 66));
    let kept = audit::kept(one.data.path());
    assert_eq!(kept.iter().filter(|record| record.contains(" login lab ")).count(), 200);
    audit::whole(one.data.path());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "on PostgreSQL: cargo test --test postgres"]
async fn exchanges_that_start_at_once_make_one_database() {
    let data = tempfile::tempdir().unwrap();
    let starting: Vec<_> = (0..4)
        .map(|_| {
            let data = data.path().to_owned();
            std::thread::spawn(move || Serving::start(&data))
        })
        .collect();
    let serving: Vec<_> = starting.into_iter().map(|thread| thread.join().unwrap()).collect();
    // Each records in an audit whose key one of them made.
    for exchange in &serving {
        let url = format!("http://{}/sso/instances/lab/session", exchange.listen);
        let assertion = Gate::new(1).assertion("owner", "lab");
        let request = client().post(url).header(header::ASSERTION, assertion);
        assert_eq!(request.send().await.unwrap().status(), 403);
    }
    assert_eq!(audit::kept(data.path()).len(), serving.len());
    audit::whole(data.path());
}
