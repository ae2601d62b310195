//! What a refusal leaves in the host's log: one line of JSON, and no byte of a token.

// A failure is what a test is for; routes are looked up by position.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use kombi_spec::code::Code;
use serde_json::{Value, json};
use stack::{
    answer::Answer,
    log, routes,
    stack::{Options, Stack, received_header},
};

/// How long a host may take to write what it was told.
const WRITTEN: Duration = Duration::from_secs(20);

/// No longer piece of a token may be in a log.
const LONGEST_PIECE: usize = 16;

/// What is expected of one line.
type Expected = (&'static str, &'static str, Code, Option<String>);

/// A stack, what was sent to it, and what must be in its log.
struct Traffic {
    stack: Stack,
    /// Every token and credential.
    sent: Vec<String>,
    /// Event, route, code and subject, by the request's id.
    expected: BTreeMap<String, Expected>,
}

/// A route like `/admin` that only tells whom it would refuse.
fn amend(declaration: &mut Value) {
    let mut shadow = routes::like(routes::named(declaration, "admin").unwrap(), "shadow");
    shadow["plugins"][0]["config"]["shadow"] = json!(true);
    declaration["services"][0]["routes"].as_array_mut().unwrap().push(shadow);
}

impl Traffic {
    async fn start() -> Self {
        let options = Options { amend: Some(amend), ..Options::default() };
        let stack = Stack::start(options).await.unwrap();
        Self { stack, sent: Vec::new(), expected: BTreeMap::new() }
    }

    /// Sends `token` to a route that is called like its path; it must be refused with `code`.
    async fn refused(&mut self, route: &'static str, token: &str, code: Code, who: Option<&str>) {
        let answer = self.stack.get_as(token, &format!("/{route}")).await.unwrap();
        self.sent.push(token.to_owned());
        self.note(route, &answer, code, who);
    }

    fn note(&mut self, route: &'static str, answer: &Answer, code: Code, who: Option<&str>) {
        let problem = answer.problem().unwrap();
        assert_eq!(problem.code, code);
        let expected = ("refused", route, code, who.map(str::to_owned));
        assert!(self.expected.insert(problem.request_id, expected).is_none(), "ids are unique");
    }

    /// The filter's lines about requests, by the request's id, once all are there.
    async fn lines(&self) -> BTreeMap<String, Value> {
        let deadline = Instant::now() + WRITTEN;
        loop {
            let lines = log::lines(&self.stack.whole_logs().unwrap()).unwrap();
            let mut by_id = BTreeMap::new();
            for line in lines.into_iter().filter(|line| line.get("request_id").is_some()) {
                let id = line["request_id"].as_str().unwrap().to_owned();
                let other = by_id.insert(id, line);
                assert!(other.is_none(), "two lines about one request: {other:?}");
            }
            if by_id.len() >= self.expected.len() {
                return by_id;
            }
            assert!(Instant::now() < deadline, "{by_id:#?}\nof\n{:#?}", self.expected);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn send_bad_tokens(traffic: &mut Traffic) {
    let long = "e\"v\\i\u{1f600}\nl".repeat(150);
    let orders = [
        (json!({"sub": "ada", "expires_in": -60}), Code::TokenExpired),
        (json!({"sub": "ada", "not_before_in": 600}), Code::TokenNotYetValid),
        (json!({"sub": "ada", "audience": ["1"]}), Code::AudienceMismatch),
        (json!({"sub": "ada", "audience": [long]}), Code::AudienceMismatch),
        (json!({"sub": "ada", "issuer": "https://evil.example"}), Code::IssuerUnknown),
        (json!({"sub": "ada", "issuer": long}), Code::IssuerUnknown),
        (json!({"sub": "ada", "kid": "made-up"}), Code::KeyUnknown),
        (json!({"sub": "ada", "kid": long}), Code::KeyUnknown),
        (json!({"sub": "ada", "claims": {"exp": null}}), Code::TokenMalformed),
    ];
    for (order, code) in orders {
        let token = traffic.stack.issuer.mint(order).await.unwrap();
        traffic.refused("user", &token, code, None).await;
    }
    let good = traffic.stack.issuer.token("ada").await.unwrap();
    let forged = format!("{}AAAA", good.get(..good.len() - 4).unwrap());
    traffic.refused("user", &forged, Code::SignatureInvalid, None).await;
    traffic.refused("user", &good.replace('.', ""), Code::TokenMalformed, None).await;
    traffic.refused("user", &format!("{good} {good}"), Code::CredentialsMalformed, None).await;
    let basic = traffic.stack.get("/user").basic_auth("ada", Some(&good));
    let basic = Answer::to(basic).await.unwrap();
    traffic.note("user", &basic, Code::TokenMissing, None);
    let forbidden = traffic.stack.get("/public").header("x-kombi-sub", &good);
    let forbidden = Answer::to(forbidden).await.unwrap();
    traffic.note("public", &forbidden, Code::HeaderReserved, None);
    let none = Answer::to(traffic.stack.get("/user")).await.unwrap();
    traffic.note("user", &none, Code::TokenMissing, None);
}

#[tokio::test]
async fn each_refusal_is_one_line_of_json_and_no_byte_of_a_token_is_logged() {
    let mut traffic = Traffic::start().await;
    send_bad_tokens(&mut traffic).await;
    // A verified token tells who was refused.
    let ada = traffic.stack.issuer.subject("ada").await.unwrap();
    let token = traffic.stack.issuer.token("ada").await.unwrap();
    traffic.refused("admin", &token, Code::RoleMissing, Some(&ada)).await;
    let passed = traffic.stack.get_as(&token, "/shadow").await.unwrap();
    let id = received_header(&passed, "x-kombi-request-id").unwrap();
    traffic.expected.insert(id, ("would_refuse", "shadow", Code::RoleMissing, Some(ada)));
    // Nothing is said of what passes.
    assert_eq!(traffic.stack.get_as(&token, "/user").await.unwrap().status, 200);

    let lines = traffic.lines().await;
    for (id, (event, route, code, subject)) in &traffic.expected {
        let line = &lines[id];
        let found = (&line["event"], &line["route"], &line["code"], &line["subject"]);
        let expected = (&json!(event), &json!(route), &json!(code), &json!(subject));
        assert_eq!(found, expected, "{line}");
        assert!(line["detail"].is_string(), "{line}");
    }
    assert_eq!(lines.len(), traffic.expected.len(), "{lines:#?}");

    let logs = traffic.stack.whole_logs().unwrap();
    for token in &traffic.sent {
        for piece in token.as_bytes().windows(LONGEST_PIECE) {
            let piece = std::str::from_utf8(piece).unwrap();
            assert!(!logs.contains(piece), "{piece:?} is logged");
        }
    }
}
