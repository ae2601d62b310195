//! What a request with a token that was admitted before costs the filter, in instructions: the same
//! work costs the same in every run, so a bound holds on any machine. For time, see
//! `cargo stack bench`. With `--nocapture` it tells what it found.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use kombi_strict_host::{
    filter::Filter, host::Host, issuer::Issuer, node::Node, request::Request, route::with,
};
use serde_json::{Value, json};

/// The instructions of the third request with a token.
fn cost(host: Host, more: &Value) -> u64 {
    let issuer = Issuer::new("https://id.example");
    let policy = with(json!({"roles": {"any_of": ["user"]}}), more);
    let mut node = Node::of(&Filter::gate(), host)
        .route("/user", issuer.route(policy))
        .peers(issuer.clone())
        .start();
    let token = issuer.token(node.now_s());
    let mut send = || {
        let id = node.begin(0, Request::get("/user").bearer(&token));
        node.advance(1_000);
        assert_eq!(node.outcome(id).unwrap().status(), 200);
        node.instructions(id)
    };
    // The first one fetches keys, is verified and judged.
    send();
    send();
    send()
}

#[test]
fn a_token_that_was_admitted_is_not_judged_anew_and_limits_are_cheap() {
    let limits = |periods: &[&str]| -> Value {
        let limit =
            |per: &&str| json!({"name": per, "key": "sub", "amount": 1_000_000, "per": per});
        periods.iter().map(limit).collect()
    };
    let five = ["second", "minute", "hour", "day", "month"];
    for host in [Host::Kong, Host::Envoy] {
        for (more, most) in [
            (json!({}), 20_000),
            (json!({"limits": limits(&["minute"]), "limit_headers": []}), 35_000),
            (json!({"limits": limits(&["minute"])}), 45_000),
            (json!({"limits": limits(&five)}), 80_000),
        ] {
            let found = cost(host, &more);
            println!("{host:?}: {found} instructions with {more}");
            assert!(found < most, "{host:?}: expected less than {most}, found {found}: {more}");
        }
    }
}
