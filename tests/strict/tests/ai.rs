//! Calls of AI models on a strict Kong and a strict Envoy: reserved before they leave, settled
//! when they end, whatever becomes of client, provider and exchange.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::{cell::RefCell, rc::Rc};

use kombi_spec::{
    header::{AI_TRIED, AI_TRIES, AI_UNREACHED, AiTry},
    usage::{
        reserve::{self, ReserveRequest},
        settle::{self, EndReason, SettleRequest, Settlement, UsageSource},
        trace,
    },
};
use kombi_strict_host::{
    exchange,
    filter::Filter,
    host::Host,
    issuer::Issuer,
    node::Node,
    outcome::{Outcome, Seen},
    peers::{Answer, Call, Failure, Peers},
    request::{Request, UpstreamAnswer},
};
use serde_json::{Value, json};

const SIGNING_KEY: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PROVIDER_KEY: &str = "Bearer sk-canary";

/// The exchange's ledger, as far as the gate sees it.
#[derive(Clone, Default)]
struct Ledger(Rc<RefCell<Book>>);

#[derive(Default)]
struct Book {
    reserved: Vec<ReserveRequest>,
    settled: Vec<Settlement>,
    down: bool,
    down_after_reserve: bool,
    reserves_after_ms: u64,
    refuses: Option<(u16, Value)>,
}

impl Ledger {
    fn settled(&self) -> Vec<Settlement> {
        self.0.borrow().settled.clone()
    }

    fn be_down(&self, down: bool) {
        self.0.borrow_mut().down = down;
    }
}

/// The issuer, and the exchange.
struct Everybody(Issuer, Ledger);

impl Peers for Everybody {
    fn answer(&mut self, call: &Call) -> Answer {
        let mut book = self.1.0.borrow_mut();
        match call.path() {
            reserve::PATH | settle::PATH if book.down => Answer::failure(Failure::Connection),
            reserve::PATH => {
                let request: ReserveRequest = exchange::question(call);
                let fallbacks: Vec<_> = request
                    .fallbacks
                    .iter()
                    .map(|place| {
                        json!({"provider": place.provider, "model": place.model,
                               "authorization": format!("{PROVIDER_KEY}-{}", place.provider)})
                    })
                    .collect();
                book.reserved.push(request);
                book.down |= book.down_after_reserve;
                if let Some((status, problem)) = &book.refuses {
                    return Answer::reply(*status, problem.to_string());
                }
                let reservation = json!({"reservation": "1", "authorization": PROVIDER_KEY,
                    "fallbacks": fallbacks, "settle_within_s": 900, "remaining": []});
                Answer::reply(200, reservation.to_string()).after(book.reserves_after_ms)
            }
            settle::PATH => {
                let request: SettleRequest = serde_json::from_slice(&call.body).unwrap();
                let outcomes = vec!["accepted"; request.settlements.len()];
                book.settled.extend(request.settlements);
                Answer::reply(200, json!({ "outcomes": outcomes }).to_string())
            }
            _ => self.0.answer(call),
        }
    }
}

struct Gateway {
    node: Node,
    issuer: Issuer,
    ledger: Ledger,
}

impl Gateway {
    fn start(host: Host) -> Self {
        Self::limited(host, Value::Null)
    }

    /// One whose calls have these limits, if any.
    fn limited(host: Host, limits: Value) -> Self {
        let (issuer, ledger) = (Issuer::new("https://id.example"), Ledger::default());
        let mut rules = json!({
            "name": "ai",
            "exchange": {"url": "http://exchange.internal:8080", "signing_key": SIGNING_KEY},
            "ai": {"path": "/ai/v1", "models": [
                {"name": "small", "provider": "openai", "model": "gpt-4o-mini"},
                {"name": "many", "provider": "openai", "model": "gpt-4o", "fallbacks": [
                    {"provider": "gemini", "model": "gemini-2.5-flash"}, {"provider": "ollama"}]}]},
        });
        if limits.is_array() {
            rules["limits"] = limits;
        }
        let route = issuer.route(rules);
        let node = Node::of(&Filter::gate(), host)
            .route("/ai/v1", route)
            .peers(Everybody(issuer.clone(), ledger.clone()))
            .start();
        let mut gateway = Self { node, issuer, ledger };
        // The worker has the issuer's keys from now on.
        let token = gateway.issuer.token(gateway.node.now_s());
        let listed = gateway.node.send(Request::get("/ai/v1/models").bearer(&token));
        assert_eq!(listed.status(), 200);
        gateway
    }

