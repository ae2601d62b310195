//! The ledger as the gate sees it: reservations, settlements, and what is left.

use std::{collections::HashMap, time::Duration};

use kombi_spec::{
    code::Code,
    usage::{
        Call, SUBJECT,
        reserve::{
            self, Budget, Exhausted, Fallback, Granted, Period, ReserveRequest, Scope, Unit,
        },
        settle::{self, EndReason, Outcome, Settlement, Tokens, UsageSource},
    },
};
use serde_json::json;

use crate::{
    exchange::{Exchange, code, refusal},
    ledger::{Books, KEY, Terms, call, claims, number, settlement, wanted},
};

async fn start() -> (Terms, Exchange, Books) {
    start_with(|_| ()).await
}

async fn start_with(
    change: impl FnOnce(&mut kombi_exchange::config::Config),
) -> (Terms, Exchange, Books) {
    let terms = Terms::write();
    let settings = terms.settings();
    let exchange = Exchange::start_with(|config| {
        config.usage = Some(settings);
        change(config);
    })
    .await;
    let books = Books::of(exchange.addresses.public);
    (terms, exchange, books)
}

/// How the calls of the request `id` ended: everything that a test can ask of one row.
fn row(exchange: &Exchange, id: &str) -> HashMap<&'static str, i64> {
    let columns = [
        "requests",
        "input_tokens",
        "output_tokens",
        "cost_nano",
        "reserved_cost_nano",
        "reserved_output",
    ];
    let value = |column: &'static str| {
        let sql = format!("SELECT {column} FROM usage_metrics WHERE request_id = '{id}'");
        (column, number(exchange.data.path(), &sql))
    };
    columns.into_iter().map(value).collect()
}

#[tokio::test]
async fn a_call_is_reserved_at_its_most_and_settled_at_what_it_used() {
    let (_terms, exchange, books) = start().await;
    let reservation = books.reserved(&wanted("a", call("ada", "metered"))).await;
    assert_eq!(reservation.reservation, "a.1");
    assert_eq!(reservation.authorization.as_deref(), Some(&*format!("Bearer {KEY}")));
    assert_eq!(reservation.settle_within_s, 600);
    let open = row(&exchange, "a");
    assert_eq!((open["input_tokens"], open["output_tokens"]), (10, 100));
    assert_eq!(open["cost_nano"], 110 * 4_000);

    let settled = books.settle(vec![settlement("a", call("ada", "metered"))]).await;
    assert_eq!(settled, [Outcome::Accepted]);
    let settled = row(&exchange, "a");
    assert_eq!((settled["input_tokens"], settled["output_tokens"]), (8, 20));
    assert_eq!((settled["cost_nano"], settled["reserved_cost_nano"]), (28 * 4_000, 110 * 4_000));
    assert_eq!(number(exchange.data.path(), "SELECT count(*) FROM usage_metrics"), 1);
}

#[tokio::test]
async fn a_provider_without_a_key_of_ours_gets_none() {
    let (_terms, _exchange, books) = start().await;
    let mut local = wanted("a", call("ada", "free"));
    local.call.provider = "ollama".to_owned();
    assert!(books.reserved(&local).await.authorization.is_none());
    local.request_id = "b".to_owned();
    local.call.provider = "gemini".to_owned();
    assert_eq!(code(books.reserve(&local).await).await, Code::ProviderNotConfigured);
}

fn place(provider: &str, model: &str) -> Fallback {
    Fallback { provider: provider.to_owned(), model: model.to_owned() }
}

