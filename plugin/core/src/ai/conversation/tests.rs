use kombi_spec::usage::settle::{EndReason, Settlement, Tokens, UsageSource};
use serde_json::{Value, json};

use super::*;
use crate::{
    ai::{
        departure::Way,
        models::{Entry, Models, Pattern, Plan, Plans, Target},
    },
    assertion::SigningKey,
    config::HttpUrl,
    exchange::asked,
};

mod fallback;

const KEY: &str = "Bearer sk-canary";

fn exchange() -> Exchange {
    let url = HttpUrl::parse("http://exchange.internal:8080").unwrap();
    let key = SigningKey::new("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A").unwrap();
    Exchange::new(url, Duration::from_secs(1), key)
}

fn rules(ledger: bool) -> Rules {
    let entry = |name: &str, provider: &str, model: Option<&str>| Entry {
        name: Pattern::parse(name).unwrap(),
        aliases: Vec::new(),
        target: Target { provider: provider.to_owned(), model: model.map(str::to_owned) },
        fallbacks: Vec::new(),
    };
    let plan = |name: &str, without_ledger| Plan {
        name: name.to_owned(),
        models: vec![Pattern::parse("*").unwrap()],
        without_ledger,
    };
    Rules {
        path: "/ai/v1".to_owned(),
        models: Models {
            entries: vec![
                entry("small", "openai", Some("gpt-4o-mini")),
                entry("llama*", "ollama", None),
            ],
            plans: Some(Plans {
                allowed: vec![plan("pro", false), plan("local", true)],
                default: None,
            }),
        },
        ledger,
    }
}

fn who(plan: &str) -> Identity {
    Identity {
        subject: "27345".to_owned(),
        organisation: Some("9".to_owned()),
        plan: Some(plan.to_owned()),
        ..Identity::default()
    }
}

fn at(ms: u64) -> UnixTime {
    UnixTime::from_millis(1_000_000 + ms)
}

fn begin(plan: &str, ledger: bool) -> Box<Conversation> {
    let what = ("POST", "/ai/v1/chat/completions");
    match Conversation::begin(&rules(ledger), &who(plan), what, ("ai", "r1")).unwrap() {
        Entered::Asks(conversation) => conversation,
        Entered::Known(_) => panic!("the body was not asked for"),
    }
}

fn body(stream: bool) -> Vec<u8> {
    json!({"model": "small", "stream": stream, "max_tokens": 9,
           "messages": [{"role": "user", "content": "hello"}]})
    .to_string()
    .into_bytes()
}

/// A call that the exchange was asked about.
fn reserving(plan: &str, stream: bool) -> (Box<Conversation>, HttpCall) {
    let mut conversation = begin(plan, true);
    let prepared = conversation
        .read(&rules(true), Some(&exchange()), &Health::default(), &body(stream), at(0))
        .unwrap();
    let Then::Reserve(call) = prepared.then else { panic!("nothing was reserved") };
    (conversation, call)
}

fn answer(status: u16, body: &Value) -> HttpOutcome {
    HttpOutcome::Answer { status, cache_control: None, body: body.to_string().into_bytes() }
}

fn granted() -> HttpOutcome {
    answer(
        200,
        &json!({"reservation": "r1.1", "authorization": KEY, "settle_within_s": 900, "remaining": []}),
    )
}

/// A call that has left.
fn under_way(stream: bool) -> Box<Conversation> {
    let (mut conversation, _) = reserving("pro", stream);
    let departure = conversation.reserved(granted(), at(10)).unwrap();
    let [way] = &departure.ways[..] else { panic!("{departure:?}") };
    assert_eq!((way.provider.as_str(), way.authorization.as_str()), ("openai", KEY));
    assert_eq!(changed(way, stream)["model"], "gpt-4o-mini");
    conversation
}

/// The body as the provider gets it.
fn changed(way: &Way, stream: bool) -> Value {
    serde_json::from_slice(&way.edits.apply(&body(stream)).unwrap()).unwrap()
}

