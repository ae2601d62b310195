//! What becomes of every way in which an instance can answer, or not.

use std::time::{Duration, Instant};

use kombi_exchange::address::Reach;
use kombi_spec::code::Code;

use crate::{
    exchange::{Exchange, code, refusal},
    instance::{FakeInstance, Script, json},
};

const GOOD: &str = r#"{"token":"SECRET","record":{"id":"r1"}}"#;

#[tokio::test]
async fn every_answer_has_its_code() {
    let exchange = Exchange::start_with(|config| {
        config.instance_timeout = Duration::from_millis(300);
    })
    .await;
    let refused = |status, code| json(status, &format!(r#"{{"data":{{"code":"{code}"}}}}"#));
    let huge = json(200, &format!(r#"{{"token":"{}"}}"#, "x".repeat(300 * 1024)));
    let endless = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let cut = &json(200, GOOD)[..100];
    let answers: [(&str, Script, Code); 17] = [
        ("collision", Script::Send(refused(409, "account_collision")), Code::AccountCollision),
        ("incomplete", Script::Send(refused(422, "account_incomplete")), Code::AccountIncomplete),
        ("refused", Script::Send(refused(403, "account_refused")), Code::AccountRefused),
        ("invalid", Script::Send(refused(401, "request_invalid")), Code::InstanceMisbehaved),
        ("unknown-code", Script::Send(refused(400, "hello")), Code::InstanceMisbehaved),
        ("no-hook", Script::Send(json(404, r#"{"data":{}}"#)), Code::InstanceMisbehaved),
        ("broken", Script::Send(json(500, "<html>")), Code::InstanceMisbehaved),
        ("proxy", Script::Send(json(502, "<html>")), Code::InstanceUnavailable),
        ("not-json", Script::Send(json(200, "<html>")), Code::InstanceMisbehaved),
        ("wrong-shape", Script::Send(json(200, r#"{"token":"t"}"#)), Code::InstanceMisbehaved),
        ("huge", Script::Send(huge), Code::InstanceMisbehaved),
        ("not-http", Script::Send(b"SSH-2.0-x\r\n\r\n".to_vec()), Code::InstanceMisbehaved),
        ("closed", Script::Send(Vec::new()), Code::InstanceUnavailable),
        ("cut", Script::Send(cut.to_vec()), Code::InstanceUnavailable),
        ("silent", Script::Hang(Vec::new()), Code::InstanceUnavailable),
        ("half", Script::Hang(cut.to_vec()), Code::InstanceUnavailable),
        ("endless", Script::Hang(endless), Code::InstanceUnavailable),
    ];
    for (id, script, expected) in answers {
        let script = std::sync::Mutex::new(Some(script));
        let act = move |_: &_| script.lock().unwrap().take().expect("one call, never a retry");
        let instance = FakeInstance::start(act).await;
        exchange.register(id, &instance.url(), Reach::Private).await;
        let problem = refusal(exchange.login("owner", id).await).await;
        assert_eq!(problem.code, expected, "{id}");
        assert!(!problem.detail.contains("SECRET"), "{id}");
        assert_eq!(instance.calls().len(), 1, "{id}");
    }
}

#[tokio::test]
async fn an_instance_that_is_gone_or_silent_is_told_of_in_time() {
    let exchange = Exchange::start().await;
    let silent = FakeInstance::start(|_| Script::Hang(Vec::new())).await;
    exchange.register("silent", &silent.url(), Reach::Private).await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    exchange.register("gone", &format!("http://{free}"), Reach::Private).await;
    for id in ["silent", "gone"] {
        let started = Instant::now();
        assert_eq!(code(exchange.login("owner", id).await).await, Code::InstanceUnavailable);
        assert!(started.elapsed() < Duration::from_millis(2500), "{id}: {:?}", started.elapsed());
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (exchange, elsewhere) = (Exchange::start().await, FakeInstance::honest().await);
    let location = elsewhere.url();
    let instance = FakeInstance::start(move |_| {
        let head = "content-length: 0\r\nconnection: close";
        let answer = format!("HTTP/1.1 307 X\r\nlocation: {location}\r\n{head}\r\n\r\n");
        Script::Send(answer.into_bytes())
    })
    .await;
    exchange.register("lab", &instance.url(), Reach::Private).await;
    assert_eq!(code(exchange.login("owner", "lab").await).await, Code::InstanceMisbehaved);
    assert!(elsewhere.calls().is_empty());
}
