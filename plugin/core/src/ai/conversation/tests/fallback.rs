//! Calls that another provider answers than the first.

use super::*;

/// A model that three providers have, under a name of its own each.
fn rules_of_three(ledger: bool) -> Rules {
    let target = |provider: &str, model: &str| Target {
        provider: provider.to_owned(),
        model: Some(model.to_owned()),
    };
    let mut rules = rules(ledger);
    rules.models.entries[0].fallbacks =
        vec![target("gemini", "gemini-2.5-flash"), target("ollama", "llama3")];
    rules
}

fn read(rules: &Rules, health: &Health) -> (Box<Conversation>, Then) {
    let mut conversation = begin("pro", rules.ledger);
    let exchange = exchange();
    let prepared = conversation.read(rules, Some(&exchange), health, &body(true), at(0)).unwrap();
    (conversation, prepared.then)
}

/// What the exchange says that lets the call go to `fallbacks`, too.
fn granted_with(fallbacks: &Value) -> HttpOutcome {
    answer(
        200,
        &json!({"reservation": "r1.1", "authorization": KEY, "fallbacks": fallbacks,
                "settle_within_s": 900, "remaining": []}),
    )
}

fn all_granted() -> HttpOutcome {
    granted_with(&json!([
        {"provider": "gemini", "model": "gemini-2.5-flash", "authorization": "Bearer g"},
        {"provider": "ollama", "model": "llama3"},
    ]))
}

/// The call has left, for as many providers as the exchange says.
fn left(reservation: HttpOutcome) -> (Box<Conversation>, Departure) {
    let (mut conversation, _) = read(&rules_of_three(true), &Health::default());
    let departure = conversation.reserved(reservation, at(10)).unwrap();
    (conversation, departure)
}

fn ways(departure: &Departure) -> Vec<(&str, &str, Value)> {
    let way = |way| changed(way, true)["model"].clone();
    departure
        .ways
        .iter()
        .map(|one| (one.provider.as_str(), one.authorization.as_str(), way(one)))
        .collect()
}

#[test]
fn all_that_may_answer_are_reserved_for_at_once_and_each_has_its_own_key_and_body() {
    let (_, then) = read(&rules_of_three(true), &Health::default());
    let Then::Reserve(call) = then else { panic!("nothing was reserved") };
    let request: ReserveRequest = asked(&call);
    assert_eq!((request.call.provider.as_str(), request.attempt), ("openai", 1));
    assert_eq!(
        serde_json::to_value(&request.fallbacks).unwrap(),
        json!([{"provider": "gemini", "model": "gemini-2.5-flash"},
               {"provider": "ollama", "model": "llama3"}])
    );
    let (_, departure) = left(all_granted());
    assert_eq!(
        ways(&departure),
        [
            ("openai", KEY, json!("gpt-4o-mini")),
            ("gemini", "Bearer g", json!("gemini-2.5-flash")),
            ("ollama", "", json!("llama3")),
        ]
    );
    for way in &departure.ways {
        assert_eq!(changed(way, true)["stream_options"], json!({"include_usage": true}));
    }
}

#[test]
fn a_call_goes_nowhere_that_the_exchange_did_not_grant() {
    for (granted, providers) in [
        (json!([]), &["openai"][..]),
        (json!([{"provider": "ollama", "model": "llama3"}]), &["openai", "ollama"]),
        (json!([{"provider": "ollama", "model": "other"}]), &["openai"]),
        (json!([{"provider": "azure", "model": "gpt", "authorization": "k"}]), &["openai"]),
    ] {
        let (_, departure) = left(granted_with(&granted));
        let found: Vec<_> = departure.ways.iter().map(|way| way.provider.as_str()).collect();
        assert_eq!(found, providers, "{granted}");
    }
}

#[test]
fn without_a_ledger_all_are_tried_and_none_has_a_key() {
    let (_, then) = read(&rules_of_three(false), &Health::default());
    let Then::Send(departure) = then else { panic!("the call waits") };
    assert_eq!(departure.ways.len(), 3);
    assert!(departure.ways.iter().all(|way| way.authorization.is_empty()));
}