    fn request(&self, body: &Value) -> Request {
        let token = self.issuer.token(self.node.now_s());
        Request::new("POST", "/ai/v1/chat/completions?secret=query")
            .bearer(&token)
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// Sends a call that streams; the provider answers with `chunks`.
    fn stream(&mut self, chunks: &[&str], client_leaves: bool) -> Outcome {
        let headers = [
            ("content-type", "text/event-stream"),
            ("set-cookie", "provider=1"),
            ("x-request-id", "req_1"),
            ("x-kong-upstream-latency", "7"),
            ("x-envoy-upstream-service-time", "7"),
        ];
        let request = self.request(&json!({"model": "small", "stream": true, "messages": []}));
        self.node.send(request.answered(UpstreamAnswer {
            status: 200,
            headers: headers.into_iter().collect(),
            chunks: chunks.iter().map(|chunk| chunk.as_bytes().to_vec()).collect(),
            client_leaves,
        }))
    }

    /// Workers begin anew, as after a crash: their memory is gone, the zone is still there.
    fn start_workers_anew(&mut self) {
        self.node.reload();
        // Until a request has found out what the host has, a worker does nothing.
        let token = self.issuer.token(self.node.now_s());
        let listed = self.node.send(Request::get("/ai/v1/models").bearer(&token));
        assert_eq!(listed.status(), 200);
    }

    /// Lets ticks pass until the ledger has been told of `count` calls, for at most two minutes.
    fn settled(&mut self, count: usize) -> Vec<Settlement> {
        for _ in 0..120 {
            if self.ledger.settled().len() >= count {
                break;
            }
            self.node.advance(1_000);
        }
        self.ledger.settled()
    }
}

/// The body as the provider of a try gets it: the second pass changes it as the gate says.
fn at_the_provider(upstream: &Seen, names: AiTry) -> Value {
    let mut body = upstream.body.clone();
    let edits = upstream.headers.text(names.edits).unwrap_or_default();
    for edit in edits.split(',').rev().filter(|edit| !edit.is_empty()) {
        let (range, text) = edit.split_once(':').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let byte = |hex: &[u8]| u8::from_str_radix(str::from_utf8(hex).unwrap(), 16).unwrap();
        let bytes = text.as_bytes().chunks(2).map(byte);
        let (start, end) = (start.parse::<usize>().unwrap(), end.parse().unwrap());
        body.splice(start..end, bytes);
    }
    serde_json::from_slice(&body).unwrap()
}

const TEXT: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"four words are here\"}}]}\n\n";
const USAGE: &str =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

#[test]
fn a_stream_is_reserved_sent_on_and_settled_with_the_providers_numbers() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        // On Kong the second pass has made a comment of it.
        let usage = if host == Host::Kong { format!(":{USAGE}") } else { USAGE.to_owned() };
        let passes = if host == Host::Kong { usage.as_str() } else { "" };
        let (half, rest) = usage.split_at(20);
        let outcome = gateway.stream(&[TEXT, half, rest, DONE], false);
        let Outcome::Forwarded { upstream, response } = &outcome else { panic!("{outcome:?}") };
        assert_eq!(upstream.headers.text("authorization"), Some(PROVIDER_KEY));
        assert_eq!(upstream.headers.text("x-kombi-ai-provider"), Some("openai"));
        assert_eq!(upstream.headers.text("x-kombi-sub"), None);
        assert_eq!(upstream.headers.text("x-kombi-ai-hides-usage"), Some("true"));
        assert_eq!(
            at_the_provider(upstream, AI_TRIES[0]),
            json!({"stream_options": {"include_usage": true}, "model": "gpt-4o-mini",
                   "stream": true, "messages": []})
        );
        assert_eq!(
            String::from_utf8(response.body.clone()).unwrap(),
            [TEXT, passes, DONE].concat()
        );
        assert_eq!(response.headers.text("set-cookie"), None);