#[tokio::test]
async fn a_call_is_reserved_once_for_the_dearest_place_that_it_may_go_to() {
    let (_terms, exchange, books) = start().await;
    let granted = |reservation: reserve::Reservation| {
        let place = |Granted { fallback, authorization }: Granted| (fallback.model, authorization);
        reservation.fallbacks.into_iter().map(place).collect::<Vec<_>>()
    };
    let key = Some(format!("Bearer {KEY}"));
    for (id, plan, fallbacks, expected, cost_nano) in [
        ("none", "metered", vec![], vec![], 110 * 4_000),
        ("same", "metered", vec![place("openai", "gpt-y")], vec![("gpt-y", &key)], 110 * 4_000),
        ("dear", "metered", vec![place("openai", "dear")], vec![("dear", &key)], 110 * 9_000),
        // Without a price on a billed plan, or without a key.
        ("unpriced", "metered", vec![place("ollama", "m")], vec![], 110 * 4_000),
        ("keyless", "free", vec![place("ollama", "m")], vec![("m", &None)], 110 * 4_000),
        ("no key", "free", vec![place("gemini", "dear")], vec![], 110 * 4_000),
        (
            "both",
            "metered",
            vec![place("gemini", "m"), place("openai", "dear")],
            vec![("dear", &key)],
            110 * 9_000,
        ),
    ] {
        let id = id.replace(' ', "-");
        let request = ReserveRequest { fallbacks, ..wanted(&id, call("ada", plan)) };
        let found = granted(books.reserved(&request).await);
        let found: Vec<_> = found.iter().map(|(model, key)| (model.as_str(), key)).collect();
        assert_eq!(found, expected, "{id}");
        assert_eq!(row(&exchange, &id)["reserved_cost_nano"], cost_nano, "{id}");
        let again = granted(books.reserved(&request).await);
        assert_eq!(again.len(), expected.len(), "{id}");
    }
    assert_eq!(number(exchange.data.path(), "SELECT count(*) FROM usage_metrics"), 7);
}

#[tokio::test]
async fn the_tries_of_a_call_are_rows_of_their_own_and_one_of_them_is_charged() {
    let (_terms, exchange, books) = start().await;
    let first = call("ada", "rich");
    let second = Call { model: "gpt-y".to_owned(), ..first.clone() };
    let request =
        ReserveRequest { fallbacks: vec![place("openai", "gpt-y")], ..wanted("a", first.clone()) };
    books.reserved(&request).await;
    let answered = Settlement { attempt: 2, ..settlement("a", second) };
    let failed = Settlement {
        usage: Tokens::default(),
        end_reason: EndReason::ProviderError,
        status: Some(503),
        ..settlement("a", first)
    };
    assert_eq!(books.settle(vec![answered, failed]).await, [Outcome::Accepted; 2]);
    let data = exchange.data.path();
    for (attempt, model, cost_nano) in [(1, "gpt-x", 0), (2, "gpt-y", 28 * 4_000)] {
        let sql = format!(
            "SELECT cost_nano FROM usage_metrics
             WHERE attempt = {attempt} AND model = '{model}' AND state <> 'open'"
        );
        assert_eq!(number(data, &sql), cost_nano, "{attempt}");
    }
    let next = books.reserved(&wanted("b", call("ada", "rich"))).await;
    assert_eq!(next.remaining[0].remaining, 1_000_000 - 28 * 4_000 - 110 * 4_000);
}