/// Attempt, provider, end, status and output of each settlement.
fn told(settlements: &[Settlement]) -> Vec<(u32, &str, EndReason, Option<u16>, u64)> {
    settlements
        .iter()
        .map(|one| {
            let provider = one.call.provider.as_str();
            (one.attempt, provider, one.end_reason, one.status, one.usage.output)
        })
        .collect()
}

#[test]
fn each_try_is_an_attempt_of_its_own_and_the_one_that_answered_is_told_first() {
    use EndReason::{Completed, ProviderError};
    let stream = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n\
                  data: [DONE]\n\n";
    for (tried, expected) in [
        (None, vec![(1, "openai", Completed, Some(200), 4)]),
        (Some("200"), vec![(1, "openai", Completed, Some(200), 4)]),
        (
            Some("503 : 200"),
            vec![
                (2, "gemini", Completed, Some(200), 4),
                (1, "openai", ProviderError, Some(503), 0),
            ],
        ),
        (
            Some("- : 429 : 200"),
            vec![
                (3, "ollama", Completed, Some(200), 4),
                (1, "openai", ProviderError, None, 0),
                (2, "gemini", ProviderError, Some(429), 0),
            ],
        ),
        (
            // More than there are.
            Some("1 : 502 : 503 : 200"),
            vec![
                (3, "ollama", Completed, Some(200), 4),
                (1, "openai", ProviderError, None, 0),
                (2, "gemini", ProviderError, Some(502), 0),
            ],
        ),
    ] {
        let (mut conversation, _) = left(all_granted());
        let tried = tried.map(str::as_bytes);
        conversation.answered(&AnswerHead { tried, ..head(200, "text/event-stream") });
        let _ = conversation.pass(stream.as_bytes(), true, at(20));
        let settlements = conversation.complete(at(20));
        assert_eq!(told(&settlements), expected);
        assert!(conversation.end(at(30)).is_empty(), "they settle once");
    }
}

#[test]
fn where_all_fail_the_last_is_told_of_as_it_failed() {
    use EndReason::{ProviderError, ProviderUnreachable};
    for (from_provider, end, status) in
        [(true, ProviderError, Some(503)), (false, ProviderUnreachable, None)]
    {
        let (mut conversation, _) = left(all_granted());
        let head = head(503, "application/json");
        let tried = Some(&b"502 : 429 : 503"[..]);
        conversation.answered(&AnswerHead { tried, from_provider, ..head });
        let settlements = conversation.end(at(20));
        assert_eq!(
            told(&settlements),
            [
                (3, "ollama", end, status, 0),
                (1, "openai", ProviderError, Some(502), 0),
                (2, "gemini", ProviderError, Some(429), 0),
            ]
        );
    }
}

#[test]
fn what_failed_in_one_call_is_left_out_of_the_next() {
    let mut health = Health::default();
    let (mut conversation, _) = left(all_granted());
    let tried = Some(&b"503 : 200"[..]);
    conversation.answered(&AnswerHead { tried, ..head(200, "application/json") });
    for settlement in conversation.end(at(20)) {
        health.note(&settlement, at(20));
    }
    let (_, then) = read(&rules_of_three(true), &health);
    let Then::Reserve(call) = then else { panic!("nothing was reserved") };
    let request: ReserveRequest = asked(&call);
    assert_eq!(request.call.provider, "gemini");
    let providers: Vec<_> = request.fallbacks.iter().map(|one| one.provider.as_str()).collect();
    assert_eq!(providers, ["ollama"]);
}

#[test]
fn no_providers_key_is_printed() {
    let (conversation, departure) = left(all_granted());
    let printed = format!("{departure:?} {conversation:?}");
    assert!(!printed.contains("canary") && !printed.contains("Bearer g"), "{printed}");
}
