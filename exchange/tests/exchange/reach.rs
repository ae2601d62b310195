//! Where an instance may be. Which address is in which zone is tested in the library; here, that
//! no connection is made to one out of bounds.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use kombi_exchange::address::Reach;
use kombi_spec::code::Code;

use crate::{
    exchange::{Exchange, code},
    instance::FakeInstance,
};

fn loopback(_: &str) -> std::io::Result<Vec<SocketAddr>> {
    Ok(vec!["127.0.0.1:0".parse().unwrap(), "[::1]:0".parse().unwrap()])
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_needs_permission() {
    let exchange = Exchange::start_with(|config| config.lookup = loopback).await;
    let instance = FakeInstance::honest().await;
    let url = format!("http://lab.example:{}", instance.port());
    exchange.register("public", &url, Reach::Public).await;
    exchange.register("private", &url, Reach::Private).await;
    assert_eq!(code(exchange.login("owner", "public").await).await, Code::InstanceUnavailable);
    assert!(instance.calls().is_empty());
    assert_eq!(exchange.login("owner", "private").await.status(), 200);
    let (_, metrics) = exchange.ops("/metrics").await;
    let refused = "kombi_exchange_connector_calls_total{outcome=\"address_refused\"} 1";
    assert!(metrics.contains(refused), "{metrics}");
}

#[tokio::test]
async fn the_machines_own_name_needs_permission() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    for (id, host) in [("a", "localhost"), ("b", "LOCALHOST"), ("c", "localhost.")] {
        let url = format!("http://{host}:{}", instance.port());
        exchange.register(id, &url, Reach::Public).await;
        assert_eq!(code(exchange.login("owner", id).await).await, Code::InstanceUnavailable);
    }
    assert!(instance.calls().is_empty());
}

/// The first answer is harmless, the next is not (DNS rebinding).
fn rebound(name: &str) -> std::io::Result<Vec<SocketAddr>> {
    static LOOKUPS: AtomicUsize = AtomicUsize::new(0);
    match LOOKUPS.fetch_add(1, Ordering::Relaxed) {
        0 => loopback(name),
        _ => Ok(vec!["169.254.169.254:0".parse().unwrap()]),
    }
}

#[tokio::test]
async fn a_name_is_checked_at_every_connection() {
    let exchange = Exchange::start_with(|config| config.lookup = rebound).await;
    let instance = FakeInstance::honest().await;
    let url = format!("http://lab.example:{}", instance.port());
    exchange.register("lab", &url, Reach::Private).await;
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
    assert_eq!(code(exchange.login("owner", "lab").await).await, Code::InstanceUnavailable);
    assert_eq!(instance.calls().len(), 1);
}
