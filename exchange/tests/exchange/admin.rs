//! What admins do through the API: the registry, and the accounts in instances.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use kombi_exchange::address::Reach;
use kombi_spec::{code::Code, header};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::{
    binary::{program, run},
    database,
    exchange::{Exchange, code},
    instance::{Call, FakeInstance, Script, json as answer},
    ledger::claims,
};

const ADMIN: &[&str] = &["user", "admin:tools"];

impl Exchange {
    /// `method path` by "root", who has these roles.
    pub(crate) async fn admin(
        &self,
        roles: &[&str],
        method: Method,
        path: &str,
        body: Value,
    ) -> Response {
        let mut claims = claims("root", method.as_str(), path);
        claims.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let url = format!("http://{}{path}", self.addresses.public);
        let request = self.client.request(method, url).body(body.to_string());
        request.header(header::ASSERTION, self.gate.sign(&claims)).send().await.unwrap()
    }

    async fn put(&self, path: &str, body: Value) -> Response {
        self.admin(ADMIN, Method::PUT, path, body).await
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.admin(ADMIN, Method::POST, path, body).await
    }
}

async fn said(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

/// An instance with one local user, `r1`, whose hook links and unlinks.
async fn instance() -> FakeInstance {
    let linked = Arc::<Mutex<Option<String>>>::default();
    FakeInstance::start(move |call: &Call| {
        let order: Value = call.payload();
        let (sub, mut linked) = (&call.claims.sub, linked.lock().unwrap());
        let known = linked.as_ref() == Some(sub);
        Script::Send(match order["do"].as_str() {
            Some("link") if order["record"] != "r1" => {
                answer(404, r#"{"data":{"code":"account_unknown"}}"#)
            }
            Some("link") if linked.is_some() && !known => {
                answer(409, r#"{"data":{"code":"account_collision"}}"#)
            }
            Some("link") => {
                *linked = Some(sub.clone());
                answer(200, &json!({"record": "r1", "changed": !known}).to_string())
            }
            Some("unlink") => {
                let record = known.then_some("r1");
                *linked = linked.take().filter(|_| !known);
                answer(200, &json!({"record": record, "changed": known}).to_string())
            }
            Some("check") => answer(200, r#"{"version":1,"missing":["feature_flags"]}"#),
            _ => answer(404, "{}"),
        })
    })
    .await
}

#[tokio::test]
async fn an_admin_keeps_the_registry_as_the_command_line_does() {
    let exchange = Exchange::start().await;
    let addition = json!({
        "id": "lab", "url": "https://lab.example/pb", "owner": "o1", "members": ["m1"],
        "roles": ["user@7"], "page": "https://lab.example/kombisphere/",
        "reason": "ordered in ticket 7",
    });
    let (status, added) = said(exchange.post("/admin/instances", addition.clone()).await).await;
    assert_eq!((status, added["access"].as_str()), (201, Some("hook")));
    assert_eq!(added["key"].as_str().unwrap().len(), 43);
    let again = exchange.post("/admin/instances", addition).await;
    assert_eq!(code(again).await, Code::InstanceExists);

    let list = exchange.admin(ADMIN, Method::GET, "/admin/instances", json!(null)).await;
    assert_eq!(
        said(list).await.1,
        json!([{
            "id": "lab", "url": "https://lab.example/pb", "allow_private": false, "owner": "o1",
            "members": ["m1"], "roles": ["user@7"], "page": "https://lab.example/kombisphere/", "access": "hook",
        }])
    );
    let why = json!({"reason": "the key was in a mail"});
    let (_, rotated) =
        said(exchange.post("/admin/instances/lab/rotate-key", why.clone()).await).await;
    assert_ne!(rotated["key"], added["key"]);
    assert_eq!(exchange.post("/admin/instances/lab/remove", why.clone()).await.status(), 200);
    for path in ["rotate-key", "remove", "check"] {
        let gone = exchange.post(&format!("/admin/instances/lab/{path}"), why.clone()).await;
        assert_eq!(code(gone).await, Code::InstanceUnknown, "{path}");
    }
}

#[tokio::test]
async fn an_admin_cannot_open_the_operators_network_nor_leave_out_why() {
    let exchange = Exchange::start().await;
    let good = json!({"id": "a", "url": "https://a.example", "owner": "o", "reason": "r"});
    for (member, value) in [
        ("url", json!("http://127.0.0.1:8090")),
        ("url", json!("http://10.0.0.1")),
        ("url", json!("http://169.254.169.254")),
        ("url", json!("ftp://a.example")),
        ("id", json!("A")),
        ("owner", json!("")),
        ("members", json!([""])),
        ("roles", json!(["user"])),
        ("reason", json!("")),
        ("reason", json!(null)),
        ("allow_private", json!(true)),
    ] {
        let mut body = good.clone();
        body[member] = value.clone();
        let refused = exchange.post("/admin/instances", body).await;
        assert_eq!(code(refused).await, Code::BodyMalformed, "{member} {value}");
    }
    // The superuser is tried before anything is registered.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut body = good.clone();
    body["url"] = json!(format!("http://localhost:{}", free.port()));
    body["superuser"] = json!({"email": "a@b.c", "password": "SECRET"});
    let refused = exchange.post("/admin/instances", body).await;
    assert_eq!(code(refused).await, Code::InstanceUnavailable);
    let list = exchange.admin(ADMIN, Method::GET, "/admin/instances", json!(null)).await;
    assert_eq!(said(list).await.1, json!([]));
}

#[tokio::test]
async fn what_admins_do_needs_their_role_and_an_assertion_for_it() {
    let exchange = Exchange::start().await;
    let why = json!({"reason": "r"});
    for (roles, allowed) in [
        (&["admin:tools"][..], true),
        (&["admin:super"], true),
        (&["admin:billing", "user"], false),
        (&["admin:tool"], false),
        (&[], false),
    ] {
        for (method, path) in [
            (Method::GET, "/admin/instances"),
            (Method::POST, "/admin/instances/lab/remove"),
            (Method::POST, "/admin/users/ada/end-sessions"),
            (Method::PUT, "/admin/instances/lab/users/ada/link"),
        ] {
            let answer = exchange.admin(roles, method, path, why.clone()).await;
            let refused = answer.status() == 403;
            assert_eq!(refused, !allowed, "{roles:?} {path}");
            assert!(!refused || code(answer).await == Code::RoleMissing);
        }
    }
    let mut claims = claims("root", "GET", "/admin/instances");
    claims.roles = vec!["admin:tools".to_owned()];
    let assertion = exchange.gate.sign(&claims);
    let url = format!("http://{}/admin/instances", exchange.addresses.public);
    let get = || exchange.client.get(&url).header(header::ASSERTION, &assertion).send();
    assert_eq!(get().await.unwrap().status(), 200);
    assert_eq!(code(get().await.unwrap()).await, Code::AssertionReplayed);
    let other = exchange.client.delete(&url).header(header::ASSERTION, &assertion).send();
    let other = other.await.unwrap();
    assert_eq!(other.headers()["allow"], "GET, POST");
    assert_eq!(code(other).await, Code::MethodNotAllowed);
}

#[tokio::test]
async fn an_admin_links_and_unlinks_with_a_reason() {
    let (exchange, instance) = (Exchange::start().await, instance().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let link = |sub: &str| format!("/admin/instances/lab/users/{sub}/link");
    let body = |record: &str| json!({"record": record, "reason": "they showed their passport"});
    assert_eq!(
        said(exchange.put(&link("ada"), body("r1")).await).await,
        (200, json!({"record": "r1", "changed": true}))
    );
    assert_eq!(said(exchange.put(&link("ada"), body("r1")).await).await.1["changed"], false);
    assert_eq!(code(exchange.put(&link("eve"), body("r1")).await).await, Code::AccountCollision);
    assert_eq!(code(exchange.put(&link("ada"), body("r2")).await).await, Code::AccountUnknown);
    let odd = exchange.put(&link("ada"), body("r1' OR 1")).await;
    assert_eq!(code(odd).await, Code::BodyMalformed);
    let calls = instance.calls();
    assert_eq!(calls[0].line, "POST /api/kombisphere/account HTTP/1.1");
    assert_eq!(calls[0].claims.aud, "lab#account");

    let unlink = "/admin/instances/lab/users/ada/unlink";
    let why = json!({"reason": "it was somebody else"});
    let unlinked = said(exchange.post(unlink, why.clone()).await).await.1;
    assert_eq!(unlinked, json!({"record": "r1", "changed": true}));
    let nobody = said(exchange.post(unlink, why).await).await.1;
    assert_eq!(nobody, json!({"record": null, "changed": false}));

    let kept = crate::audit::kept(exchange.data.path());
    let passport = "they showed their passport";
    for line in [
        format!("person root link lab ada r1 {passport} ok"),
        "person root unlink lab ada r1 it was somebody else ok".to_owned(),
        "person root unlink lab ada nobody was linked it was somebody else ok".to_owned(),
    ] {
        assert!(kept.contains(&line), "{line}: {kept:#?}");
    }
    let refused = kept.iter().filter(|line| line.starts_with("person root link lab eve "));
    assert!(refused.clone().all(|line| line.ends_with(" account_collision")), "{kept:#?}");
    assert_eq!(refused.count(), 1);
    let current = "SELECT count(*) FROM links WHERE until IS NULL";
    let current: i64 = database::one(exchange.data.path(), current);
    assert_eq!(current, 0, "and the history stays");
}

#[tokio::test]
async fn sessions_end_wherever_the_person_may_have_one() {
    let exchange = Exchange::start().await;
    let ended = || FakeInstance::start(|_| Script::Send(answer(200, r#"{"ended":true}"#)));
    let (first, second) = (ended().await, ended().await);
    exchange.register("a", &first.url(), Reach::Private).await;
    exchange.register("b", &second.url(), Reach::Private).await;
    let why = json!({"reason": "a lost laptop"});
    let path = "/admin/users/member/end-sessions";
    let (status, told) = said(exchange.post(path, why.clone()).await).await;
    assert_eq!((status, told), (202, json!({"instances": ["a", "b"]})));
    let nobody = exchange.post("/admin/users/stranger/end-sessions", why).await;
    assert_eq!(said(nobody).await.1, json!({"instances": []}));
    crate::revocations::until_none_is_pending(&exchange).await;
    for instance in [first, second] {
        let calls = instance.calls();
        assert_eq!((calls.len(), &*calls[0].claims.sub), (1, "member"));
    }
    let kept = crate::audit::kept(exchange.data.path());
    for line in [
        "person root revoke  member a, b a lost laptop ok",
        "exchange  sessions_ended a member  a lost laptop ok",
        "exchange  sessions_ended b member  a lost laptop ok",
    ] {
        assert!(kept.iter().any(|one| one == line), "{line}: {kept:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_is_wrong_and_what_mends_it() {
    let (exchange, instance) = (Exchange::start().await, instance().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let (_, findings) = said(exchange.post("/admin/instances/lab/check", json!(null)).await).await;
    for (n, look) in ["reachable", "access", "version", "fields"].into_iter().enumerate() {
        assert_eq!((&findings[n]["look"], &findings[n]["ok"]), (&json!(look), &json!(n < 3)));
    }
    assert!(findings[3]["found"].as_str().unwrap().contains("feature_flags"), "{findings}");

    let answers: HashMap<&str, (Script, &str)> = [
        ("none", (Script::Send(Vec::new()), "reachable")),
        ("no-hook", (Script::Send(answer(404, r#"{"data":{}}"#)), "version")),
        ("old", (Script::Send(answer(200, r#"{"version":0,"missing":[]}"#)), "version")),
        ("unset", (Script::Send(answer(503, r#"{"data":{}}"#)), "access")),
        (
            "other-key",
            (Script::Send(answer(401, r#"{"data":{"code":"request_invalid"}}"#)), "access"),
        ),
        ("proxy", (Script::Send(answer(502, "<html>")), "reachable")),
        ("html", (Script::Send(answer(200, "<html>")), "version")),
        ("fine", (Script::Send(answer(200, r#"{"version":2,"missing":[]}"#)), "")),
    ]
    .into();
    for (id, (script, wrong)) in answers {
        let script = Mutex::new(Some(script));
        let act = move |_: &_| script.lock().unwrap().take().unwrap();
        let instance = FakeInstance::start(act).await;
        exchange.register(id, &instance.url(), Reach::Private).await;
        let mut check = program(exchange.data.path());
        check.args(["instance", "check", "--id", id]);
        let (exit, said, error) = run(check);
        let found = said.lines().find_map(|line| line.strip_prefix("WRONG "));
        let look = found.and_then(|line| line.split(':').next()).unwrap_or_default();
        assert_eq!(look, wrong, "{id}: {said}{error}");
        assert_eq!(exit, Some(i32::from(!wrong.is_empty())), "{id}: {said}");
    }
}
