//! What the gate learns about opaque tokens, and what that costs the issuer.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use kombi_exchange::{address::Reach, introspection::Issuer, time::UnixTime};
use kombi_spec::{
    assertion::Assertion,
    code::Code,
    header,
    introspection::{IntrospectionAnswer, IntrospectionRequest, MAX_BYTES, PATH, SUBJECT},
};
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json as value};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{
    exchange::{Exchange, code, refusal},
    gate::{self, Gate},
    instance::{Script, json},
    issuer::{FakeIssuer, SECRET},
};

const ACTIVE: &str = r#"{"active":true,"sub":"u1"}"#;

/// Claims of an assertion that the gate makes for itself.
pub(crate) fn claims() -> Assertion {
    Assertion { htp: Some(PATH.to_owned()), ..gate::claims(SUBJECT, "") }
}

/// A question, as the gate asks it.
pub(crate) fn question(
    client: &reqwest::Client,
    exchange: SocketAddr,
    assertion: &str,
    (issuer, token): (&str, &str),
) -> RequestBuilder {
    let question = IntrospectionRequest { issuer: issuer.to_owned(), token: token.to_owned() };
    asking(client, exchange, assertion, &serde_json::to_vec(&question).unwrap())
}

/// Whatever is sent in a question's place.
fn asking(
    client: &reqwest::Client,
    exchange: SocketAddr,
    assertion: &str,
    question: &[u8],
) -> RequestBuilder {
    client
        .post(format!("http://{exchange}{PATH}"))
        .header(header::ASSERTION, assertion)
        .header(header::QUESTION, BASE64_URL_SAFE_NO_PAD.encode(question))
}

impl Exchange {
    async fn with(issuer: &FakeIssuer) -> Self {
        let configured = issuer.configured();
        Self::start_with(|config| config.introspection = Some(configured)).await
    }

    fn question(&self, issuer: &str, token: &str) -> RequestBuilder {
        let assertion = self.gate.sign(&claims());
        question(&self.client, self.addresses.public, &assertion, (issuer, token))
    }

    async fn introspect(&self, issuer: &FakeIssuer, token: &str) -> Response {
        self.question(&issuer.url(), token).send().await.unwrap()
    }
}

