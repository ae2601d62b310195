//! What was answered is remembered, whatever happens next.

use kombi_spec::{code::Code, header};

use crate::{
    binary::{Serving, program, run},
    database,
    exchange::{client, code},
    gate::Gate,
    instance::FakeInstance,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_right_after_the_answer_loses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let instance = FakeInstance::honest().await;
    let mut add = program(data.path());
    add.args(["instance", "add", "--id", "lab", "--owner", "owner", "--allow-private", "--url"]);
    add.arg(instance.url());
    assert_eq!(run(add).0, Some(0));
    let (gate, client) = (Gate::new(1), client());
    let present = |serving: &Serving, assertion: &str| {
        let url = format!("http://{}/sso/instances/lab/session", serving.listen);
        client.post(url).header(header::ASSERTION, assertion).send()
    };
    for round in 1..=5 {
        let serving = Serving::start(data.path());
        let assertion = gate.assertion("owner", "lab");
        let answered = present(&serving, &assertion).await.unwrap();
        serving.kill();
        assert_eq!(answered.status(), 200);

        let count = |sql| database::one::<i64>(data.path(), sql);
        assert_eq!(count("SELECT count(*) FROM links WHERE record_id = 'r-owner'"), 1);
        assert_eq!(count("SELECT count(*) FROM spent_jti"), round);

        let serving = Serving::start(data.path());
        let replayed = present(&serving, &assertion).await.unwrap();
        assert_eq!(code(replayed).await, Code::AssertionReplayed);
    }
}

#[test]
fn a_directory_is_served_once() {
    let data = tempfile::tempdir().unwrap();
    let first = Serving::start(data.path());
    let mut second = program(data.path());
    second.arg("serve");
    let (exit, _, error) = run(second);
    assert_eq!(exit, Some(1));
    assert!(error.contains("KOMBI_EXCHANGE_DATA: expected a directory of this"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    first.kill();
    Serving::start(data.path()).kill();
}
