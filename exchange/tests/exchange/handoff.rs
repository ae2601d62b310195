//! A login that is handed to an instance's own page.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use kombi_exchange::address::Reach;
use kombi_spec::{code::Code, header};
use reqwest::Response;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    database,
    exchange::{Exchange, code, page_of, refusal},
    instance::{Call, FakeInstance, Script, json},
};

/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// An instance that lets everybody in and ends everybody's sessions.
async fn instance() -> FakeInstance {
    FakeInstance::start(|call| Script::Send(usual(call))).await
}

fn usual(call: &Call) -> Vec<u8> {
    if ends_sessions(call) {
        return json(200, r#"{"ended":true}"#);
    }
    let sub = &call.claims.sub;
    json(200, &format!(r#"{{"record":{{"id":"r-{sub}"}},"token":"t-{sub}"}}"#))
}

fn ends_sessions(call: &Call) -> bool {
    call.line.contains("/end-sessions ")
}

/// Waits until the instance was told to end sessions, `times` times.
async fn until_ended(instance: &FakeInstance, times: usize) {
    let ended = async {
        while instance.calls().iter().filter(|call| ends_sessions(call)).count() < times {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.expect("the sessions are ended");
}

impl Exchange {
    pub(crate) async fn ask_for_code(&self, sub: &str, instance: &str, page: &str) -> Response {
        let path = format!("/sso/instances/{instance}/code");
        let mut claims = crate::gate::claims(sub, instance);
        claims.htp = Some(path.clone());
        let assertion = self.gate.sign(&claims);
        let body = serde_json::json!({
            "redirect_uri": page, "code_challenge": CHALLENGE, "code_challenge_method": "S256",
        });
        let request = self.client.post(format!("http://{}{path}", self.addresses.public));
        request.header(header::ASSERTION, assertion).body(body.to_string()).send().await.unwrap()
    }

    /// A code for `sub`, for the page of `instance`.
    pub(crate) async fn code(&self, sub: &str, instance: &str) -> String {
        let response = self.ask_for_code(sub, instance, &page_of(instance)).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store");
        let answer: serde_json::Value =
            serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(answer["expires_in"], 30);
        answer["code"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn redeem_with(
        &self,
        fields: &[(&str, &str)],
        origin: Option<&str>,
    ) -> Response {
        let form =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let url = format!("http://{}/sso/redeem", self.addresses.public);
        let mut request = self.client.post(url).body(form);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        response
    }

    /// Redeems `code` as the page of `instance` does.
    pub(crate) async fn redeem(&self, code: &str, instance: &str) -> Response {
        let page = page_of(instance);
        let origin = format!("https://{instance}.example");
        let fields = [("code", code), ("code_verifier", VERIFIER), ("redirect_uri", &page)];
        self.redeem_with(&fields, Some(&origin)).await
    }
}

async fn with_lab() -> (Exchange, FakeInstance) {
    let (exchange, instance) = (Exchange::start().await, instance().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    (exchange, instance)
}

#[tokio::test]
async fn a_code_is_worth_one_session_of_the_person_it_was_given_to() {
    let (exchange, instance) = with_lab().await;
    let one_time = exchange.code("member", "lab").await;
    assert_eq!(instance.calls().len(), 0, "a code opens nothing by itself");
    let response = exchange.redeem(&one_time, "lab").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(
        response.text().await.unwrap(),
        r#"{"token":"t-member","record":{"id":"r-member"}}"#
    );
    let claims = &instance.calls()[0].claims;
    assert_eq!(claims.sub, "member");
    assert_eq!(claims.email.as_deref(), Some("member@example.com"));
    assert!(claims.email_verified);
}

#[tokio::test]
async fn a_second_redemption_is_refused_and_ends_the_sessions() {
    let (exchange, instance) = with_lab().await;
    let one_time = exchange.code("owner", "lab").await;
    assert_eq!(exchange.redeem(&one_time, "lab").await.status(), 200);
    assert_eq!(code(exchange.redeem(&one_time, "lab").await).await, Code::CodeInvalid);
    until_ended(&instance, 1).await;
    let ends = instance.calls().into_iter().find(ends_sessions).unwrap();
    assert_eq!((ends.claims.sub.as_str(), ends.claims.aud.as_str()), ("owner", "lab#end-sessions"));
}

#[tokio::test]
async fn a_second_redemption_while_the_first_is_under_way_ends_the_session_that_comes_of_it() {
    let exchange = Exchange::start().await;
    let told = Arc::new(Notify::new());
    let waits = Arc::clone(&told);
    let instance = FakeInstance::start(move |call| match ends_sessions(call) {
        true => Script::Send(usual(call)),
        false => Script::Wait(Arc::clone(&waits), usual(call)),
    })
    .await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let one_time = exchange.code("owner", "lab").await;
    let (first, ()) = tokio::join!(exchange.redeem(&one_time, "lab"), async {
        while instance.calls().is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(code(exchange.redeem(&one_time, "lab").await).await, Code::CodeInvalid);
        told.notify_one();
    });
    assert_eq!(first.status(), 200);
    until_ended(&instance, 1).await;
}

#[tokio::test]
async fn of_a_thousand_who_redeem_a_code_at_once_one_gets_a_session() {
    let (exchange, instance) = with_lab().await;
    let one_time = exchange.code("owner", "lab").await;
    let racers = (0..1000).map(|_| async { exchange.redeem(&one_time, "lab").await.status() });
    // Not all at once: the exchange would tell some to come back.
    let statuses: Vec<_> = stream::iter(racers).buffer_unordered(256).collect().await;
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == 400).count(), 999);
    let entered = instance.calls().iter().filter(|call| !ends_sessions(call)).count();
    assert_eq!(entered, 1);
    until_ended(&instance, 1).await;
}

#[tokio::test]
async fn a_code_is_spent_by_whoever_tries_it_with_something_wrong() {
    let (exchange, instance) = with_lab().await;
    exchange.register("other", &instance.url(), Reach::Private).await;
    let (page, other) = (page_of("lab"), page_of("other"));
    let wrong = "x".repeat(43);
    for (verifier, page, origin) in [
        (wrong.as_str(), &page, Some("https://lab.example")),
        (VERIFIER, &other, Some("https://other.example")),
        (VERIFIER, &page, Some("https://evil.example")),
        (VERIFIER, &page, Some("null")),
    ] {
        let one_time = exchange.code("owner", "lab").await;
        let fields =
            [("code", one_time.as_str()), ("code_verifier", verifier), ("redirect_uri", page)];
        let refused = exchange.redeem_with(&fields, origin).await;
        assert_eq!(code(refused).await, Code::CodeInvalid, "{page} {origin:?}");
        let later = exchange.redeem(&one_time, "lab").await;
        assert_eq!(code(later).await, Code::CodeInvalid, "{page} {origin:?}");
    }
    assert_eq!(instance.calls().len(), 0, "no session was opened, and none is ended");
}

#[tokio::test]
async fn a_code_nobody_gave_out_is_refused() {
    let (exchange, _instance) = with_lab().await;
    let refused = refusal(exchange.redeem(&"A".repeat(43), "lab").await).await;
    assert_eq!((refused.code, refused.status), (Code::CodeInvalid, 400));
}

#[tokio::test]
async fn a_code_is_old_after_its_lifetime() {
    let (exchange, instance) = with_lab().await;
    let one_time = exchange.code("owner", "lab").await;
    let age = "UPDATE handoff_codes SET expires_at = expires_at - 31";
    assert_eq!(database::change(exchange.data.path(), age).unwrap(), 1);
    assert_eq!(code(exchange.redeem(&one_time, "lab").await).await, Code::CodeInvalid);
    assert_eq!(instance.calls().len(), 0);
}

#[tokio::test]
async fn a_code_is_kept_as_a_hash_and_what_it_says_of_a_person_goes_with_it() {
    let (exchange, _instance) = with_lab().await;
    let one_time = exchange.code("owner", "lab").await;
    assert_eq!(exchange.redeem(&one_time, "lab").await.status(), 200);
    for file in std::fs::read_dir(exchange.data.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(43).any(|window| window == one_time.as_bytes());
        assert!(!found, "the code is in the database");
    }
    let person: String = database::one(exchange.data.path(), "SELECT person FROM handoff_codes");
    assert_eq!(person, "");
}

#[tokio::test]
async fn strangers_and_foreign_pages_get_no_code() {
    let (exchange, _instance) = with_lab().await;
    let page = page_of("lab");
    let refused = exchange.ask_for_code("stranger", "lab", &page).await;
    assert_eq!(code(refused).await, Code::InstanceForbidden);
    for foreign in [
        "https://evil.example/kombisphere/",
        "https://lab.example/kombisphere",
        "https://lab.example/kombisphere/?",
        "https://LAB.example/kombisphere/",
        "https://lab.example/kombisphere/../",
        "",
    ] {
        let refused = exchange.ask_for_code("owner", "lab", foreign).await;
        assert_eq!(code(refused).await, Code::RedirectRefused, "{foreign}");
    }
}

#[tokio::test]
async fn who_may_not_enter_any_more_redeems_nothing() {
    let (exchange, instance) = with_lab().await;
    let one_time = exchange.code("member", "lab").await;
    let leave = "DELETE FROM members WHERE sub = 'member'";
    assert_eq!(database::change(exchange.data.path(), leave).unwrap(), 1);
    assert_eq!(code(exchange.redeem(&one_time, "lab").await).await, Code::InstanceForbidden);
    assert_eq!(instance.calls().len(), 0);
}

#[tokio::test]
async fn codes_of_one_person_do_not_pile_up() {
    let (exchange, _instance) = with_lab().await;
    let first = exchange.code("owner", "lab").await;
    let mut last = String::new();
    for _ in 0..16 {
        last = exchange.code("owner", "lab").await;
    }
    let kept: i64 = database::one(exchange.data.path(), "SELECT count(*) FROM handoff_codes");
    assert_eq!(kept, 16);
    let others = exchange.code("member", "lab").await;
    assert_eq!(exchange.redeem(&others, "lab").await.status(), 200);
    assert_eq!(code(exchange.redeem(&first, "lab").await).await, Code::CodeInvalid);
    assert_eq!(exchange.redeem(&last, "lab").await.status(), 200);
}
