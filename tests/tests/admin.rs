//! What admins do about accounts, on real parts: the gateway in front, both ways into an instance
//! behind.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use kombi_spec::code::Code;
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    kombistack::{SUPERUSER, SUPERUSER_PASSWORD},
    stack::{HOMELAB, Instance, Options, Stack, WayIn},
};

const BARE: Instance =
    Instance { id: "bare", owner: "ada", members: &["grace"], way_in: WayIn::Superuser };

async fn admin(stack: &Stack) -> String {
    stack.issuer.mint(json!({"sub": "grace", "roles": ["admin:tools"]})).await.unwrap()
}

async fn call(stack: &Stack, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let url = format!("{}{path}", stack.gateway.url());
    let request = stack.client().request(method.parse().unwrap(), url).bearer_auth(token);
    Answer::to(request.json(&body)).await.unwrap()
}

/// A user who signed up locally at the instance number `at`, and a token of theirs.
async fn local_user(stack: &Stack, at: usize, email: &str) -> (String, String) {
    let users = format!("{}/api/collections/users", stack.instances[at].url());
    let made = stack.client().post(format!("{users}/records")).json(&json!({
        "email": email, "password": "a-local-password", "passwordConfirm": "a-local-password",
    }));
    let made = Answer::to(made).await.unwrap();
    assert_eq!(made.status, 200, "{}", made.json());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let sign_in = json!({"identity": email, "password": "a-local-password"});
    let sign_in = stack.client().post(format!("{users}/auth-with-password")).json(&sign_in);
    let token = Answer::to(sign_in).await.unwrap().json()["token"].as_str().unwrap().to_owned();
    (id, token)
}

/// Whether the instance number `at` takes `token` for good.
async fn is_good(stack: &Stack, at: usize, id: &str, token: &str) -> bool {
    let own = format!("{}/api/collections/users/records/{id}", stack.instances[at].url());
    let own = stack.client().get(own).header("authorization", token);
    Answer::to(own).await.unwrap().status == 200
}

#[tokio::test]
async fn both_ways_in_link_unlink_and_sign_out() {
    both_ways_in(&Stack::with(&[HOMELAB, BARE]).await.unwrap()).await;
}

#[tokio::test]
async fn both_ways_in_work_with_the_oldest_pocketbase_that_is_supported() {
    let instances = &[HOMELAB, BARE];
    let options = Options { instances, oldest_pocketbase: true, ..Options::default() };
    both_ways_in(&Stack::start(options).await.unwrap()).await;
}

async fn both_ways_in(stack: &Stack) {
    let (ada, subject) =
        (stack.issuer.token("ada").await.unwrap(), stack.issuer.subject("ada").await.unwrap());
    let admin = admin(stack).await;
    let why = json!({"reason": "they showed the local account"});
    for (at, instance) in [HOMELAB, BARE].into_iter().enumerate() {
        let path = |deed: &str| format!("/admin/instances/{}/users/{subject}/{deed}", instance.id);
        // Not verified, so it is nobody's by its address alone.
        let (record, _) = local_user(stack, at, "ada@example.com").await;
        let refused = stack.log_in(&ada, instance.id).await.unwrap();
        assert_eq!(refused.code(), Some(Code::AccountCollision), "{}", instance.id);

        let mut link = why.clone();
        link["record"] = json!(record);
        let linked = call(stack, &admin, "PUT", &path("link"), link.clone()).await;
        assert_eq!(linked.json(), json!({"record": record, "changed": true}), "{}", instance.id);
        let again = call(stack, &admin, "PUT", &path("link"), link.clone()).await;
        assert_eq!(again.json()["changed"], false);
        let session = stack.log_in(&ada, instance.id).await.unwrap().json();
        assert_eq!(session["record"]["id"], record.as_str());
        let token = session["token"].as_str().unwrap();
        assert!(is_good(stack, at, &record, token).await);

        let (other, _) = local_user(stack, at, "other@example.com").await;
        link["record"] = json!(other);
        let taken = call(stack, &admin, "PUT", &path("link"), link.clone()).await;
        assert_eq!(taken.code(), Some(Code::AccountCollision), "{}", instance.id);
        link["record"] = json!("nowhere12345678");
        let unknown = path("link").replace(&subject, "4711");
        let unknown = call(stack, &admin, "PUT", &unknown, link.clone()).await;
        assert_eq!(unknown.code(), Some(Code::AccountUnknown), "{}", instance.id);

        let unlinked = call(stack, &admin, "POST", &path("unlink"), why.clone()).await;
        assert_eq!(unlinked.json(), json!({"record": record, "changed": true}));
        assert!(!is_good(stack, at, &record, token).await, "who is unlinked is signed out");
        let nobody = call(stack, &admin, "POST", &path("unlink"), why.clone()).await;
        assert_eq!(nobody.json(), json!({"record": null, "changed": false}));

        let grace = stack.issuer.token("grace").await.unwrap();
        let made = stack.log_in(&grace, instance.id).await.unwrap();
        let found = stack.log_in(&grace, instance.id).await.unwrap();
        assert_eq!(made.status, 200, "{}", made.summary());
        assert_eq!(made.json()["record"]["id"], found.json()["record"]["id"]);
    }
}

