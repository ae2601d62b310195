//! A ledger for tests: its terms, and the gate's and people's side of it.

use std::{net::SocketAddr, path::Path, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kombi_exchange::{
    time::UnixTime,
    usage::{Providers, Settings, TermsFiles},
};
use kombi_spec::{
    assertion::Assertion,
    header,
    usage::{
        Call, Endpoint, SUBJECT,
        reserve::{self, Reservation, ReserveRequest},
        settle::{
            self, EndReason, Outcome, SettleAnswer, SettleRequest, Settlement, Tokens, UsageSource,
        },
    },
};
use reqwest::{Client, Response};
use tempfile::TempDir;

use crate::{
    database,
    gate::{self, Gate},
};

/// A plan for each kind of budget, and one without any.
pub(crate) const PLANS: &str = r#"
    default = "free"

    [plan.free]
    billed = false
    max_output_tokens = 100

    [plan.metered]
    billed = true
    max_output_tokens = 1000

    [plan.ten]
    billed = false
    max_output_tokens = 100
    [[plan.ten.budget]]
    scope = "person"
    period = "month"
    tokens = 1_100

    [plan.rich]
    billed = true
    max_output_tokens = 1000
    [[plan.rich.budget]]
    scope = "organisation"
    period = "month"
    money_nano = 1_000_000

    [plan.few]
    billed = false
    max_output_tokens = 100
    [[plan.few.budget]]
    scope = "plan"
    period = "day"
    requests = 3
"#;

/// 1,000 and 2,000 billionths for a token; 4,000 for both since the middle of 2026.
pub(crate) const PRICES: &str = r#"
    currency = "EUR"

    [[price]]
    provider = "openai"
    model = "gpt-*"
    from = 2026-01-01
    input = 1_000_000_000
    cached_input = 500_000_000
    output = 2_000_000_000

    [[price]]
    provider = "openai"
    model = "gpt-*"
    from = 2026-07-01
    input = 4_000_000_000
    output = 4_000_000_000

    [[price]]
    provider = "openai"
    model = "dear"
    from = 2026-01-01
    input = 9_000_000_000
    output = 9_000_000_000
"#;

/// What no answer but a reservation may have in it.
pub(crate) const KEY: &str = "sk-CANARY-0123456789";

/// Files with these terms, in a directory that lives as long as the value.
pub(crate) struct Terms(TempDir);

impl Terms {
    pub(crate) fn write() -> Self {
        let terms = Self(tempfile::tempdir().unwrap());
        terms.set_plans(PLANS);
        std::fs::write(terms.prices(), PRICES).unwrap();
        terms
    }

    pub(crate) fn set_plans(&self, text: &str) {
        std::fs::write(self.plans(), text).unwrap();
    }

    pub(crate) fn plans(&self) -> std::path::PathBuf {
        self.0.path().join("plans.toml")
    }

    pub(crate) fn prices(&self) -> std::path::PathBuf {
        self.0.path().join("prices.toml")
    }

    /// A ledger on these terms.
    pub(crate) fn settings(&self) -> Settings {
        let keys = [
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY", KEY),
            ("KOMBI_EXCHANGE_PROVIDER_OLLAMA_KEYLESS", "true"),
        ];
        let keys = keys.map(|(name, value)| (name.into(), value.into()));
        Settings {
            terms: TermsFiles { plans: self.plans(), prices: Some(self.prices()) },
            providers: Providers::parse(keys).unwrap(),
            longest_call: Duration::from_secs(600),
        }
    }
}

/// A call by `subject` of the organisation "9" on `plan`.
pub(crate) fn call(subject: &str, plan: &str) -> Call {
    Call {
        subject: subject.to_owned(),
        org: Some("9".to_owned()),
        plan: Some(plan.to_owned()),
        provider: "openai".to_owned(),
        model: "gpt-x".to_owned(),
        endpoint: Endpoint::ChatCompletions,
        stream: true,
        route: "ai-chat".to_owned(),
    }
}

/// A request for 10 tokens of input and at most 100 of output.
pub(crate) fn wanted(id: &str, call: Call) -> ReserveRequest {
    ReserveRequest {
        request_id: id.to_owned(),
        attempt: 1,
        call,
        fallbacks: Vec::new(),
        input_tokens: 10,
        max_output_tokens: Some(100),
        choices: 1,
    }
}

/// What became of that: 8 tokens of input, 20 of output.
pub(crate) fn settlement(id: &str, call: Call) -> Settlement {
    Settlement {
        request_id: id.to_owned(),
        attempt: 1,
        call,
        sent_at: UnixTime::now().as_secs(),
        usage: Tokens { input: 8, output: 20, ..Tokens::default() },
        usage_source: UsageSource::Provider,
        end_reason: EndReason::Completed,
        status: Some(200),
        provider_request_id: Some("req_1".to_owned()),
        first_token_ms: Some(180),
        duration_ms: 900,
    }
}

/// The gate, as it talks to the ledger of one exchange; and people, through it.
#[derive(Clone)]
pub(crate) struct Books {
    client: Client,
    address: SocketAddr,
    reserving: String,
    settling: String,
}

impl Books {
    pub(crate) fn of(address: SocketAddr) -> Self {
        let sign = |path: &str| Gate::new(1).sign(&claims(SUBJECT, "POST", path));
        Self {
            client: crate::exchange::client(),
            address,
            reserving: sign(reserve::PATH),
            settling: sign(settle::PATH),
        }
    }

    pub(crate) async fn reserve(&self, request: &ReserveRequest) -> Response {
        self.ask(&self.reserving, &serde_json::to_vec(request).unwrap()).await
    }

    /// Sends `question`, whatever it is, in a reservation's place.
    pub(crate) async fn ask(&self, assertion: &str, question: &[u8]) -> Response {
        let post = self.client.post(format!("http://{}{}", self.address, reserve::PATH));
        let question = BASE64_URL_SAFE_NO_PAD.encode(question);
        let post = post.header(header::ASSERTION, assertion).header(header::QUESTION, question);
        post.send().await.unwrap()
    }

    /// A reservation that succeeds.
    pub(crate) async fn reserved(&self, request: &ReserveRequest) -> Reservation {
        let response = self.reserve(request).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["cache-control"], "no-store");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    pub(crate) async fn settle(&self, settlements: Vec<Settlement>) -> Vec<Outcome> {
        let body = serde_json::to_vec(&SettleRequest { settlements }).unwrap();
        let response = self.settle_body(body).await;
        assert_eq!(response.status(), 200);
        let answer = response.bytes().await.unwrap();
        serde_json::from_slice::<SettleAnswer>(&answer).unwrap().outcomes
    }

    pub(crate) async fn settle_body(&self, body: Vec<u8>) -> Response {
        let post = self.client.post(format!("http://{}{}", self.address, settle::PATH));
        post.header(header::ASSERTION, &self.settling).body(body).send().await.unwrap()
    }

    /// `GET` by a person with these roles.
    pub(crate) async fn report(
        &self,
        (subject, roles): (&str, &[&str]),
        path: &str,
        accept: Option<&str>,
    ) -> Response {
        let plain = path.split('?').next().unwrap();
        let mut claims = claims(subject, "GET", plain);
        claims.roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let request = self.client.get(format!("http://{}{path}", self.address));
        let request = request.header(header::ASSERTION, Gate::new(1).sign(&claims));
        let request = accept
            .into_iter()
            .fold(request, |request, accept| request.header(reqwest::header::ACCEPT, accept));
        request.send().await.unwrap()
    }
}

/// Claims of an assertion for `method` `path`.
pub(crate) fn claims(subject: &str, method: &str, path: &str) -> Assertion {
    Assertion {
        htm: Some(method.to_owned()),
        htp: Some(path.to_owned()),
        ..gate::claims(subject, "")
    }
}

/// One number out of the database in `data`.
pub(crate) fn number(data: &Path, sql: &str) -> i64 {
    database::one(data, sql)
}