/// How the call ended, whose first try was its last.
fn ended(conversation: &mut Conversation, ms: u64) -> Option<Settlement> {
    let mut settlements = conversation.end(at(ms));
    assert!(settlements.len() <= 1, "{settlements:?}");
    settlements.pop()
}

fn head(status: u16, content_type: &str) -> AnswerHead<'_> {
    AnswerHead {
        status,
        content_type: content_type.as_bytes(),
        content_encoding: None,
        request_id: Some(b"req_1"),
        tried: None,
        from_provider: true,
        changeable: true,
    }
}

#[test]
fn a_call_is_reserved_under_its_own_names_and_sizes() {
    let (_, call) = reserving("pro", true);
    assert_eq!(
        (call.address.as_str(), call.path.as_str()),
        ("exchange.internal:8080", "/gate/usage/reserve")
    );
    let request: ReserveRequest = asked(&call);
    assert!(request.input_tokens > 0);
    assert_eq!((request.max_output_tokens, request.choices, request.attempt), (Some(9), 1, 1));
    assert_eq!(
        serde_json::to_value(&request.call).unwrap(),
        json!({"subject": "27345", "org": "9", "plan": "pro", "provider": "openai",
               "model": "gpt-4o-mini", "endpoint": "chat_completions", "stream": true,
               "route": "ai"})
    );
}

#[test]
fn a_finished_stream_is_settled_with_the_providers_numbers() {
    let mut conversation = under_way(true);
    conversation.answered(&head(200, "text/event-stream"));
    let stream = include_bytes!("../../../tests/vectors/ai/openai_chat.sse");
    let Passes::Instead(passed) = conversation.pass(stream, false, at(110)) else {
        panic!("the usage passed")
    };
    assert!(!String::from_utf8(passed).unwrap().contains("prompt_tokens"));
    let _ = conversation.pass(b"", true, at(200));
    let settlement = ended(&mut conversation, 210).unwrap();
    let expected = Settlement {
        request_id: "r1".to_owned(),
        attempt: 1,
        call: settlement.call.clone(),
        sent_at: 1_000,
        usage: Tokens { input: 1019, cached: 1000, output: 12, reasoning: 5, audio: 0 },
        usage_source: UsageSource::Provider,
        end_reason: EndReason::Completed,
        status: Some(200),
        provider_request_id: Some("req_1".to_owned()),
        first_token_ms: Some(100),
        duration_ms: 200,
    };
    assert_eq!(settlement, expected);
    assert!(conversation.end(at(220)).is_empty(), "it settles once");
}

#[test]
fn what_an_answer_has_told_is_settled_before_the_client_has_all_of_it() {
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
    let (half, rest) = r#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#.split_at(9);
    for (media_type, chunks) in [
        ("text/event-stream", &[text, usage, "data: [DONE]\n", "\n"][..]),
        ("application/json", &[half, rest]),
    ] {
        let mut conversation = under_way(media_type != "application/json");
        conversation.answered(&head(200, media_type));
        let mut settled = Vec::new();
        for (at_ms, chunk) in (100..).zip(chunks) {
            let _ = conversation.pass(chunk.as_bytes(), false, at(at_ms));
            settled.push(conversation.complete(at(at_ms)));
        }
        let last = settled.pop().unwrap().pop().unwrap();
        assert!(settled.iter().all(Vec::is_empty), "{settled:?}");
        assert_eq!((last.usage.input, last.usage.output), (3, 4), "{media_type}");
        assert_eq!(last.usage_source, UsageSource::Provider);
        assert_eq!(last.end_reason, EndReason::Completed);
        assert_eq!(conversation.pass(b"rest", true, at(200)), Passes::AsItIs);
        assert!(conversation.complete(at(200)).is_empty() && conversation.end(at(201)).is_empty());
    }
}

#[test]
fn until_it_has_left_a_call_is_not_sent() {
    let (mut conversation, _) = reserving("pro", true);
    let unsent = conversation.unless_it_leaves(at(1)).unwrap();
    assert_eq!((unsent.end_reason, unsent.usage), (EndReason::NotSent, Tokens::default()));
    conversation.reserved(granted(), at(2)).unwrap();
    assert!(conversation.unless_it_leaves(at(3)).is_none());
}

