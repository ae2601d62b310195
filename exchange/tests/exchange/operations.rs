//! What the operator sees, and how the exchange ends.

use std::{sync::Arc, time::Duration};

use kombi_exchange::{address::Reach, config};
use kombi_spec::header;
use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    binary::{Serving, program, run},
    exchange::{Exchange, client},
    gate::Gate,
    instance::{FakeInstance, Script, json},
};

#[tokio::test]
async fn the_operators_listener_tells_how_it_is() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    exchange.login("owner", "lab").await;
    exchange.login("stranger", "lab").await;
    assert_eq!(exchange.ops("/livez").await, (200, "alive\n".to_owned()));
    assert_eq!(exchange.ops("/readyz").await, (200, "ready\n".to_owned()));
    assert_eq!(exchange.ops("/other").await.0, 404);
    let (status, metrics) = exchange.ops("/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "kombi_exchange_requests_total{route=\"sso_session\",code=\"ok\"} 1",
        "kombi_exchange_requests_total{route=\"sso_session\",code=\"instance_forbidden\"} 1",
        "kombi_exchange_connector_calls_total{outcome=\"entered\"} 1",
        "kombi_exchange_instances 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_leaves_one_line_in_the_log_and_no_secret_at_any_level() {
    let data = tempfile::tempdir().unwrap();
    let instance = FakeInstance::honest().await;
    let mut add = program(data.path());
    add.args(["instance", "add", "--id", "lab", "--owner", "owner", "--allow-private", "--json"]);
    let (_, added, _) = run({
        add.args(["--url", &instance.url()]);
        add
    });
    let key = serde_json::from_str::<Value>(&added).unwrap()["key"].as_str().unwrap().to_owned();
    let mut command = program(data.path());
    command.env(config::LOG, "trace");
    let serving = Serving::start_with(command);
    let mut assertions = Vec::new();
    for sub in ["owner", "stranger"] {
        let assertion = Gate::new(1).assertion(sub, "lab");
        let url = format!("http://{}/sso/instances/lab/session", serving.listen);
        let request = client().post(url).header(header::ASSERTION, &assertion);
        request.send().await.unwrap().bytes().await.unwrap();
        assertions.push(assertion);
    }
    let log = serving.kill();
    let lines: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let requests: Vec<_> = lines.iter().filter(|line| line["message"] == "request").collect();
    assert_eq!(requests.len(), 2, "{log:#?}");
    for (line, sub, code, status) in
        [(requests[0], "owner", "ok", 200), (requests[1], "stranger", "instance_forbidden", 403)]
    {
        assert_eq!(line["sub"], sub);
        assert_eq!(line["code"], code);
        assert_eq!(line["status"], status);
        assert_eq!(line["instance"], "lab");
        assert_eq!(line["request_id"].as_str().unwrap().len(), 32);
    }
    assert_eq!(requests[0]["origin"], "found");
    let jws = &instance.calls()[0].jws;
    for secret in [&key, &assertions[0], &assertions[1], jws, "t-owner"] {
        // The signature alone would be enough to be caught by.
        let secret = secret.rsplit('.').next().unwrap();
        assert!(!log.iter().any(|line| line.contains(secret)), "{secret} in {log:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_logins_finish_and_takes_no_new_ones() {
    let mut exchange = Exchange::start_with(|config| {
        config.instance_timeout = Duration::from_secs(10);
    })
    .await;
    let go_on = Arc::<Notify>::default();
    let told = Arc::clone(&go_on);
    let answer = json(200, r#"{"token":"t","record":{"id":"r"}}"#);
    let slow = FakeInstance::start(move |_| Script::Wait(Arc::clone(&told), answer.clone())).await;
    exchange.register("slow", &slow.url(), Reach::Private).await;
    let post = exchange.client.post(exchange.url("slow"));
    let assertion = exchange.gate.assertion("owner", "slow");
    let login = tokio::spawn(post.header(header::ASSERTION, assertion).send());
    while slow.calls().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
    let stopped = exchange.stop();
    let refused = async {
        while tokio::net::TcpStream::connect(exchange.addresses.public).await.is_ok() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(5), refused).await.expect("it still accepts connections");
    assert_eq!(exchange.ops("/readyz").await, (503, "shutting down\n".to_owned()));
    go_on.notify_one();
    assert_eq!(login.await.unwrap().unwrap().status(), 200);
    timeout(Duration::from_secs(5), stopped).await.expect("it does not stop").unwrap();
}

#[test]
fn a_health_check_learns_by_the_exit_code_whether_it_is_ready() {
    let data = tempfile::tempdir().unwrap();
    let serving = Serving::start(data.path());
    let ask = |ops: std::net::SocketAddr| {
        let mut ready = program(data.path());
        ready.arg("ready").env(config::OPS_LISTEN, ops.to_string());
        run(ready)
    };
    let ops = serving.ops;
    assert_eq!(ask(ops), (Some(0), String::new(), String::new()));
    // As in a container, where it listens everywhere.
    assert_eq!(ask(([0, 0, 0, 0], ops.port()).into()).0, Some(0));
    // What answers, but not that it is ready.
    assert_eq!(ask(serving.listen).0, Some(1));
    serving.kill();
    let (exit, _, error) = ask(ops);
    assert_eq!(exit, Some(1));
    assert!(error.starts_with(&format!("kombi-exchange: {ops}: ")), "{error}");
}
