//! People whom an admin has blocked.

use std::{sync::Arc, time::Duration};

use kombi_exchange::address::Reach;
use kombi_spec::code::Code;
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::sleep};

use crate::{
    exchange::{Exchange, code},
    instance::{Call, FakeInstance, Script, json as answer},
    revocations::until_none_is_pending,
};

impl Exchange {
    async fn about(&self, sub: &str, deed: &str) -> Response {
        let (path, why) = (format!("/admin/users/{sub}/{deed}"), json!({"reason": "left us"}));
        self.admin(&["admin:tools"], Method::POST, &path, why).await
    }
}

async fn said(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

fn ends_sessions(call: &Call) -> bool {
    call.line.contains("/end-sessions ")
}

fn usual(call: &Call) -> Vec<u8> {
    let sub = &call.claims.sub;
    let body = format!(r#"{{"ended":true,"record":{{"id":"r-{sub}"}},"token":"t-{sub}"}}"#);
    answer(200, &body)
}

#[tokio::test]
async fn whoever_is_blocked_is_signed_out_and_enters_nowhere_until_they_are_unblocked() {
    let exchange = Exchange::start().await;
    let instance = FakeInstance::start(|call| Script::Send(usual(call))).await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
    let one_time = exchange.code("owner", "lab").await;

    let blocked = said(exchange.about("owner", "block").await).await;
    assert_eq!(blocked, (202, json!({"changed": true, "instances": ["lab"]})));
    until_none_is_pending(&exchange).await;
    assert_eq!(instance.calls().iter().filter(|call| ends_sessions(call)).count(), 1);
    assert_eq!(code(exchange.login("owner", "lab").await).await, Code::AccountBlocked);
    let page = crate::exchange::page_of("lab");
    let refused = exchange.ask_for_code("owner", "lab", &page).await;
    assert_eq!(code(refused).await, Code::AccountBlocked);
    assert_eq!(code(exchange.redeem(&one_time, "lab").await).await, Code::CodeInvalid);
    assert_eq!(exchange.login("member", "lab").await.status(), 200, "nobody else is");
    // Where they are let in elsewhere, too, and also after that.
    exchange.register("late", &instance.url(), Reach::Private).await;
    assert_eq!(code(exchange.login("owner", "late").await).await, Code::AccountBlocked);
    let again = said(exchange.about("owner", "block").await).await;
    assert_eq!(again, (202, json!({"changed": false, "instances": ["lab", "late"]})));
    until_none_is_pending(&exchange).await;

    let free = said(exchange.about("owner", "unblock").await).await;
    assert_eq!(free, (200, json!({"changed": true})));
    assert_eq!(said(exchange.about("owner", "unblock").await).await.1, json!({"changed": false}));
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
    assert_eq!(code(exchange.redeem(&one_time, "lab").await).await, Code::CodeInvalid, "spent");

    let kept = crate::audit::kept(exchange.data.path());
    for line in [
        "person root block  owner lab left us ok",
        "person owner login lab owner an admin has blocked this account  account_blocked",
        "person root unblock  owner  left us ok",
    ] {
        assert!(kept.iter().any(|one| one == line), "{line}: {kept:#?}");
    }
}

#[tokio::test]
async fn a_login_under_way_when_its_person_is_blocked_comes_to_nothing() {
    let exchange = Exchange::start().await;
    let told = Arc::new(Notify::new());
    let waits = Arc::clone(&told);
    let instance = FakeInstance::start(move |call| match ends_sessions(call) {
        true => Script::Send(usual(call)),
        false => Script::Wait(Arc::clone(&waits), usual(call)),
    })
    .await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let (login, ()) = tokio::join!(exchange.login("owner", "lab"), async {
        while instance.calls().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(exchange.about("owner", "block").await.status(), 202);
        until_none_is_pending(&exchange).await;
        told.notify_one();
    });
    assert_eq!(code(login).await, Code::AccountBlocked);
    until_none_is_pending(&exchange).await;
    // What the instance opened after the first end of sessions is ended by a second.
    assert_eq!(instance.calls().iter().filter(|call| ends_sessions(call)).count(), 2);
}

#[tokio::test]
async fn an_admin_blocks_others_for_a_reason_and_not_themselves() {
    let exchange = Exchange::start().await;
    assert_eq!(code(exchange.about("root", "block").await).await, Code::BodyMalformed);
    for deed in ["block", "unblock"] {
        let path = format!("/admin/users/ada/{deed}");
        let ask = |roles, body: Value| exchange.admin(roles, Method::POST, &path, body);
        let refused = ask(&["user"], json!({"reason": "r"})).await;
        assert_eq!(code(refused).await, Code::RoleMissing);
        for body in [json!({}), json!({"reason": ""}), json!({"reason": "r", "until": 1})] {
            let refused = ask(&["admin:super"], body).await;
            assert_eq!(code(refused).await, Code::BodyMalformed);
        }
    }
}