#[tokio::test]
async fn the_estimate_is_what_the_plan_lets_a_call_use() {
    let (_terms, exchange, books) = start().await;
    for (id, limit, choices, output) in [
        ("none", None, 1, 1_000),
        ("small", Some(7), 3, 21),
        ("large", Some(5_000), 2, 2_000),
        ("embedding", None, 0, 0),
    ] {
        let mut request = wanted(id, call("ada", "metered"));
        (request.max_output_tokens, request.choices) = (limit, choices);
        books.reserved(&request).await;
        assert_eq!(row(&exchange, id)["reserved_output"], output, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_calls_at_once_a_budget_for_ten_admits_ten() {
    let (_terms, exchange, books) = start().await;
    let calls: Vec<_> = (0..50)
        .map(|n| {
            let books = books.clone();
            let request = wanted(&format!("r{n}"), call("ada", "ten"));
            tokio::spawn(async move { books.reserve(&request).await })
        })
        .collect();
    let mut admitted = 0;
    for call in calls {
        let response = call.await.unwrap();
        if response.status() == 200 {
            admitted += 1;
        } else {
            assert_eq!(response.status(), 429);
            let body = response.bytes().await.unwrap();
            let told: Exhausted = serde_json::from_slice(&body).unwrap();
            assert_eq!(told.problem.code, Code::QuotaExhausted);
        }
    }
    assert_eq!(admitted, 10);
    // Another person has a budget of their own.
    books.reserved(&wanted("other", call("bob", "ten"))).await;
    assert_eq!(number(exchange.data.path(), "SELECT count(*) FROM usage_metrics"), 11);
}

#[tokio::test]
async fn what_is_left_and_when_it_resets_is_told() {
    let (_terms, _exchange, books) = start().await;
    let first = books.reserved(&wanted("a", call("ada", "rich"))).await;
    let [Budget { scope, unit, period, limit, remaining, resets_in_s }] = &*first.remaining else {
        panic!("expected one budget, found {:?}", first.remaining);
    };
    let what = (*scope, *unit, *period, *limit, *remaining);
    let expected = (Scope::Organisation, Unit::MoneyNano, Period::Month, 1_000_000, 560_000);
    assert_eq!(what, expected);
    assert!((1..=31 * 86_400).contains(resets_in_s), "{resets_in_s}");

    // Another person of the same organisation, until nothing is left.
    books.reserved(&wanted("b", call("bob", "rich"))).await;
    let refused = books.reserve(&wanted("c", call("bob", "rich"))).await;
    assert_eq!(refused.status(), 402);
    let told: Exhausted = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!(told.problem.code, Code::BudgetExhausted);
    assert_eq!(told.budget.remaining, 120_000);

    // What was not used is there again.
    books.settle(vec![settlement("a", call("ada", "rich"))]).await;
    let third = books.reserved(&wanted("d", call("bob", "rich"))).await;
    assert_eq!(third.remaining[0].remaining, 120_000 + 440_000 - 112_000 - 440_000);
}

#[tokio::test]
async fn a_quota_says_when_to_come_back() {
    let (_terms, _exchange, books) = start().await;
    for id in ["a", "b", "c"] {
        books.reserved(&wanted(id, call(id, "few"))).await;
    }
    let refused = books.reserve(&wanted("d", call("d", "few"))).await;
    let retry_after = refused.headers()["retry-after"].to_str().unwrap().to_owned();
    let told: Exhausted = serde_json::from_slice(&refused.bytes().await.unwrap()).unwrap();
    assert_eq!((told.budget.scope, told.budget.unit), (Scope::Plan, Unit::Requests));
    assert_eq!(retry_after, told.budget.resets_in_s.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_failed_calls_leave_no_reservation() {
    let (_terms, exchange, books) = start().await;
    let failures = [EndReason::ProviderError, EndReason::ProviderUnreachable, EndReason::NotSent];
    for round in 0..20 {
        let ids: Vec<String> = (0..50).map(|n| format!("r{round}-{n}")).collect();
        let reserve = ids.iter().map(|id| {
            let (books, request) = (books.clone(), wanted(id, call("ada", "metered")));
            async move { books.reserved(&request).await }
        });
        futures_util::future::join_all(reserve).await;
        let failed = |(n, id): (usize, &String)| Settlement {
            usage: Tokens::default(),
            end_reason: failures[n % 3],
            status: None,
            ..settlement(id, call("ada", "metered"))
        };
        let settled = books.settle(ids.iter().enumerate().map(failed).collect()).await;
        assert!(settled.iter().all(|outcome| *outcome == Outcome::Accepted));
    }
    let data = exchange.data.path();
    assert_eq!(number(data, "SELECT count(*) FROM usage_metrics"), 1_000);
    assert_eq!(number(data, "SELECT count(*) FROM usage_metrics WHERE state = 'open'"), 0);
    let charged = "SELECT CAST(sum(requests + input_tokens + output_tokens + cost_nano) AS BIGINT)
                   FROM usage_metrics";
    assert_eq!(number(data, charged), 0);
    let (_, metrics) = exchange.ops("/metrics").await;
    assert!(metrics.contains("kombi_exchange_usage_open_calls 0"), "{metrics}");
}

#[tokio::test]
async fn the_same_reservation_is_answered_again_and_another_is_a_conflict() {
    let (_terms, exchange, books) = start().await;
    let request = wanted("a", call("ada", "ten"));
    let first = books.reserved(&request).await;
    let again = books.reserved(&request).await;
    let left = |reservation: &reserve::Reservation| reservation.remaining[0].remaining;
    assert_eq!((&again.reservation, left(&again)), (&first.reservation, left(&first)));
    assert_eq!(number(exchange.data.path(), "SELECT count(*) FROM usage_metrics"), 1);

    let mut other = request.clone();
    other.input_tokens = 11;
    assert_eq!(code(books.reserve(&other).await).await, Code::ReservationConflict);
    other = request.clone();
    other.call.model = "gpt-y".to_owned();
    assert_eq!(code(books.reserve(&other).await).await, Code::ReservationConflict);
    // Another attempt is another row.
    other = request.clone();
    (other.attempt, other.call.model) = (2, "gpt-y".to_owned());
    books.reserved(&other).await;

    books.settle(vec![settlement("a", call("ada", "ten"))]).await;
    assert_eq!(code(books.reserve(&request).await).await, Code::ReservationConflict);
}

#[tokio::test]
async fn what_settles_twice_counts_once_and_better_numbers_win() {
    let (_terms, exchange, books) = start().await;
    let call = || call("ada", "metered");
    books.reserved(&wanted("a", call())).await;
    let with = |source, output| Settlement {
        usage_source: source,
        usage: Tokens { input: 8, output, ..Tokens::default() },
        end_reason: EndReason::ClientLeft,
        ..settlement("a", call())
    };
    for (settlement, outcome, output) in [
        (with(UsageSource::EstimatedAbort, 30), Outcome::Accepted, 30),
        (with(UsageSource::EstimatedAbort, 30), Outcome::Duplicate, 30),
        (with(UsageSource::EstimatedMissing, 31), Outcome::Duplicate, 30),
        (with(UsageSource::Provider, 20), Outcome::Replaced, 20),
        (with(UsageSource::Provider, 21), Outcome::Duplicate, 20),
        (with(UsageSource::EstimatedAbort, 30), Outcome::Duplicate, 20),
    ] {
        assert_eq!(books.settle(vec![settlement.clone()]).await, [outcome], "{settlement:?}");
        let row = row(&exchange, "a");
        assert_eq!((row["output_tokens"], row["cost_nano"]), (output, (8 + output) * 4_000));
    }
    let twice = vec![settlement("b", call()), settlement("b", call())];
    assert_eq!(books.settle(twice).await, [Outcome::Accepted, Outcome::Duplicate]);
    let (_, metrics) = exchange.ops("/metrics").await;
    let line = "kombi_exchange_usage_settlements_total{source=\"provider\",outcome=\"replaced\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_call_that_was_never_reserved_is_written_down_all_the_same() {
    let (_terms, exchange, books) = start().await;
    let left = settlement("a", call("ada", "ten"));
    assert_eq!(books.settle(vec![left]).await, [Outcome::Accepted]);
    assert_eq!(row(&exchange, "a")["output_tokens"], 20);
    // It counts against the budget, and the reservation that arrives late is refused.
    let late = wanted("a", call("ada", "ten"));
    assert_eq!(code(books.reserve(&late).await).await, Code::ReservationConflict);
    let next = books.reserved(&wanted("b", call("ada", "ten"))).await;
    assert_eq!(next.remaining[0].remaining, 1_100 - 28 - 110);
}

#[tokio::test]
async fn the_price_is_that_of_the_day_the_call_left() {
    let (_terms, exchange, books) = start().await;
    let day = |day: u8, month: u8| {
        // Seconds from 1970 to 2026-01-01, and days of 2026 until that day.
        let days = [0, 31, 59, 90, 120, 151, 181][usize::from(month) - 1] + u64::from(day) - 1;
        1_767_225_600 + days * 86_400
    };
    for (id, sent_at, cost) in [
        ("june", day(30, 6) + 86_399, 4 * 1_000 + 4 * 500 + 20 * 2_000),
        ("july", day(1, 7), 28 * 4_000),
        ("before", day(1, 1) - 1, 0),
    ] {
        let usage = Tokens { input: 8, cached: 4, output: 20, reasoning: 5, audio: 0 };
        let left = Settlement { sent_at, usage, ..settlement(id, call("ada", "metered")) };
        assert_eq!(books.settle(vec![left]).await, [Outcome::Accepted]);
        assert_eq!(row(&exchange, id)["cost_nano"], cost, "{id}");
    }
}

#[tokio::test]
async fn a_model_without_a_price_is_for_plans_that_are_not_billed() {
    let (_terms, exchange, books) = start().await;
    for (id, plan, expected) in [
        ("a", Some("metered"), Some(Code::ModelUnpriced)),
        ("b", Some("free"), None),
        ("c", None, None),
        ("d", Some("gold"), Some(Code::PlanUnknown)),
    ] {
        let mut request = wanted(id, call("ada", "free"));
        request.call.plan = plan.map(str::to_owned);
        request.call.model = "new-model".to_owned();
        let response = books.reserve(&request).await;
        match expected {
            Some(expected) => assert_eq!(code(response).await, expected, "{id}"),
            None => assert_eq!(response.status(), 200, "{id}"),
        }
    }
    assert_eq!(row(&exchange, "b")["cost_nano"], 0);
}

#[tokio::test]
async fn one_bad_settlement_does_not_keep_the_others_out() {
    let (_terms, exchange, books) = start().await;
    let good = |id| serde_json::to_value(settlement(id, call("ada", "free"))).unwrap();
    let bad = |change: fn(&mut serde_json::Value)| {
        let mut wire = good("bad");
        change(&mut wire);
        wire
    };
    let settlements = vec![
        good("a"),
        bad(|wire| wire["usage"]["input"] = json!(-1)),
        bad(|wire| wire["usage"]["output"] = json!(1_000_000_001_u64)),
        bad(|wire| wire["usage_source"] = json!("reaper")),
        bad(|wire| wire["end_reason"] = json!("expired")),
        bad(|wire| wire["call"]["subject"] = json!("a b")),
        bad(|wire| wire["sent_at"] = json!(0)),
        bad(|wire| wire["status"] = json!(99)),
        bad(|wire| wire["duration_ms"] = json!(86_400_001)),
        bad(|wire| wire["unknown"] = json!(1)),
        json!("CANARY"),
        good("b"),
    ];
    let count = settlements.len();
    let body = json!({ "settlements": settlements }).to_string().into_bytes();
    let answer = books.settle_body(body).await.bytes().await.unwrap();
    let answer: settle::SettleAnswer = serde_json::from_slice(&answer).unwrap();
    let mut expected = vec![Outcome::Malformed; count];
    (expected[0], expected[count - 1]) = (Outcome::Accepted, Outcome::Accepted);
    assert_eq!(answer.outcomes, expected);
    assert_eq!(number(exchange.data.path(), "SELECT count(*) FROM usage_metrics"), 2);
}

#[tokio::test]
async fn what_is_neither_reservation_nor_settlement_is_refused() {
    let (_terms, _exchange, books) = start().await;
    let too_many = vec![json!({}); settle::MAX_SETTLEMENTS + 1];
    for (body, expected) in [
        (json!({"settlements": []}), Code::BodyMalformed),
        (json!({"settlements": too_many}), Code::BodyMalformed),
        (json!([]), Code::BodyMalformed),
        (json!({"x": "y".repeat(settle::MAX_BYTES)}), Code::BodyTooLarge),
    ] {
        let response = books.settle_body(body.to_string().into_bytes()).await;
        assert_eq!(code(response).await, expected);
    }
    let assertion = crate::gate::Gate::new(1).sign(&claims(SUBJECT, "POST", reserve::PATH));
    for question in [json!({}), json!({"x": "y".repeat(reserve::MAX_BYTES)})] {
        let response = books.ask(&assertion, question.to_string().as_bytes()).await;
        assert_eq!(code(response).await, Code::QuestionMalformed);
    }
    for change in [
        |request: &mut reserve::ReserveRequest| request.attempt = 0,
        |request: &mut reserve::ReserveRequest| request.choices = 129,
        |request: &mut reserve::ReserveRequest| request.input_tokens = 1_000_000_001,
        |request: &mut reserve::ReserveRequest| request.call.provider = "Open AI".to_owned(),
        |request: &mut reserve::ReserveRequest| request.fallbacks = vec![place("Open AI", "m")],
        |request: &mut reserve::ReserveRequest| request.fallbacks = vec![place("a", "m"); 3],
    ] {
        let mut request = wanted("a", call("ada", "free"));
        change(&mut request);
        assert_eq!(code(books.reserve(&request).await).await, Code::QuestionMalformed);
    }
}

#[tokio::test]
async fn only_the_gate_itself_keeps_the_ledger() {
    let (_terms, exchange, books) = start().await;
    let question = serde_json::to_vec(&wanted("a", call("ada", "free"))).unwrap();
    let gate = crate::gate::Gate::new(1);
    for claims in [
        claims("ada", "POST", reserve::PATH),
        claims(SUBJECT, "POST", settle::PATH),
        claims(SUBJECT, "GET", reserve::PATH),
    ] {
        let refused = books.ask(&gate.sign(&claims), &question).await;
        assert_eq!(code(refused).await, Code::AssertionInvalid, "{claims:?}");
    }
    assert_eq!(number(exchange.data.path(), "SELECT count(*) FROM usage_metrics"), 0);
}

#[tokio::test]
async fn without_plans_there_is_no_ledger_and_everything_else_works() {
    let exchange = Exchange::start().await;
    let books = Books::of(exchange.addresses.public);
    let reserved = books.reserve(&wanted("a", call("ada", "free"))).await;
    assert_eq!(code(reserved).await, Code::UsageNotConfigured);
    let settled = books.settle_body(b"{}".to_vec()).await;
    assert_eq!(code(settled).await, Code::UsageNotConfigured);
    for path in ["/me/usage", "/admin/usage"] {
        let report = books.report(("ada", &["admin:billing"]), path, None).await;
        assert_eq!(code(report).await, Code::UsageNotConfigured);
    }
    assert_eq!(exchange.ops("/readyz").await.0, 200);
    let problem = refusal(books.settle_body(Vec::new()).await).await;
    assert!(problem.detail.contains("KOMBI_EXCHANGE_PLANS"), "{}", problem.detail);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_settles_is_closed_and_a_late_settlement_still_counts() {
    let (_terms, exchange, books) = start_with(|config| {
        config.usage.as_mut().unwrap().longest_call = Duration::from_secs(1);
        config.limits.sweep = Duration::from_millis(50);
    })
    .await;
    for id in ["a", "b"] {
        books.reserved(&wanted(id, call("ada", "metered"))).await;
    }
    let data = exchange.data.path();
    let reaped = "SELECT count(*) FROM usage_metrics
                  WHERE usage_source = 'reaper' AND end_reason = 'expired' AND settled_at > 0";
    let wait = async {
        while number(data, reaped) < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), wait).await.expect("nothing was reaped");
    assert_eq!(row(&exchange, "a")["cost_nano"], 110 * 4_000, "what was reserved");
    let settled = books.settle(vec![settlement("a", call("ada", "metered"))]).await;
    assert_eq!(settled, [Outcome::Replaced]);
    assert_eq!(row(&exchange, "a")["cost_nano"], 28 * 4_000);
    let (_, metrics) = exchange.ops("/metrics").await;
    let line = "kombi_exchange_usage_settlements_total{source=\"reaper\",outcome=\"accepted\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}