        let reserved = gateway.ledger.0.borrow().reserved.clone();
        assert_eq!((reserved.len(), reserved[0].call.model.as_str()), (1, "gpt-4o-mini"));
        let settled = gateway.settled(1);
        assert_eq!(settled.len(), 1);
        assert_eq!(settled[0].request_id, reserved[0].request_id);
        assert_eq!(settled[0].call, reserved[0].call);
        assert_eq!((settled[0].usage.input, settled[0].usage.output), (3, 4));
        assert_eq!(settled[0].usage_source, UsageSource::Provider);
        assert_eq!(settled[0].end_reason, EndReason::Completed);
        assert_eq!(settled[0].provider_request_id.as_deref(), Some("req_1"));
        let traces: Vec<_> = gateway.node.take_logs();
        let traces = traces.iter().filter(|line| line.text.contains(trace::MARK)).count();
        assert_eq!(traces, 1, "the gateway's log has it, too");
        gateway.node.advance(60_000);
        assert_eq!(gateway.ledger.settled().len(), 1, "once");
        let prefix = if host == Host::Kong { "" } else { "kombi_gate_" };
        let metric = |name: &str| gateway.node.metric(&format!("{prefix}{name}"));
        let ended = r#"ai_calls_total_provider="openai"_end="completed"_source="provider""#;
        assert_eq!(metric(ended), Some(1));
        assert_eq!(metric(r#"ai_tokens_total_provider="openai"_kind="output""#), Some(4));
        assert_eq!(metric(r#"ai_settlements_total_result="ok""#), Some(1));
    }
}

#[test]
fn a_call_leaves_with_all_that_the_next_providers_need_and_each_try_is_settled() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        let headers = [
            ("content-type", "application/json"),
            ("x-kong-upstream-latency", "7"),
            ("x-envoy-upstream-service-time", "7"),
            (AI_TRIED, "503 : - : 200"),
        ];
        let request = gateway.request(&json!({"model": "many", "messages": []}));
        let outcome = gateway.node.send(request.answered(UpstreamAnswer {
            status: 200,
            headers: headers.into_iter().collect(),
            chunks: vec![br#"{"usage":{"prompt_tokens":3,"completion_tokens":4}}"#.to_vec()],
            client_leaves: false,
        }));
        let Outcome::Forwarded { upstream, response } = &outcome else { panic!("{outcome:?}") };
        let expected = [
            ("openai", PROVIDER_KEY.to_owned(), "gpt-4o"),
            ("gemini", format!("{PROVIDER_KEY}-gemini"), "gemini-2.5-flash"),
            ("ollama", format!("{PROVIDER_KEY}-ollama"), "many"),
        ];
        for (names, (provider, key, model)) in AI_TRIES.into_iter().zip(expected) {
            assert_eq!(upstream.headers.text(names.provider), Some(provider));
            assert_eq!(upstream.headers.text(names.authorization), Some(&*key));
            assert_eq!(at_the_provider(upstream, names)["model"], model);
        }
        assert_eq!(response.headers.text(AI_TRIED), None);
        assert_eq!(gateway.ledger.0.borrow().reserved.len(), 1);
        let settled = gateway.settled(3);
        let settled: Vec<_> = settled
            .iter()
            .map(|one| (one.attempt, &*one.call.provider, one.end_reason, one.usage.output))
            .collect();
        assert_eq!(
            settled,
            [
                (3, "ollama", EndReason::Completed, 4),
                (1, "openai", EndReason::ProviderError, 0),
                (2, "gemini", EndReason::ProviderError, 0),
            ]
        );
        let traces = gateway.node.take_logs();
        let traces = traces.iter().filter(|line| line.text.contains(trace::MARK)).count();
        assert_eq!(traces, 3, "the gateway's log has them, too");
    }
}

#[test]
fn a_client_that_leaves_is_settled_by_what_it_got() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        gateway.stream(&[TEXT], true);
        let settled = gateway.settled(1);
        assert_eq!(settled[0].end_reason, EndReason::ClientLeft);
        assert_eq!(settled[0].usage_source, UsageSource::EstimatedAbort);
        assert_eq!(settled[0].usage.output, 5);
    }
}

