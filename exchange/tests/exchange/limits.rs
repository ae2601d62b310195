//! What a request may cost before anything about it is known.

use std::time::Duration;

use kombi_spec::code::Code;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::exchange::{Exchange, code, refusal};

#[tokio::test]
async fn a_large_body_is_refused() {
    let exchange = Exchange::start().await;
    for (bytes, expected) in
        [(16 * 1024, Code::AssertionMissing), (16 * 1024 + 1, Code::BodyTooLarge)]
    {
        let request = exchange.client.post(exchange.url("lab")).body(vec![b' '; bytes]);
        assert_eq!(code(request.send().await.unwrap()).await, expected, "{bytes}");
    }
}

#[tokio::test]
async fn a_slow_body_is_refused() {
    let exchange = Exchange::start_with(|config| {
        config.limits.body.time = Duration::from_millis(100);
    })
    .await;
    let mut stream = TcpStream::connect(exchange.addresses.public).await.unwrap();
    let head = "POST /sso/instances/lab/session HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.contains("\"request_timeout\""), "{answer}");
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let exchange = Exchange::start_with(|config| {
        config.limits.idle = Duration::from_millis(100);
    })
    .await;
    let mut stream = TcpStream::connect(exchange.addresses.public).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost:").await.unwrap();
    assert_eq!(to_end(&mut stream).await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let exchange = Exchange::start_with(|config| config.max_connections = 2).await;
    let held: Vec<_> = futures(&exchange, 2).await;
    let mut third = TcpStream::connect(exchange.addresses.public).await.unwrap();
    third.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let waiting = timeout(Duration::from_millis(200), third.read(&mut byte)).await;
    assert!(waiting.is_err(), "the third is answered too early");
    drop(held);
    assert!(to_end(&mut third).await.starts_with("HTTP/1.1 404 "));
}

/// Connections that have sent a part of a request each.
async fn futures(exchange: &Exchange, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(exchange.addresses.public).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn other_methods_and_paths_are_refused() {
    let exchange = Exchange::start().await;
    let response = exchange.client.get(exchange.url("lab")).send().await.unwrap();
    assert_eq!(response.headers()["allow"], "POST");
    assert_eq!(refusal(response).await.code, Code::MethodNotAllowed);
    let elsewhere = format!("http://{}/livez", exchange.addresses.public);
    let response = exchange.client.get(elsewhere).send().await.unwrap();
    assert_eq!(code(response).await, Code::NotFound);
}

/// What arrives until the other side closes.
async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
    read.expect("the connection stays open").unwrap();
    String::from_utf8(answer).unwrap()
}
