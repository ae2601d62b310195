//! A trace goes on to instances, whether or not anybody collects it.

use kombi_exchange::address::Reach;

use crate::{exchange::Exchange, instance::FakeInstance};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn an_instance_is_told_of_the_trace_that_the_client_began() {
    let (exchange, instance) = (Exchange::start().await, FakeInstance::honest().await);
    exchange.register("lab", &instance.url(), Reach::Private).await;
    let traced = exchange.session("owner", "lab").header("traceparent", PARENT);
    assert_eq!(traced.send().await.unwrap().status(), 200);
    assert_eq!(exchange.login("owner", "lab").await.status(), 200);
    for malformed in ["00-0-0-01", "a secret"] {
        let sent = exchange.session("owner", "lab").header("traceparent", malformed);
        assert_eq!(sent.send().await.unwrap().status(), 200);
    }
    let told: Vec<_> = instance.calls().into_iter().map(|call| call.traceparent).collect();
    // What is not of W3C's form does not go on.
    assert_eq!(told, [Some(PARENT.to_owned()), None, None, None]);
}
