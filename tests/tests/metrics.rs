//! The filter's metrics, looked at from outside: through Kong's prometheus plugin, or in Envoy's
//! stats.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp)]

use std::collections::BTreeMap;

use kombi_spec::code::Code;
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    metrics::Metrics,
    routes,
    stack::{Options, Stack, received_header},
};

/// What each of the requests below must add to `requests_total`.
const EXPECTED: [(&str, &str, f64); 6] = [
    ("public", "ok", 3.0),
    ("public", "header_reserved", 1.0),
    ("user", "ok", 5.0),
    ("user", "token_missing", 2.0),
    ("user", "token_expired", 1.0),
    ("admin", "role_missing", 4.0),
];

async fn send(stack: &Stack) {
    let ada = stack.issuer.token("ada").await.unwrap();
    for _ in 0..3 {
        assert_eq!(Answer::to(stack.get("/public")).await.unwrap().status, 200);
    }
    let forged = Answer::to(stack.get("/public").header("x-kombi-sub", "1")).await.unwrap();
    assert_eq!(forged.code(), Some(Code::HeaderReserved));
    for _ in 0..5 {
        assert_eq!(stack.get_as(&ada, "/user").await.unwrap().status, 200);
    }
    for _ in 0..2 {
        assert_eq!(Answer::to(stack.get("/user")).await.unwrap().status, 401);
    }
    let expired = stack.issuer.mint(json!({"sub": "ada", "expires_in": -60})).await.unwrap();
    let expired = stack.get_as(&expired, "/user").await.unwrap();
    assert_eq!(expired.code(), Some(Code::TokenExpired));
    for _ in 0..4 {
        assert_eq!(stack.get_as(&ada, "/admin").await.unwrap().status, 403);
    }
}

#[tokio::test]
async fn every_request_is_counted_once_by_route_and_code_and_its_added_time_by_route() {
    let stack = Stack::gate().await.unwrap();
    let by_route = |metrics: &Metrics, route: &str| {
        metrics.value("added_microseconds_count", &[("route", route)])
    };
    send(&stack).await;
    let sent: f64 = EXPECTED.iter().map(|(_, _, count)| count).sum();
    let shown = |times: f64| {
        move |metrics: &Metrics| {
            let histogram = metrics.sum("added_microseconds_count");
            metrics.sum("requests_total") >= times * sent && histogram >= times * sent
        }
    };
    let first = Metrics::when(&stack.gateway, shown(1.0)).await.unwrap();
    send(&stack).await;
    let second = Metrics::when(&stack.gateway, shown(2.0)).await.unwrap();
    for (times, metrics) in [(1.0, &first), (2.0, &second)] {
        for (route, code, count) in EXPECTED {
            let found = metrics.value("requests_total", &[("route", route), ("code", code)]);
            assert_eq!(found, times * count, "{route} {code}");
        }
        // And nothing else was counted.
        assert_eq!(metrics.sum("requests_total"), times * sent, "{metrics:#?}");
        assert_eq!(metrics.all("requests_total").count(), EXPECTED.len(), "{metrics:#?}");
        assert_eq!(metrics.sum("would_refuse_total"), 0.0);
        for (route, count) in [("public", 4.0), ("user", 8.0), ("admin", 4.0)] {
            assert_eq!(by_route(metrics, route), times * count, "{route}: {metrics:#?}");
        }
    }
}

#[tokio::test]
async fn keys_and_remembered_tokens_are_counted() {
    let stack = Stack::gate().await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    for _ in 0..20 {
        let answer = stack.get_as(&ada, "/user").await.unwrap();
        assert!(received_header(&answer, "x-kombi-sub").is_some());
    }
    let metrics = Metrics::when(&stack.gateway, |metrics| {
        let asked = metrics.sum("token_cache_hits_total") + metrics.sum("token_cache_misses_total");
        asked >= 20.0 && metrics.sum("keys_fetches_total") >= 1.0
    })
    .await
    .unwrap();
    let asked = metrics.sum("token_cache_hits_total") + metrics.sum("token_cache_misses_total");
    assert_eq!(asked, 20.0, "{metrics:#?}");
    // Each worker meets the token once.
    assert!(metrics.value("token_cache_misses_total", &[]) <= 2.0, "{metrics:#?}");
    assert!(metrics.value("keys_fetches_total", &[("result", "ok")]) >= 1.0, "{metrics:#?}");
    let ages: Vec<&BTreeMap<_, _>> =
        metrics.all("keys_age_seconds").map(|(labels, _)| labels).collect();
    assert_eq!(ages.len(), 1, "one issuer: {metrics:#?}");
    assert!(ages.iter().all(|labels| labels["issuer"].starts_with("http://127.0.0.1:")));
}

/// Routes like `/user` and `/admin`, with limits and in shadow mode.
fn amend(declaration: &mut Value) {
    let rule = |name: &str, dry_run: bool| json!([{"name": name, "key": "sub", "amount": 2, "per": "day", "dry_run": dry_run}]);
    let more = [
        ("limited", "user", "limits", rule("firm", false)),
        ("dry", "user", "limits", rule("tried", true)),
        ("shadow", "admin", "shadow", json!(true)),
    ];
    for (name, model, setting, value) in more {
        let mut route = routes::like(routes::named(declaration, model).unwrap(), name);
        let config = route["plugins"][0]["config"].as_object_mut().unwrap();
        // Their own rules would be counted, too.
        config.remove("limits");
        config.insert(setting.to_owned(), value);
        declaration["services"][0]["routes"].as_array_mut().unwrap().push(route);
    }
}

#[tokio::test]
async fn limits_are_counted_by_rule_and_outcome_and_what_shadow_mode_lets_pass_by_code() {
    let options = Options { amend: Some(amend), ..Options::default() };
    let stack = Stack::start(options).await.unwrap();
    let ada = stack.issuer.token("ada").await.unwrap();
    for (path, passed, refused) in [("/limited", 2, 3), ("/dry", 5, 0), ("/shadow", 4, 0)] {
        for n in 0..passed + refused {
            let status = stack.get_as(&ada, path).await.unwrap().status;
            assert_eq!(status, if n < passed { 200 } else { 429 }, "{path} {n}");
        }
    }
    // What became of limits is published with the tick.
    let published = |metrics: &Metrics| metrics.sum("limit_decisions_total") >= 10.0;
    let metrics = Metrics::when(&stack.gateway, published).await.unwrap();
    for (rule, outcome, count) in [
        ("firm", "admitted", 2.0),
        ("firm", "denied", 3.0),
        ("tried", "admitted", 2.0),
        ("tried", "would_deny", 3.0),
    ] {
        let labels = [("rule", rule), ("outcome", outcome)];
        assert_eq!(metrics.value("limit_decisions_total", &labels), count, "{metrics:#?}");
    }
    assert_eq!(metrics.sum("limit_decisions_total"), 10.0, "{metrics:#?}");
    for (name, route, code, count) in [
        ("requests_total", "limited", "ok", 2.0),
        ("requests_total", "limited", "limit_exceeded", 3.0),
        ("requests_total", "dry", "ok", 2.0),
        ("would_refuse_total", "dry", "limit_exceeded", 3.0),
        ("would_refuse_total", "shadow", "role_missing", 4.0),
    ] {
        let found = metrics.value(name, &[("route", route), ("code", code)]);
        assert_eq!(found, count, "{name} {route} {code}: {metrics:#?}");
    }
}
