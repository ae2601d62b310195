//! Instances of a PocketBase that is too old to be entered as a superuser. They answer as the
//! versions of that time do.

use kombi_exchange::config::SUPERUSER_PASSWORD;
use serde_json::json;

use crate::{
    binary::{program, run},
    instance::{Script, json as answer},
    issuer::FakeIssuer,
};

/// A PocketBase that answers `signed_in` to a superuser, and everything else with the description of
/// its users.
async fn pocketbase(signed_in: Vec<u8>) -> FakeIssuer {
    let users = json!({"fields": [], "indexes": [], "createRule": "", "updateRule": null});
    let users = move |_: &str| answer(200, &users.to_string());
    FakeIssuer::start_with(users, move |_| Script::Send(signed_in.clone())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_too_old_is_not_registered_and_what_it_needs_is_said() {
    // Before 0.23, superusers were no collection; before 0.24, nothing was looked up in lower case.
    let no_collection =
        r#"{"code":404,"message":"The requested resource wasn't found.","data":{}}"#;
    for (signed_in, sentence) in [
        (
            answer(404, no_collection),
            "it has no collection of superusers: expected PocketBase 0.36",
        ),
        (
            answer(200, r#"{"token":"t","record":{}}"#),
            "it cannot look users up by zitadel_sub and email:lower: expected PocketBase 0.36",
        ),
    ] {
        let (data, instance) = (tempfile::tempdir().unwrap(), pocketbase(signed_in).await);
        let mut add = program(data.path());
        add.args(["instance", "add", "--id=lab", "--owner=o", "--allow-private"]);
        add.args(["--superuser", "a@b.c", "--url", &instance.url()]);
        add.env(SUPERUSER_PASSWORD, "CANARY");
        let (exit, said, error) = run(add);
        assert_eq!((exit, &*said), (Some(1), ""), "{error}");
        assert!(error.starts_with("kombi-exchange: nothing was changed here: http://"), "{error}");
        assert!(error.contains(sentence) && !error.contains("CANARY"), "{error}");
        let mut list = program(data.path());
        list.args(["instance", "list", "--json"]);
        assert_eq!(run(list).1.trim(), "[]");
    }
}
