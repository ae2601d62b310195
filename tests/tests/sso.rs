//! Logging in to a `KombiStack` instance, on real parts.

use std::collections::BTreeSet;

use kombi_spec::{code::Code, header};
use serde_json::json;
use stack::{
    answer::Answer,
    stack::{HOMELAB, Stack},
};

#[tokio::test]
async fn the_first_login_creates_the_user_and_the_second_finds_it() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let first = stack.log_in(&token, HOMELAB.id).await.unwrap();
    assert_eq!(first.status, 200, "{}", first.summary());
    assert_eq!(first.header("cache-control"), Some("no-store"));
    let second = stack.log_in(&token, HOMELAB.id).await.unwrap();
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["record"]["email"], "ada@example.com");
    assert_eq!(first["record"]["id"], second["record"]["id"]);
    let keys: BTreeSet<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["record", "token"].into(), "PocketBase's own answer and nothing else");
    assert_eq!(first["record"].get("zitadel_sub"), None, "the field is hidden");
}

#[tokio::test]
async fn the_returned_token_opens_a_record_and_can_be_refreshed() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let session = stack.log_in(&token, HOMELAB.id).await.unwrap().json();
    let token = session["token"].as_str().unwrap();
    let instance = stack.instances[0].url();
    let records = format!("{instance}/api/collections/homelabs/records");
    let request = stack.client().get(&records).header("authorization", token);
    assert_eq!(Answer::to(request).await.unwrap().json()["totalItems"], 1);
    let anonymous = Answer::to(stack.client().get(&records)).await.unwrap();
    assert_ne!(anonymous.json()["totalItems"], 1, "the record is not for everybody");
    let refresh = format!("{instance}/api/collections/users/auth-refresh");
    let request = stack.client().post(refresh).header("authorization", token);
    assert_eq!(Answer::to(request).await.unwrap().status, 200);
}

#[tokio::test]
async fn who_may_enter_is_the_registrys_to_say() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let member = stack.issuer.token("grace").await.unwrap();
    assert_eq!(stack.log_in(&member, HOMELAB.id).await.unwrap().status, 200);
    let stranger = stack.issuer.token("mallory").await.unwrap();
    let theirs = stack.log_in(&stranger, HOMELAB.id).await.unwrap();
    assert_eq!((theirs.status, theirs.code()), (403, Some(Code::InstanceForbidden)));
    // An instance that does not exist looks the same as one that is not theirs.
    let nowhere = stack.log_in(&stranger, "nowhere").await.unwrap();
    assert_eq!((nowhere.status, nowhere.code()), (403, Some(Code::InstanceForbidden)));
    let detail = |answer: &Answer| answer.problem().unwrap().detail;
    assert_eq!(detail(&theirs), detail(&nowhere));
}

#[tokio::test]
async fn eight_first_logins_at_once_make_one_user() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let token = stack.issuer.token("ada").await.unwrap();
    let users = stack.log_in_at_once(&token, HOMELAB.id, 8).await.unwrap();
    assert_eq!(users.len(), 1);
}

#[tokio::test]
async fn the_exchange_called_directly_refuses_without_or_with_a_used_assertion() {
    let mut stack = Stack::with(&[HOMELAB]).await.unwrap();
    let url = format!("{}/sso/instances/{}/session", stack.exchange().unwrap().url(), HOMELAB.id);
    let token = stack.issuer.token("ada").await.unwrap();
    let bare = Answer::to(stack.client().post(&url).bearer_auth(&token)).await.unwrap();
    assert_eq!((bare.status, bare.code()), (401, Some(Code::AssertionMissing)));
    let subject = stack.issuer.subject("ada").await.unwrap();
    let assertion = stack.exchange().unwrap().assertion(&subject, &url).unwrap();
    let send =
        |url: &str| Answer::to(stack.client().post(url).header(header::ASSERTION, &assertion));
    let elsewhere = url.replace(HOMELAB.id, "other");
    assert_eq!(send(&elsewhere).await.unwrap().code(), Some(Code::AssertionInvalid));
    assert_eq!(send(&url).await.unwrap().status, 422, "this assertion has no e-mail address");
    assert_eq!(send(&url).await.unwrap().code(), Some(Code::AssertionReplayed));
}

#[tokio::test]
async fn a_client_cannot_bring_its_own_assertion() {
    let mut stack = Stack::with(&[HOMELAB]).await.unwrap();
    let url = format!("{}/sso/instances/{}/session", stack.exchange().unwrap().url(), HOMELAB.id);
    let subject = stack.issuer.subject("ada").await.unwrap();
    let assertion = stack.exchange().unwrap().assertion(&subject, &url).unwrap();
    let stranger = stack.issuer.token("mallory").await.unwrap();
    let path = format!("/sso/instances/{}/session", HOMELAB.id);
    let request = stack.post(&path).bearer_auth(&stranger).header(header::ASSERTION, assertion);
    assert_eq!(Answer::to(request).await.unwrap().code(), Some(Code::HeaderReserved));
}

#[tokio::test]
async fn a_local_account_with_an_unverified_address_is_never_taken_over() {
    let stack = Stack::with(&[HOMELAB]).await.unwrap();
    let users = format!("{}/api/collections/users/records", stack.instances[0].url());
    let local = json!({
        "email": "ada@example.com", "password": "a-local-password", "passwordConfirm": "a-local-password",
    });
    let made = Answer::to(stack.client().post(users).json(&local)).await.unwrap();
    assert_eq!(made.status, 200, "anybody may sign up locally: {}", made.json());
    let token = stack.issuer.token("ada").await.unwrap();
    let answer = stack.log_in(&token, HOMELAB.id).await.unwrap();
    assert_eq!((answer.status, answer.code()), (409, Some(Code::AccountCollision)));
}