/// What an answer comes to: its head, its chunks, whether it ends.
fn settled(head: Option<AnswerHead<'_>>, chunks: &[&str], ends: bool) -> Settlement {
    let mut conversation = under_way(true);
    if let Some(head) = head {
        conversation.answered(&head);
    }
    for chunk in chunks {
        let _ = conversation.pass(chunk.as_bytes(), false, at(20));
    }
    if ends {
        let _ = conversation.pass(b"", true, at(30));
    }
    ended(&mut conversation, 40).unwrap()
}

#[test]
fn every_other_end_is_told_from_the_next() {
    use EndReason::{ClientLeft, Completed, ProviderCut, ProviderError, ProviderUnreachable};
    use UsageSource::{EstimatedAbort, EstimatedMissing, Provider};
    let sse = || Some(head(200, "text/event-stream"));
    let text = "data: {\"choices\":[{\"delta\":{\"content\":\"four words are here\"}}]}\n\n";
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
    let on_the_way = "data: {\"choices\":[{\"delta\":{\"content\":\"four words are here\"}}],\
                      \"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1}}\n\n";
    let error = "data: {\"error\":{\"message\":\"overloaded\"}}\n\n";
    let done = "data: [DONE]\n\n";
    let unreachable = AnswerHead { from_provider: false, ..head(502, "text/plain") };
    // Input, output.
    for (head, chunks, ends, reason, source, numbers) in [
        (sse(), &[text, done][..], true, Completed, EstimatedMissing, Some((None, 5))),
        (sse(), &[text], false, ClientLeft, EstimatedAbort, Some((None, 5))),
        (sse(), &[text], true, ProviderCut, EstimatedAbort, Some((None, 5))),
        (sse(), &[text, error], true, ProviderCut, EstimatedAbort, Some((None, 5))),
        (sse(), &[text, usage], false, ClientLeft, Provider, Some((Some(3), 4))),
        (sse(), &[on_the_way], false, ClientLeft, EstimatedAbort, Some((Some(3), 5))),
        (Some(head(429, "application/json")), &["{}"], true, ProviderError, Provider, None),
        (Some(head(500, "text/html")), &["<html>"], true, ProviderError, Provider, None),
        (Some(unreachable), &["no"], true, ProviderUnreachable, Provider, None),
        (None, &[], false, ClientLeft, EstimatedAbort, Some((None, 0))),
    ] {
        let settlement = settled(head, chunks, ends);
        let what = format!("{chunks:?} {ends}");
        assert_eq!(settlement.end_reason, reason, "{what}");
        assert_eq!(settlement.usage_source, source, "{what}");
        match numbers {
            None => assert_eq!(settlement.usage, Tokens::default(), "{what}"),
            Some((input, output)) => {
                assert_eq!(settlement.usage.output, output, "{what}");
                assert!(input.is_none_or(|input| settlement.usage.input == input), "{what}");
                assert!(settlement.usage.input > 0, "{what}");
            }
        }
        assert_eq!(
            settlement.status.is_some(),
            reason != ProviderUnreachable && head_came(&settlement)
        );
    }
}

fn head_came(settlement: &Settlement) -> bool {
    settlement.provider_request_id.is_some()
}

#[test]
fn what_the_exchange_refuses_does_not_leave() {
    let problem =
        |code: Code| serde_json::to_value(Problem::new(code, "secret detail", "r1")).unwrap();
    for code in [Code::ModelUnpriced, Code::PlanUnknown, Code::ProviderNotConfigured] {
        let (mut conversation, _) = reserving("local", false);
        let refusal =
            conversation.reserved(answer(code.status(), &problem(code)), at(1)).unwrap_err();
        assert_eq!(refusal.code, code);
        assert!(conversation.end(at(2)).is_empty(), "nothing was reserved");
    }
    let mut exhausted = problem(Code::QuotaExhausted);
    exhausted["budget"] = json!({"scope": "person", "unit": "tokens", "period": "day",
        "limit": 1_000, "remaining": 7, "resets_in_s": 3_600});
    let (mut conversation, _) = reserving("pro", false);
    let refusal = conversation.reserved(answer(429, &exhausted), at(1)).unwrap_err();
    assert_eq!((refusal.code, refusal.retry_after_s), (Code::QuotaExhausted, Some(3_600)));
    assert!(refusal.detail.contains("of your 1000 tokens per day 7 are left"), "{refusal:?}");
}

