//! Logging in to a `KombiStack` instance that has nothing of ours inside: a real `PocketBase`,
//! entered as a superuser.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use kombi_spec::code::Code;
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    kombistack::{SUPERUSER, SUPERUSER_PASSWORD},
    stack::{Instance, Stack, WayIn},
};

const BARE: Instance =
    Instance { id: "bare", owner: "ada", members: &["grace"], way_in: WayIn::Superuser };

/// What the instance's own superuser can do.
struct Owner<'a> {
    stack: &'a Stack,
    token: String,
}

impl<'a> Owner<'a> {
    async fn of(stack: &'a Stack) -> Self {
        let url =
            format!("{}/api/collections/_superusers/auth-with-password", stack.instances[0].url());
        let body = json!({"identity": SUPERUSER, "password": SUPERUSER_PASSWORD});
        let answer = Answer::to(stack.client().post(url).json(&body)).await.unwrap();
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        Self { stack, token }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        let url = format!("{}/api/collections/{path}", self.stack.instances[0].url());
        let request = self.stack.client().request(method.parse().unwrap(), url);
        let answer = Answer::to(request.header("authorization", &self.token).json(&body)).await;
        let answer = answer.unwrap();
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.json());
        answer
    }

    async fn add_user(&self, email: &str, verified: bool) -> String {
        let user = json!({
            "email": email, "verified": verified,
            "password": "a-local-password", "passwordConfirm": "a-local-password",
        });
        let made = self.call("POST", "users/records", user).await;
        made.json()["id"].as_str().unwrap().to_owned()
    }

    async fn users(&self) -> Vec<Value> {
        let listed = self.call("GET", "users/records", json!({})).await.json();
        listed["items"].as_array().unwrap().clone()
    }
}

async fn stack() -> Stack {
    Stack::with(&[BARE]).await.unwrap()
}

#[tokio::test]
async fn the_first_login_creates_the_user_and_the_second_finds_it() {
    let stack = stack().await;
    let token = stack.issuer.token("ada").await.unwrap();
    let first = stack.log_in(&token, BARE.id).await.unwrap();
    assert_eq!(first.status, 200, "{}", first.summary());
    let second = stack.log_in(&token, BARE.id).await.unwrap();
    let (first, second) = (first.json(), second.json());
    assert_eq!(first["record"]["email"], "ada@example.com");
    assert_eq!(first["record"]["id"], second["record"]["id"]);
    let keys: BTreeSet<_> = first.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["record", "token"].into());
    for hidden in ["zitadel_sub", "password", "tokenKey"] {
        assert_eq!(first["record"].get(hidden), None, "{hidden} is hidden from its user");
    }
    let subject = stack.issuer.subject("ada").await.unwrap();
    let users = Owner::of(&stack).await.users().await;
    assert_eq!(users.len(), 1);
    assert_eq!(users[0]["zitadel_sub"], subject.as_str());
}

#[tokio::test]
async fn the_returned_token_opens_a_record_and_is_the_users_own() {
    let stack = stack().await;
    let token = stack.issuer.token("grace").await.unwrap();
    let session = stack.log_in(&token, BARE.id).await.unwrap().json();
    let token = session["token"].as_str().unwrap();
    let id = session["record"]["id"].as_str().unwrap();
    let users = format!("{}/api/collections/users/records", stack.instances[0].url());
    let own = stack.client().get(format!("{users}/{id}")).header("authorization", token);
    let own = Answer::to(own).await.unwrap();
    assert_eq!((own.status, own.json()["id"].as_str()), (200, Some(id)));
    let anonymous = Answer::to(stack.client().get(format!("{users}/{id}"))).await.unwrap();
    assert_eq!(anonymous.status, 404, "the record is not for everybody");
    let delete =
        stack.client().delete(format!("{}/api/collections/users", stack.instances[0].url()));
    let delete = Answer::to(delete.header("authorization", token)).await.unwrap();
    assert_eq!(delete.status, 403, "nobody becomes a superuser by logging in");
}