#[test]
fn who_has_a_whole_answer_has_a_row_with_its_numbers_whatever_comes_next() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        let usage = if host == Host::Kong { format!(":{USAGE}") } else { USAGE.to_owned() };
        // No end of the answer, only of the request.
        gateway.stream(&[TEXT, &usage, DONE], true);
        let settled = gateway.settled(1);
        assert_eq!(settled[0].end_reason, EndReason::Completed);
        assert_eq!((settled[0].usage.output, settled.len()), (4, 1));
    }
}

#[test]
fn a_call_that_was_reserved_when_its_worker_died_is_told_not_to_have_left() {
    let mut gateway = Gateway::start(Host::Kong);
    gateway.ledger.0.borrow_mut().reserves_after_ms = 500;
    let request = gateway.request(&json!({"model": "small", "messages": []}));
    gateway.node.begin(0, request);
    assert_eq!(gateway.ledger.0.borrow().reserved.len(), 1);
    gateway.start_workers_anew();
    let settled = gateway.settled(1);
    assert_eq!(settled[0].request_id, gateway.ledger.0.borrow().reserved[0].request_id);
    assert_eq!(settled[0].end_reason, EndReason::NotSent);
    assert_eq!(settled.len(), 1);
}

#[test]
fn a_settlement_survives_minutes_without_the_exchange() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        // The exchange answers the reservation, and is gone before the call has ended.
        gateway.ledger.0.borrow_mut().down_after_reserve = true;
        assert!(gateway.stream(&[TEXT, USAGE, DONE], false).is_forwarded());
        gateway.node.advance(180_000);
        assert_eq!(gateway.ledger.settled().len(), 0);
        gateway.ledger.be_down(false);
        assert_eq!(gateway.settled(1)[0].usage.output, 4);
    }
}

#[test]
fn without_the_exchange_nothing_leaves_and_the_client_is_told_in_its_language() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        gateway.ledger.be_down(true);
        let outcome = gateway.stream(&[TEXT], false);
        assert!(!outcome.is_forwarded());
        let response = outcome.response().unwrap();
        assert_eq!(response.status, 503);
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["error"]["code"], "usage_unavailable");
        gateway.ledger.be_down(false);
        let settled = gateway.settled(1);
        assert_eq!(settled[0].end_reason, EndReason::NotSent, "it may have been reserved");
    }
}

#[test]
fn tokens_are_set_aside_for_a_call_and_charged_with_what_it_used() {
    let limits =
        json!([{"name": "tokens", "key": "sub", "amount": 3_000, "per": "day", "cost": "tokens"}]);
    for host in Host::BOTH {
        let mut gateway = Gateway::limited(host, limits.clone());
        let left = |outcome: &Outcome| {
            let headers = &outcome.response().unwrap().headers;
            let told = headers.text("ratelimit").unwrap().to_owned();
            told.split(';').find_map(|part| part.strip_prefix("r=")?.parse::<u64>().ok()).unwrap()
        };
        // 1,024 of output are set aside at a time, and what there is of input.
        let first = left(&gateway.stream(&[TEXT, USAGE, DONE], false));
        assert!((1_900..=1_976).contains(&first), "{first}");
        let second = left(&gateway.stream(&[TEXT], true));
        assert_eq!(second, first - 7, "the first used 7");
        // Nothing is charged for what did not leave, whoever refused it.
        gateway.ledger.be_down(true);
        assert!(!gateway.stream(&[TEXT], false).is_forwarded());
        gateway.ledger.be_down(false);
        let large = json!({"model": "small", "max_tokens": 3_000, "messages": []});
        let request = gateway.request(&large);
        let refused = gateway.node.send(request);
        let response = refused.response().unwrap();
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!((response.status, &body["error"]["code"]), (429, &json!("limit_exceeded")));
        assert!(response.headers.text("retry-after").is_some());
        assert_eq!(gateway.ledger.0.borrow().reserved.len(), 2, "the exchange was not asked");
        let third = left(&gateway.stream(&[TEXT, USAGE, DONE], false));
        assert!((second - 40..second).contains(&third), "{second}, {third}");
    }
}

