//! Who may enter an instance: its owner, members, and whoever has a role of an organisation.

use kombi_exchange::address::Reach;
use kombi_spec::{assertion::GrantedBy, code::Code};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    exchange::{Exchange, code},
    gate,
    instance::{FakeInstance, Script, json as answer},
    revocations::until_none_is_pending,
};

/// Roles, each with the organisation that granted it.
pub(crate) fn granted(roles: &[(&str, &str)]) -> GrantedBy {
    let mut granted = GrantedBy::new();
    for (role, organisation) in roles {
        granted.entry((*role).to_owned()).or_default().insert((*organisation).to_owned());
    }
    granted
}

impl Exchange {
    async fn login_as(&self, sub: &str, granted_by: GrantedBy, instance: &str) -> Response {
        let mut claims = gate::claims(sub, instance);
        claims.roles = granted_by.keys().cloned().collect();
        claims.granted_by = granted_by;
        self.present(&self.gate.sign(&claims), instance).await
    }

    async fn entry(&self, deed: &str, body: Value) -> Response {
        let path = format!("/admin/instances/lab/{deed}");
        self.admin(&["admin:tools"], Method::POST, &path, body).await
    }
}

/// An exchange with the instance `lab`, which lets everybody in and ends everybody's sessions.
async fn with_lab() -> (Exchange, FakeInstance) {
    let exchange = Exchange::start().await;
    let instance = FakeInstance::start(|call| {
        let sub = &call.claims.sub;
        let body = format!(r#"{{"ended":true,"record":{{"id":"r-{sub}"}},"token":"t-{sub}"}}"#);
        Script::Send(answer(200, &body))
    })
    .await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    (exchange, instance)
}

#[tokio::test]
async fn a_role_opens_an_instance_if_that_organisation_granted_it() {
    let (exchange, instance) = with_lab().await;
    for (roles, enters) in [
        (&[("keeper", "7")][..], true),
        (&[("user", "7"), ("keeper", "8"), ("keeper", "7")], true),
        (&[("keeper", "8")], false),
        (&[("user", "7")], false),
        (&[("keeper@7", "7")], false),
        (&[("KEEPER", "7")], false),
        (&[], false),
    ] {
        let login = exchange.login_as("ada", granted(roles), "lab").await;
        assert_eq!(login.status() == 200, enters, "{roles:?}");
        assert!(enters || code(login).await == Code::InstanceForbidden);
    }
    // The names alone do not say who granted them.
    let mut claims = gate::claims("ada", "lab");
    claims.roles = vec!["keeper".to_owned(), "keeper@7".to_owned()];
    claims.org = Some("7".to_owned());
    let refused = exchange.present(&exchange.gate.sign(&claims), "lab").await;
    assert_eq!(code(refused).await, Code::InstanceForbidden);
    assert_eq!(instance.calls().len(), 2);
}

#[tokio::test]
async fn an_admin_says_who_may_enter_and_whoever_may_no_more_is_signed_out() {
    let (exchange, instance) = with_lab().await;
    let of = |who: Value, reason: &str| {
        let mut body = who;
        body["reason"] = json!(reason);
        body
    };
    let (keeper, ben) = (json!({"role": "keeper@7"}), json!({"member": "ben"}));
    assert_eq!(code(exchange.login("ben", "lab").await).await, Code::InstanceForbidden);
    let admitted = exchange.entry("admit", of(ben.clone(), "hired")).await;
    assert_eq!(admitted.text().await.unwrap(), r#"{"changed":true,"id":"lab"}"#);
    let again = exchange.entry("admit", of(ben.clone(), "hired")).await;
    assert_eq!(again.text().await.unwrap(), r#"{"changed":false,"id":"lab"}"#);
    assert_eq!(exchange.login("ben", "lab").await.status(), 200);
    let with_role = || exchange.login_as("ada", granted(&[("keeper", "7")]), "lab");
    assert_eq!(with_role().await.status(), 200);
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);

    assert_eq!(exchange.entry("dismiss", of(keeper, "contract ended")).await.status(), 200);
    assert_eq!(code(with_role().await).await, Code::InstanceForbidden);
    until_none_is_pending(&exchange).await;
    assert_eq!(exchange.entry("dismiss", of(ben, "left")).await.status(), 200);
    assert_eq!(code(exchange.login("ben", "lab").await).await, Code::InstanceForbidden);
    until_none_is_pending(&exchange).await;
    // A member and the owner did not come by the role.
    let calls = instance.calls();
    let ended = calls.iter().filter(|call| call.line.contains("/end-sessions "));
    let ended: Vec<&str> = ended.map(|call| call.claims.sub.as_str()).collect();
    assert_eq!(ended, ["ada", "ben"]);

    let kept = crate::audit::kept(exchange.data.path());
    for line in [
        "person root instance_admit lab ben  hired ok",
        "person root instance_dismiss lab  keeper@7 contract ended ok",
        "person root instance_dismiss lab ben  left ok",
        "exchange  sessions_ended lab ada  may not enter any more ok",
    ] {
        assert!(kept.iter().any(|one| one == line), "{line}: {kept:#?}");
    }
}

#[tokio::test]
async fn an_entry_is_one_member_or_one_role() {
    let (exchange, _instance) = with_lab().await;
    for body in [
        json!({"reason": "r"}),
        json!({"member": "m", "role": "user@7", "reason": "r"}),
        json!({"member": "", "reason": "r"}),
        json!({"role": "user", "reason": "r"}),
        json!({"role": "user@7"}),
        json!({"owner": "m", "reason": "r"}),
    ] {
        for deed in ["admit", "dismiss"] {
            let refused = exchange.entry(deed, body.clone()).await;
            assert_eq!(code(refused).await, Code::BodyMalformed, "{deed} {body}");
        }
    }
    let path = "/admin/instances/nowhere/admit";
    let body = json!({"member": "m", "reason": "r"});
    let nowhere = exchange.admin(&["admin:tools"], Method::POST, path, body).await;
    assert_eq!(code(nowhere).await, Code::InstanceUnknown);
}

#[tokio::test]
async fn a_code_is_worth_nothing_to_whom_nobody_lets_in_any_more() {
    let (exchange, instance) = with_lab().await;
    let code_of_member = exchange.code("member", "lab").await;
    let dismissed = exchange.entry("dismiss", json!({"member": "member", "reason": "r"})).await;
    assert_eq!(dismissed.status(), 200);
    let redeemed = exchange.redeem(&code_of_member, "lab").await;
    assert_eq!(code(redeemed).await, Code::InstanceForbidden);
    assert!(instance.calls().iter().all(|call| call.line.contains("/end-sessions ")));
}
