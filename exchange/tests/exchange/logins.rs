//! Who gets in, and what they get.

use kombi_exchange::address::Reach;
use kombi_spec::code::Code;

use crate::{
    database,
    exchange::{Exchange, code, refusal},
    instance::{FakeInstance, Script, json},
};

#[tokio::test]
async fn an_owner_gets_pocketbases_own_token_and_record() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    let key = exchange.register("lab", &instance.url(), Reach::Private).await;
    let response = exchange.login("owner", "lab").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(
        response.text().await.unwrap(),
        r#"{"token":"t-owner","record":{"id":"r-owner","n":1.0}}"#
    );

    let calls = instance.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].line, "POST /api/kombisphere/session HTTP/1.1");
    let claims = &calls[0].claims;
    assert_eq!((claims.iss.as_str(), claims.aud.as_str()), ("kombi-exchange", "lab"));
    assert_eq!(claims.email.as_deref(), Some("owner@example.com"));
    assert!(claims.email_verified);
    let secret = key.hmac_secret();
    let key = jsonwebtoken::DecodingKey::from_secret(secret.as_bytes());
    let (message, signature) = calls[0].jws.rsplit_once('.').unwrap();
    let hs256 = jsonwebtoken::Algorithm::HS256;
    assert!(jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key, hs256).unwrap());
}

#[tokio::test]
async fn a_stranger_cannot_tell_somebody_elses_instance_from_none() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    assert_eq!(exchange.login("member", "lab").await.status(), 200);
    let theirs = refusal(exchange.login("stranger", "lab").await).await;
    let none = refusal(exchange.login("stranger", "nothing").await).await;
    assert_eq!((theirs.code, none.code), (Code::InstanceForbidden, Code::InstanceForbidden));
    assert_eq!((theirs.status, &theirs.detail), (403, &none.detail));
    assert_eq!(instance.calls().len(), 1, "a stranger's login reaches no instance");
}

#[tokio::test]
async fn the_gateways_request_id_is_in_the_refusal() {
    let exchange = Exchange::start().await;
    let mut claims = crate::gate::claims("owner", "lab");
    claims.jti = "the-gateways-id".to_owned();
    let problem = refusal(exchange.present(&exchange.gate.sign(&claims), "lab").await).await;
    assert_eq!(problem.request_id, "the-gateways-id");
}

#[tokio::test]
async fn an_instance_registered_while_serving_is_there_at_once() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    assert_eq!(code(exchange.login("owner", "lab").await).await, Code::InstanceForbidden);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
}

#[tokio::test]
async fn a_link_is_kept_with_its_history() {
    let exchange = Exchange::start().await;
    let instance = FakeInstance::start(|call| {
        let id = call.claims.name.as_deref().unwrap();
        Script::Send(json(200, &format!(r#"{{"token":"t","record":{{"id":"{id}"}}}}"#)))
    })
    .await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    for record in ["first", "first", "second"] {
        let mut claims = crate::gate::claims("owner", "lab");
        claims.name = Some(record.to_owned());
        assert_eq!(exchange.present(&exchange.gate.sign(&claims), "lab").await.status(), 200);
    }
    let links: Vec<(String, Option<i64>)> = database::with(exchange.data.path(), |connection| {
        let links = "SELECT record_id, until FROM links ORDER BY until IS NULL, until";
        connection.query_all(links, &[], |row| Ok((row.get(0)?, row.get(1)?)))
    })
    .unwrap();
    assert_eq!(links.len(), 2);
    assert_eq!(links[0].0, "first");
    assert!(links[0].1.is_some(), "the first link is history");
    assert_eq!(links[1], ("second".to_owned(), None));
}

#[tokio::test]
async fn a_sealed_key_in_another_instances_row_is_refused() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    exchange.register("evil", &instance.url(), Reach::Private).await;
    let swap =
        "UPDATE instances SET sealed_key = (SELECT sealed_key FROM instances WHERE id = 'lab')
         WHERE id = 'evil'";
    assert_eq!(database::change(exchange.data.path(), swap).unwrap(), 1);
    assert_eq!(code(exchange.login("owner", "evil").await).await, Code::Internal);
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
    assert_eq!(instance.calls().len(), 1);
}