/// A token of somebody at an organisation, with these roles there.
async fn somebody(stack: &Stack, sub: &str, roles: &[&str], organisation: &str) -> String {
    let order = json!({
        "sub": sub, "name": "Mary Somerville", "email": format!("{sub}@example.com"),
        "email_verified": true, "roles": roles, "organisation": organisation,
    });
    stack.issuer.mint(order).await.unwrap()
}

#[tokio::test]
async fn an_organisations_role_opens_both_kinds_of_instance_as_long_as_an_admin_says_so() {
    let stack = Stack::with(&[HOMELAB, BARE]).await.unwrap();
    let admin = admin(&stack).await;
    let [company, other] = ["200000000000000001", "200000000000000002"];
    let keeper = somebody(&stack, "mary", &["user", "keeper"], company).await;
    let entry = json!({"role": format!("keeper@{company}"), "reason": "they keep the machines"});
    for (at, instance) in [HOMELAB, BARE].into_iter().enumerate() {
        let path = |deed: &str| format!("/admin/instances/{}/{deed}", instance.id);
        let refused = stack.log_in(&keeper, instance.id).await.unwrap();
        assert_eq!(refused.code(), Some(Code::InstanceForbidden), "{}", instance.id);
        let admitted = call(&stack, &admin, "POST", &path("admit"), entry.clone()).await;
        assert_eq!(admitted.json(), json!({"changed": true, "id": instance.id}));
        let entered = stack.log_in(&keeper, instance.id).await.unwrap();
        assert_eq!(entered.status, 200, "{}", entered.summary());
        let session = entered.json();
        for (sub, roles, organisation) in [
            ("jane", &["user"][..], company),
            // Whoever runs an organisation names its roles as they like.
            ("eve", &["user", "keeper", &format!("keeper@{company}")], other),
        ] {
            let stranger = somebody(&stack, sub, roles, organisation).await;
            let refused = stack.log_in(&stranger, instance.id).await.unwrap();
            assert_eq!(refused.code(), Some(Code::InstanceForbidden), "{sub} {}", instance.id);
        }

        let dismissed = call(&stack, &admin, "POST", &path("dismiss"), entry.clone()).await;
        assert_eq!(dismissed.status, 200, "{}", dismissed.summary());
        let refused = stack.log_in(&keeper, instance.id).await.unwrap();
        assert_eq!(refused.code(), Some(Code::InstanceForbidden), "{}", instance.id);
        let (id, token) = (&session["record"]["id"], &session["token"]);
        let (id, token) = (id.as_str().unwrap(), token.as_str().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while is_good(&stack, at, id, token).await {
            assert!(Instant::now() < deadline, "who is dismissed is signed out");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn what_is_in_place_is_found_so_and_the_gate_asks_for_the_role() {
    let stack = Stack::with(&[HOMELAB, BARE]).await.unwrap();
    let (ada, admin) = (stack.issuer.token("ada").await.unwrap(), admin(&stack).await);
    for instance in [HOMELAB, BARE] {
        let path = format!("/admin/instances/{}/check", instance.id);
        let checked = call(&stack, &admin, "POST", &path, json!({})).await.json();
        let findings = checked.as_array().unwrap();
        assert_eq!(findings.len(), 4, "{checked}");
        assert!(findings.iter().all(|finding| finding["ok"] == true), "{checked}");
        let refused = call(&stack, &ada, "POST", &path, json!({})).await;
        assert_eq!(refused.code(), Some(Code::RoleMissing));
    }
}

#[tokio::test]
async fn what_is_not_in_place_without_a_hook_is_told_with_what_mends_it() {
    let stack = Stack::with(&[BARE]).await.unwrap();
    let admin = admin(&stack).await;
    let instance = stack.instances[0].url();
    let sign_in = format!("{instance}/api/collections/_superusers/auth-with-password");
    let body = json!({"identity": SUPERUSER, "password": SUPERUSER_PASSWORD});
    let owner = Answer::to(stack.client().post(sign_in).json(&body)).await.unwrap().json();
    let owner = owner["token"].as_str().unwrap();
    let users = format!("{instance}/api/collections/users");
    let change = stack.client().patch(&users).header("authorization", owner);
    let open = json!({"updateRule": "id = @request.auth.id"});
    assert_eq!(Answer::to(change.json(&open)).await.unwrap().status, 200);
    let check = "/admin/instances/bare/check";
    let checked = call(&stack, &admin, "POST", check, json!({})).await.json();
    let fields = checked.as_array().unwrap().last().unwrap();
    assert_eq!((&fields["look"], &fields["ok"]), (&json!("fields"), &json!(false)), "{checked}");

    // What it says mends it.
    let replacement = json!({
        "superuser": {"email": SUPERUSER, "password": SUPERUSER_PASSWORD},
        "reason": "a rule was opened",
    });
    let path = "/admin/instances/bare/rotate-key";
    let mended = call(&stack, &admin, "POST", path, replacement).await;
    assert_eq!(mended.status, 200, "{}", mended.summary());
    let checked = call(&stack, &admin, "POST", check, json!({})).await.json();
    assert!(checked.as_array().unwrap().iter().all(|finding| finding["ok"] == true), "{checked}");
}

#[tokio::test]
async fn nobody_sets_their_own_flags_in_an_instance_without_a_hook() {
    let stack = Stack::with(&[BARE]).await.unwrap();
    let (id, token) = local_user(&stack, 0, "eve@example.com").await;
    let users = format!("{}/api/collections/users/records", stack.instances[0].url());
    let flags = json!({"feature_flags": {"version": 9, "flags": {"beta": true}}});
    let own = stack.client().patch(format!("{users}/{id}")).header("authorization", &token);
    let refused = Answer::to(own.json(&flags)).await.unwrap();
    assert!((400..500).contains(&refused.status), "{}", refused.json());
    let own = stack.client().patch(format!("{users}/{id}")).header("authorization", &token);
    let name = Answer::to(own.json(&json!({"name": "Eve"}))).await.unwrap();
    assert_eq!(name.status, 200, "everything else is theirs as before: {}", name.json());
    let mut new = flags.clone();
    new["email"] = json!("mallory@example.com");
    (new["password"], new["passwordConfirm"]) = (json!("12345678ab"), json!("12345678ab"));
    let signed_up = Answer::to(stack.client().post(users).json(&new)).await.unwrap();
    assert!((400..500).contains(&signed_up.status), "{}", signed_up.json());
}