#[test]
fn an_exhausted_budget_is_a_402_with_what_is_left() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        let problem = json!({"type": "urn:kombisphere:problem:budget_exhausted", "title": "t",
            "status": 402, "detail": "d", "code": "budget_exhausted", "request_id": "r",
            "budget": {"scope": "organisation", "unit": "requests", "period": "month",
                       "limit": 10, "remaining": 0, "resets_in_s": 77}});
        gateway.ledger.0.borrow_mut().refuses = Some((402, problem));
        let outcome = gateway.stream(&[TEXT], false);
        let response = outcome.response().unwrap();
        assert_eq!((response.status, response.headers.text("retry-after")), (402, Some("77")));
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        assert_eq!(body["error"]["type"], "insufficient_quota");
        gateway.node.advance(60_000);
        assert!(gateway.ledger.settled().is_empty(), "nothing was reserved");
    }
}

#[test]
fn what_cannot_be_a_call_is_refused_in_the_clients_language_and_reserves_nothing() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        let large = "x".repeat(10 * 1024 * 1024);
        for (body, status, code) in [
            (json!({"model": "other"}), 404, "model_not_found"),
            (json!({"messages": []}), 400, "body_malformed"),
            (json!({"model": "small", "messages": large}), 413, "body_too_large"),
        ] {
            let request = gateway.request(&body);
            let outcome = gateway.node.send(request);
            assert!(!outcome.is_forwarded());
            let response = outcome.response().unwrap();
            let found: Value = serde_json::from_slice(&response.body).unwrap();
            assert_eq!((response.status, &found["error"]["code"]), (status, &json!(code)));
        }
        let outcome = gateway.node.send(
            Request::new("POST", "/ai/v1/chat/completions").header("x-kombi-ai-provider", "openai"),
        );
        let found: Value = serde_json::from_slice(&outcome.response().unwrap().body).unwrap();
        assert_eq!(found["error"]["code"], "header_reserved");
        assert!(gateway.ledger.0.borrow().reserved.is_empty());
    }
}

#[test]
fn a_provider_that_fails_costs_nothing() {
    for host in Host::BOTH {
        let mut gateway = Gateway::start(host);
        // On Kong the latency is there also where nobody was reached.
        let latency = ("x-kong-upstream-latency", "7");
        for (more, reason) in [
            (&[latency][..], EndReason::ProviderError),
            (&[], EndReason::ProviderUnreachable),
            (&[latency, (AI_UNREACHED, "true")], EndReason::ProviderUnreachable),
        ] {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(more);
            let request = gateway.request(&json!({"model": "small"})).answered(UpstreamAnswer {
                status: 503,
                headers: headers.into_iter().collect(),
                chunks: vec![b"{}".to_vec()],
                client_leaves: false,
            });
            assert_eq!(gateway.node.send(request).status(), 503);
            let count = gateway.ledger.settled().len() + 1;
            let settled = gateway.settled(count);
            assert_eq!(settled.last().unwrap().end_reason, reason);
            assert_eq!(settled.last().unwrap().usage, settle::Tokens::default());
        }
    }
}

#[test]
fn what_a_dead_worker_left_is_told_by_another() {
    let mut gateway = Gateway::start(Host::Kong);
    gateway.stream(&[TEXT, USAGE, DONE], false);
    // Before any tick.
    gateway.start_workers_anew();
    let settled = gateway.settled(1);
    assert_eq!(settled[0].usage_source, UsageSource::Provider);
}