pub(crate) async fn answer(response: Response) -> IntrospectionAnswer<Value> {
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-store");
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_active_token_comes_with_its_claims_and_is_asked_about_once() {
    let body = r#"{"active":true,"sub":"u1","aud":["p"],"n":9007199254740993}"#;
    let issuer = FakeIssuer::saying(200, body).await;
    let exchange = Exchange::with(&issuer).await;
    for _ in 0..2 {
        let answer = answer(exchange.introspect(&issuer, "pat+1/2==").await).await;
        assert!(answer.active);
        let claims = value!({"sub": "u1", "aud": ["p"], "n": 9_007_199_254_740_993_u64});
        assert_eq!(answer.claims, Some(claims));
        assert!((55..=60).contains(&answer.cache_for_s), "{}", answer.cache_for_s);
    }
    let questions = issuer.questions();
    assert_eq!((questions.len(), issuer.discoveries()), (1, 1));
    assert_eq!(questions[0].line, "POST /introspect HTTP/1.1");
    assert_eq!(questions[0].token, "pat+1/2==");
    let credentials = BASE64_STANDARD.encode("the+exchange:CANARY+secret%3A%25");
    assert_eq!(questions[0].authorization, Some(format!("Basic {credentials}")));
    answer(exchange.introspect(&issuer, "another").await).await;
    assert_eq!((issuer.questions().len(), issuer.discoveries()), (2, 1));
    let (_, metrics) = exchange.ops("/metrics").await;
    for line in [
        "kombi_exchange_requests_total{route=\"gate_introspect\",code=\"ok\"} 3",
        "kombi_exchange_introspections_total{outcome=\"active\",source=\"issuer\"} 2",
        "kombi_exchange_introspections_total{outcome=\"active\",source=\"cache\"} 1",
        "kombi_exchange_introspection_calls_total{outcome=\"active\"} 2",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn an_inactive_token_is_remembered_shortly_and_nothing_is_told_of_it() {
    let issuer = FakeIssuer::saying(200, r#"{"active":false,"sub":"u1"}"#).await;
    let exchange = Exchange::with(&issuer).await;
    for _ in 0..2 {
        let answer = answer(exchange.introspect(&issuer, "t").await).await;
        assert_eq!((answer.active, answer.claims), (false, None));
        assert!((5..=10).contains(&answer.cache_for_s), "{}", answer.cache_for_s);
    }
    assert_eq!(issuer.questions().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_questions_at_once_one_reaches_the_issuer() {
    for (body, status) in [(ACTIVE, 200), ("garbage", 503)] {
        let go_on = Arc::<Notify>::default();
        let told = Arc::clone(&go_on);
        let said = json(200, body);
        let issuer =
            FakeIssuer::start(move |_| Script::Wait(Arc::clone(&told), said.clone())).await;
        let configured = issuer.configured();
        let exchange = Exchange::start_with(|config| {
            config.introspection = Some(configured);
            // A hundred signatures are a matter of seconds without optimisation.
            config.limits.introspection.time = Duration::from_secs(30);
        })
        .await;
        // One assertion for all of them: it is not spent.
        let assertion = exchange.gate.sign(&claims());
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let (client, to) = (&exchange.client, exchange.addresses.public);
                tokio::spawn(question(client, to, &assertion, (&issuer.url(), "t")).send())
            })
            .collect();
        while issuer.questions().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        go_on.notify_one();
        for asked in asking {
            assert_eq!(asked.await.unwrap().unwrap().status(), status);
        }
        assert_eq!(issuer.questions().len(), 1, "{body}");
    }
}

#[tokio::test]
async fn a_token_is_not_active_beyond_its_exp() {
    let exp = UnixTime::now().as_secs() + 2;
    let issuer = FakeIssuer::saying(200, &format!(r#"{{"active":true,"exp":{exp}}}"#)).await;
    let exchange = Exchange::with(&issuer).await;
    let first = answer(exchange.introspect(&issuer, "t").await).await;
    assert!(first.active && first.cache_for_s <= 1, "{first:?}");
    let ended = async {
        loop {
            let before = UnixTime::now().as_secs();
            let answer = answer(exchange.introspect(&issuer, "t").await).await;
            let after = UnixTime::now().as_secs();
            assert!(before < exp || !answer.active, "active {} s after exp", before - exp);
            assert!(!answer.active || before + answer.cache_for_s <= exp);
            if !answer.active {
                assert!(after >= exp, "inactive before exp");
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), ended).await.expect("it stays active");
}

#[tokio::test]
async fn an_issuer_that_does_not_say_is_unavailable_and_asked_again_a_second_later() {
    let huge = format!(r#"{{"active":true,"x":"{}"}}"#, "x".repeat(64 * 1024));
    let html = b"HTTP/1.1 200 X\r\ncontent-type: text/html\r\nconnection: close\r\n\r\n".to_vec();
    let html = [html, ACTIVE.into()].concat();
    let elsewhere =
        b"HTTP/1.1 302 X\r\nlocation: /other\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    for (said, outcome) in [
        (json(200, "garbage"), "misbehaved"),
        (json(200, r#"{"active":"true"}"#), "misbehaved"),
        (json(200, r#"{"active":true,"exp":"soon"}"#), "misbehaved"),
        (json(200, &huge), "misbehaved"),
        (html, "misbehaved"),
        (elsewhere.to_vec(), "misbehaved"),
        (b"SSH-2.0-OpenSSH_9\r\n".to_vec(), "misbehaved"),
        (json(404, "{}"), "misbehaved"),
        (json(401, r#"{"error":"invalid_client"}"#), "credentials_refused"),
        (json(500, "{}"), "unreachable"),
        (json(429, "{}"), "unreachable"),
        (Vec::new(), "unreachable"),
    ] {
        let text = String::from_utf8_lossy(&said[..said.len().min(100)]).into_owned();
        let issuer = FakeIssuer::start(move |_| Script::Send(said.clone())).await;
        let exchange = Exchange::with(&issuer).await;
        let begun = Instant::now();
        let refused = code(exchange.introspect(&issuer, "t").await).await;
        assert_eq!(refused, Code::IntrospectionUnavailable, "{text}");
        let again = code(exchange.introspect(&issuer, "t").await).await;
        assert_eq!(again, Code::IntrospectionUnavailable, "{text}");
        let asked_twice = issuer.questions().len() > 1;
        assert!(!asked_twice || begun.elapsed() >= Duration::from_secs(1), "{text}");
        let (_, metrics) = exchange.ops("/metrics").await;
        let counted = format!("introspection_calls_total{{outcome=\"{outcome}\"}}");
        assert!(metrics.contains(&counted), "{text}: {metrics}");
    }
    let answers = [json(503, "{}"), json(200, ACTIVE)];
    let turns = std::sync::atomic::AtomicUsize::new(0);
    let issuer = FakeIssuer::start(move |_| {
        let turn = turns.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Script::Send(answers[turn.min(1)].clone())
    })
    .await;
    let exchange = Exchange::with(&issuer).await;
    let recovered = async {
        while exchange.introspect(&issuer, "t").await.status() != 200 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(Duration::from_secs(20), recovered).await.expect("a failure is remembered for ever");
    assert_eq!(issuer.questions().len(), 2);
}

#[tokio::test]
async fn a_slow_issuer_is_given_up_and_others_are_not_held_up() {
    let said = json(200, ACTIVE);
    let issuer = FakeIssuer::start(move |asked| match &*asked.token {
        "silent" => Script::Hang(Vec::new()),
        "slow" => Script::Hang(said[..said.len() - 1].to_vec()),
        _ => Script::Send(said.clone()),
    })
    .await;
    let configured = issuer.configured();
    let exchange = Exchange::start_with(|config| {
        config.introspection = Some(configured);
        config.limits.introspection.time = Duration::from_millis(700);
    })
    .await;
    for token in ["silent", "slow"] {
        let slow = tokio::spawn(exchange.question(&issuer.url(), token).send());
        while !issuer.questions().iter().any(|asked| asked.token == token) {
            sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(exchange.introspect(&issuer, "quick").await.status(), 200);
        let refused = refusal(slow.await.unwrap().unwrap()).await;
        assert_eq!(refused.code, Code::IntrospectionUnavailable);
        assert!(refused.detail.contains("in time"), "{}", refused.detail);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    let head = "HTTP/1.1 200 X\r\ncontent-type: application/json\r\ncontent-length: 99999999";
    let beginning = format!("{head}\r\n\r\n{}", " ".repeat(64 * 1024 + 1)).into_bytes();
    let (answer, metadata) = (beginning.clone(), beginning);
    let endless = FakeIssuer::start(move |_| Script::Hang(answer.clone())).await;
    let unknown = FakeIssuer::start_with(|_| metadata.clone(), |_| Script::Send(Vec::new())).await;
    for issuer in [endless, unknown] {
        let exchange = Exchange::with(&issuer).await;
        let refused = code(exchange.introspect(&issuer, "t").await).await;
        assert_eq!(refused, Code::IntrospectionUnavailable);
        let (_, metrics) = exchange.ops("/metrics").await;
        let counted = "kombi_exchange_introspection_calls_total{outcome=\"misbehaved\"} 1";
        assert!(metrics.contains(counted), "{metrics}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_down_is_unavailable() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let issuer = Issuer::new(&url, Reach::Private, "id", SECRET).unwrap();
    let exchange = Exchange::start_with(|config| config.introspection = Some(issuer)).await;
    let refused = code(exchange.question(&url, "t").send().await.unwrap()).await;
    assert_eq!(refused, Code::IntrospectionUnavailable);
}

#[tokio::test]
async fn the_secret_goes_nowhere_but_to_the_issuers_own_endpoint() {
    let thief = FakeIssuer::saying(200, ACTIVE).await;
    let to = thief.url();
    for metadata in [
        json(200, "garbage"),
        json(200, &format!(r#"{{"issuer":"{to}","introspection_endpoint":"{to}/introspect"}}"#)),
        json(404, "{}"),
        format!("HTTP/1.1 302 X\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes(),
    ] {
        let issuer =
            FakeIssuer::start_with(|_| metadata.clone(), |_| Script::Send(Vec::new())).await;
        let exchange = Exchange::with(&issuer).await;
        let refused = code(exchange.introspect(&issuer, "t").await).await;
        assert_eq!(refused, Code::IntrospectionUnavailable);
        assert!(issuer.questions().is_empty());
    }
    let elsewhere = to.clone();
    let issuer = FakeIssuer::start_with(
        move |url| {
            let metadata = format!(
                r#"{{"issuer":"{url}","introspection_endpoint":"{elsewhere}/introspect"}}"#
            );
            json(200, &metadata)
        },
        |_| Script::Send(Vec::new()),
    )
    .await;
    let exchange = Exchange::with(&issuer).await;
    let refused = code(exchange.introspect(&issuer, "t").await).await;
    assert_eq!(refused, Code::IntrospectionUnavailable);
    assert!(thief.questions().is_empty());
    // Unless the operator says that this is where to ask.
    let configured = issuer.configured().asked_at(&format!("{to}/introspect")).unwrap();
    let exchange = Exchange::start_with(|config| config.introspection = Some(configured)).await;
    assert!(answer(exchange.introspect(&issuer, "t").await).await.active);
    assert_eq!((thief.questions().len(), issuer.questions().len()), (1, 0));
}

fn loopback(_: &str) -> std::io::Result<Vec<SocketAddr>> {
    Ok(vec!["127.0.0.1:0".parse().unwrap()])
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_needs_permission() {
    let issuer = FakeIssuer::saying(200, ACTIVE).await;
    let url = format!("https://id.example:{}", issuer.port());
    let configured = Issuer::new(&url, Reach::Public, "id", SECRET).unwrap();
    let exchange = Exchange::start_with(|config| {
        config.introspection = Some(configured);
        config.lookup = loopback;
    })
    .await;
    let refused = code(exchange.question(&url, "t").send().await.unwrap()).await;
    assert_eq!(refused, Code::IntrospectionUnavailable);
    let (_, metrics) = exchange.ops("/metrics").await;
    let counted = "kombi_exchange_introspection_calls_total{outcome=\"address_refused\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn an_https_issuer_that_speaks_no_tls_is_told_nothing() {
    let issuer = FakeIssuer::saying(200, ACTIVE).await;
    let url = format!("https://127.0.0.1:{}", issuer.port());
    let configured = Issuer::new(&url, Reach::Private, "id", SECRET).unwrap();
    let exchange = Exchange::start_with(|config| {
        config.introspection = Some(configured);
        config.limits.introspection.time = Duration::from_millis(500);
    })
    .await;
    let refused = code(exchange.question(&url, "t").send().await.unwrap()).await;
    assert_eq!(refused, Code::IntrospectionUnavailable);
    assert!(issuer.questions().is_empty());
}

#[tokio::test]
async fn only_the_gate_itself_may_ask() {
    let issuer = FakeIssuer::saying(200, ACTIVE).await;
    let exchange = Exchange::with(&issuer).await;
    type Change = fn(&mut Assertion);
    let changes: [(Change, Code); 6] = [
        (|claims| claims.sub = "owner".to_owned(), Code::AssertionInvalid),
        (|claims| claims.sub = "KOMBI-GATE".to_owned(), Code::AssertionInvalid),
        (|claims| claims.aud = "backend".to_owned(), Code::AssertionInvalid),
        (|claims| claims.htm = Some("GET".to_owned()), Code::AssertionInvalid),
        (|claims| claims.htp = Some("/sso/instances/a/session".to_owned()), Code::AssertionInvalid),
        (|claims| (claims.iat, claims.exp) = (1000, 1030), Code::AssertionExpired),
    ];
    let ask = |assertion: String| {
        let to = exchange.addresses.public;
        question(&exchange.client, to, &assertion, (&issuer.url(), "t")).send()
    };
    for (change, expected) in changes {
        let mut claims = claims();
        change(&mut claims);
        let refused = ask(exchange.gate.sign(&claims)).await.unwrap();
        assert_eq!(code(refused).await, expected, "{claims:?}");
    }
    let foreign = ask(Gate::new(2).sign(&claims())).await.unwrap();
    assert_eq!(code(foreign).await, Code::AssertionInvalid);
    let bare = exchange.client.post(format!("http://{}{PATH}", exchange.addresses.public));
    assert_eq!(code(bare.send().await.unwrap()).await, Code::AssertionMissing);
    assert!(issuer.questions().is_empty());
    // And with its own assertion the gate opens nothing else.
    let refused = exchange.present(&exchange.gate.sign(&claims()), "lab").await;
    assert_eq!(code(refused).await, Code::AssertionInvalid);
}

#[tokio::test]
async fn an_assertion_of_the_gate_is_good_for_more_than_one_question() {
    let issuer = FakeIssuer::saying(200, ACTIVE).await;
    let exchange = Exchange::with(&issuer).await;
    let assertion = exchange.gate.sign(&claims());
    for token in ["a", "b"] {
        let to = exchange.addresses.public;
        let asked = question(&exchange.client, to, &assertion, (&issuer.url(), token));
        assert_eq!(asked.send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn an_issuer_that_is_not_configured_has_its_own_code() {
    let issuer = FakeIssuer::saying(200, ACTIVE).await;
    let without = Exchange::start().await;
    let refused = refusal(without.introspect(&issuer, "t").await).await;
    assert_eq!((refused.code, refused.status), (Code::IntrospectionNotConfigured, 501));
    let exchange = Exchange::with(&issuer).await;
    for other in [format!("{}/", issuer.url()), "https://id.example".to_owned(), String::new()] {
        let refused = refusal(exchange.question(&other, "t").send().await.unwrap()).await;
        assert_eq!(refused.code, Code::IntrospectionNotConfigured, "{other}");
        assert!(!refused.detail.contains(&issuer.url()), "{}", refused.detail);
    }
    assert!(issuer.questions().is_empty());
}

#[tokio::test]
async fn what_is_not_a_question_is_refused_before_anybody_is_asked() {
    let issuer = FakeIssuer::saying(200, ACTIVE).await;
    let exchange = Exchange::with(&issuer).await;
    let assertion = exchange.gate.sign(&claims());
    let to = exchange.addresses.public;
    for question in [
        String::new(),
        "{}".to_owned(),
        value!({"issuer": issuer.url(), "token": ""}).to_string(),
        value!({"issuer": issuer.url(), "token": "two words"}).to_string(),
        value!({"issuer": issuer.url(), "token": "t".repeat(8193)}).to_string(),
        "x".repeat(MAX_BYTES + 1),
    ] {
        let asked = asking(&exchange.client, to, &assertion, question.as_bytes());
        let refused = asked.send().await.unwrap();
        assert_eq!(code(refused).await, Code::QuestionMalformed, "{question}");
    }
    let twice = exchange.question(&issuer.url(), "t").header(header::QUESTION, "e30");
    let padded = exchange.client.post(format!("http://{to}{PATH}"));
    let padded = padded.header(header::ASSERTION, &assertion).header(header::QUESTION, "e30=");
    for refused in [twice, padded] {
        assert_eq!(code(refused.send().await.unwrap()).await, Code::QuestionMalformed);
    }
    let large = exchange.question(&issuer.url(), "t").body("x".repeat(16 * 1024 + 1));
    assert_eq!(code(large.send().await.unwrap()).await, Code::BodyTooLarge);
    let url = format!("http://{}{PATH}", exchange.addresses.public);
    let got = exchange.client.get(url).send().await.unwrap();
    assert_eq!(code(got).await, Code::MethodNotAllowed);
    assert!(issuer.questions().is_empty());
}