#[tokio::test]
async fn eight_first_logins_at_once_make_one_user() {
    let stack = stack().await;
    let token = stack.issuer.token("ada").await.unwrap();
    let users = stack.log_in_at_once(&token, BARE.id, 8).await.unwrap();
    assert_eq!(users.len(), 1);
    assert_eq!(Owner::of(&stack).await.users().await.len(), 1);
}

#[tokio::test]
async fn one_local_user_with_the_same_address_verified_on_both_sides_is_linked() {
    let stack = stack().await;
    let owner = Owner::of(&stack).await;
    let local = owner.add_user("Ada@Example.com", true).await;
    let token = stack.issuer.token("ada").await.unwrap();
    let answer = stack.log_in(&token, BARE.id).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.summary());
    assert_eq!(answer.json()["record"]["id"], local.as_str());
    assert_eq!(answer.json()["record"]["email"], "Ada@Example.com", "its address stays");
    assert_eq!(owner.users().await.len(), 1);
}

#[tokio::test]
async fn a_local_user_who_may_be_somebody_else_is_never_taken_over() {
    for (address, verified, linked_to) in [
        ("ada@example.com", false, ""),
        ("ADA@EXAMPLE.COM", false, ""),
        ("ada@example.com", true, "somebody-else"),
    ] {
        let stack = stack().await;
        let owner = Owner::of(&stack).await;
        let local = owner.add_user(address, verified).await;
        let link = json!({"zitadel_sub": linked_to});
        owner.call("PATCH", &format!("users/records/{local}"), link).await;
        let token = stack.issuer.token("ada").await.unwrap();
        let answer = stack.log_in(&token, BARE.id).await.unwrap();
        let refused = (answer.status, answer.code());
        assert_eq!(refused, (409, Some(Code::AccountCollision)), "{address} {verified}");
        let users = owner.users().await;
        assert_eq!((users.len(), &users[0]["zitadel_sub"]), (1, &json!(linked_to)));
    }
}

#[tokio::test]
async fn whom_the_instances_auth_rule_keeps_out_stays_out_and_leaves_nothing() {
    let stack = stack().await;
    let owner = Owner::of(&stack).await;
    let token = stack.issuer.token("ada").await.unwrap();
    for (rule, status) in
        [(json!("email != \"ada@example.com\""), 403), (json!(null), 403), (json!(""), 200)]
    {
        owner.call("PATCH", "users", json!({"authRule": rule})).await;
        let answer = stack.log_in(&token, BARE.id).await.unwrap();
        assert_eq!(answer.status, status, "{rule}: {}", answer.summary());
        let users = owner.users().await.len();
        assert_eq!(users, usize::from(status == 200), "{rule}");
        if status == 403 {
            assert_eq!(answer.code(), Some(Code::AccountRefused));
        }
    }
}

#[tokio::test]
async fn a_superuser_that_lost_its_rights_is_no_reason_to_make_users() {
    let stack = stack().await;
    let owner = Owner::of(&stack).await;
    // Everybody may see and make users: a guest, too.
    let open = json!({"listRule": "", "createRule": ""});
    owner.call("PATCH", "users", open).await;
    let ada = stack.issuer.token("ada").await.unwrap();
    assert_eq!(stack.log_in(&ada, BARE.id).await.unwrap().status, 200);
    // A new token key makes every token of the superuser bad, and the password is another.
    let superusers = owner.call("GET", "_superusers/records", json!({})).await.json();
    let id = superusers["items"][0]["id"].as_str().unwrap();
    let password = json!({"password": "another-password", "passwordConfirm": "another-password"});
    owner.call("PATCH", &format!("_superusers/records/{id}"), password).await;
    for person in ["grace", "ada"] {
        let token = stack.issuer.token(person).await.unwrap();
        let answer = stack.log_in(&token, BARE.id).await.unwrap();
        assert_eq!((answer.status, answer.code()), (502, Some(Code::InstanceMisbehaved)));
    }
    let users = format!("{}/api/collections/users/records", stack.instances[0].url());
    let listed = Answer::to(stack.client().get(users)).await.unwrap().json();
    assert_eq!(listed["totalItems"], 1, "{listed}");
}