#[test]
fn without_the_exchange_a_call_leaves_only_if_its_plan_says_so() {
    let silences = || {
        [
            HttpOutcome::Failure("timeout".to_owned()),
            answer(501, &json!({})),
            answer(200, &json!({"reservation": 1})),
            answer(500, &serde_json::to_value(Problem::new(Code::Internal, "x", "r")).unwrap()),
        ]
    };
    for silence in silences() {
        let (mut conversation, _) = reserving("pro", false);
        let refusal = conversation.reserved(silence, at(1)).unwrap_err();
        assert_eq!(refusal.code, Code::UsageUnavailable);
        let settlement = ended(&mut conversation, 2).unwrap();
        assert_eq!(settlement.end_reason, EndReason::NotSent, "it may have been reserved");
    }
    for silence in silences() {
        let (mut conversation, _) = reserving("local", false);
        assert_eq!(conversation.reserved(silence, at(1)).unwrap().ways[0].authorization, "");
        assert_eq!(ended(&mut conversation, 2).unwrap().end_reason, EndReason::ClientLeft);
    }
}

#[test]
fn a_client_that_leaves_before_the_exchange_answers_has_sent_nothing() {
    let (mut conversation, _) = reserving("pro", false);
    assert_eq!(ended(&mut conversation, 2).unwrap().end_reason, EndReason::NotSent);
    assert!(begin("pro", true).end(at(2)).is_empty(), "nor one that sent no body");
}

#[test]
fn without_a_ledger_calls_leave_at_once() {
    let mut conversation = begin("pro", false);
    let prepared =
        conversation.read(&rules(false), None, &Health::default(), &body(false), at(0)).unwrap();
    let Then::Send(departure) = prepared.then else { panic!("the call waits") };
    assert_eq!(departure.ways[0].authorization, "");
    assert_eq!(ended(&mut conversation, 1).unwrap().end_reason, EndReason::ClientLeft);
}

#[test]
fn after_a_failure_the_next_call_goes_to_the_next_provider() {
    let mut rules = rules(true);
    rules.models.entries[0].fallbacks =
        vec![Target { provider: "ollama".to_owned(), model: Some("llama3".to_owned()) }];
    let mut health = Health::default();
    let reserving = |health: &Health, ms: u64| {
        let mut conversation = begin("pro", true);
        let exchange = exchange();
        let prepared = conversation.read(&rules, Some(&exchange), health, &body(false), at(ms));
        let Then::Reserve(call) = prepared.unwrap().then else { panic!("nothing was reserved") };
        let request: ReserveRequest = asked(&call);
        (conversation, request.call.provider, request.call.model)
    };
    let (mut conversation, provider, _) = reserving(&health, 0);
    assert_eq!(provider, "openai");
    conversation.reserved(granted(), at(1)).unwrap();
    conversation.answered(&head(429, "application/json"));
    health.note(&ended(&mut conversation, 2).unwrap(), at(2));
    let (_, provider, model) = reserving(&health, 3);
    assert_eq!((provider.as_str(), model.as_str()), ("ollama", "llama3"));
    assert_eq!(reserving(&health, 20_000).1, "openai", "it gets another chance");
}

#[test]
fn the_providers_key_is_printed_nowhere() {
    let (mut conversation, _) = reserving("pro", false);
    let departure = conversation.reserved(granted(), at(1)).unwrap();
    assert!(!format!("{departure:?} {conversation:?}").contains("canary"));
    let broken = json!({"reservation": 1, "authorization": KEY});
    let (mut conversation, _) = reserving("pro", false);
    let refusal = conversation.reserved(answer(200, &broken), at(1)).unwrap_err();
    assert!(!format!("{refusal:?}").contains("canary"));
}
