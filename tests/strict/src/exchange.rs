//! The exchange as the filter's dispatches see it: it answers about opaque tokens, and
//! misbehaves on order. It takes no question that the real one would refuse.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation};
use kombi_spec::{
    assertion::{Assertion, EXCHANGE_AUDIENCE, ISSUER},
    header,
    introspection::{IntrospectionAnswer, IntrospectionRequest, PATH, SUBJECT},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    issuer::Behaviour,
    peers::{Answer, Call, Peers},
};

/// Where it listens.
pub const ADDRESS: &str = "127.0.0.1:8030";

/// What the gate signs with: the key pair of RFC 8037 appendix A.
pub const SIGNING_KEY: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC_KEY: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

/// An exchange. Clones are the same exchange, so a test keeps one while a node has the other.
#[derive(Clone, Default)]
pub struct Exchange(Rc<RefCell<State>>);

struct State {
    tokens: BTreeMap<String, Value>,
    behaviour: Behaviour,
    cache_for_s: u64,
    delay_ms: u64,
    questions: Vec<String>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            tokens: BTreeMap::new(),
            behaviour: Behaviour::Honest,
            cache_for_s: 60,
            delay_ms: 5,
            questions: Vec::new(),
        }
    }
}

impl Exchange {
    /// `token` is active from now on, and says `claims`.
    pub fn know(&self, token: &str, claims: Value) {
        self.0.borrow_mut().tokens.insert(token.to_owned(), claims);
    }

    /// `token` is not active any more.
    pub fn forget(&self, token: &str) {
        self.0.borrow_mut().tokens.remove(token);
    }

    /// How it answers from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.0.borrow_mut().behaviour = behaviour;
    }

    /// For how long its answers about active tokens hold from now on, in seconds.
    pub fn cache_for(&self, s: u64) {
        self.0.borrow_mut().cache_for_s = s;
    }

    /// How long it takes for an answer from now on, in milliseconds.
    pub fn delay(&self, ms: u64) {
        self.0.borrow_mut().delay_ms = ms;
    }

    /// The tokens that it was asked about so far, oldest first.
    #[must_use]
    pub fn questions(&self) -> Vec<String> {
        self.0.borrow().questions.clone()
    }

    /// What a route's configuration says to use it for the tokens of `issuer`.
    #[must_use]
    pub fn route(&self, issuer: &str) -> Value {
        json!({
            "exchange": {"url": format!("http://{ADDRESS}"), "signing_key": SIGNING_KEY},
            "opaque_tokens_from": issuer,
        })
    }
}

/// Peers of which `exchange` is the exchange, and `others` are everybody else.
pub fn beside(mut exchange: impl Peers, mut others: impl Peers) -> impl Peers {
    move |call: &Call| {
        if call.target == ADDRESS { exchange.answer(call) } else { others.answer(call) }
    }
}

impl Peers for Exchange {
    fn answer(&mut self, call: &Call) -> Answer {
        vouched(call, PATH);
        let question: IntrospectionRequest = question(call);
        let mut state = self.0.borrow_mut();
        let claims = state.tokens.get(&question.token).cloned();
        state.questions.push(question.token);
        let cache_for_s = if claims.is_some() { state.cache_for_s } else { 10 };
        let said = IntrospectionAnswer { active: claims.is_some(), claims, cache_for_s };
        let said = serde_json::to_vec(&said).unwrap_or_default();
        let answer = match &state.behaviour {
            Behaviour::Honest => Answer::reply(200, said),
            Behaviour::Status(status) => Answer::reply(*status, "{}"),
            Behaviour::Fails(failure) => Answer::failure(*failure),
            // The whole answer, which only the lack of an end tells from a good one.
            Behaviour::Stalls => Answer::stall(said),
            Behaviour::Says(bytes) => Answer::reply(200, bytes.clone()),
        };
        answer.after(state.delay_ms)
    }
}

/// Checks that `call` is one of the gate itself that tells something at `path`, as the real
/// exchange would.
///
/// # Panics
/// If it is not.
pub fn check(call: &Call, path: &str) {
    assert_eq!(call.headers.text("content-type"), Some("application/json"));
    vouched(call, path);
}

fn vouched(call: &Call, path: &str) {
    assert_eq!((call.method(), call.path()), ("POST", path));
    assert_eq!((call.target.as_str(), call.authority(), call.tls()), (ADDRESS, ADDRESS, false));
    let assertion = call.headers.text(header::ASSERTION).unwrap_or_default();
    let mut validation = Validation::new(jsonwebtoken::Algorithm::EdDSA);
    validation.set_audience(&[EXCHANGE_AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    // The clock is the test's.
    validation.validate_exp = false;
    let claims = DecodingKey::from_ed_components(PUBLIC_KEY)
        .and_then(|key| jsonwebtoken::decode::<Assertion>(assertion, &key, &validation))
        .map(|decoded| decoded.claims);
    let claims = match claims {
        Ok(claims) => claims,
        Err(error) => panic!("the assertion is refused: {error}"),
    };
    assert_eq!(claims.sub, SUBJECT);
    assert_eq!((claims.htm.as_deref(), claims.htp.as_deref()), (Some("POST"), Some(path)));
    let now_s = call.made_at_ms / 1000;
    assert!(claims.iat <= now_s && now_s < claims.exp, "{claims:?} at {now_s}");
}

/// The question that the filter asks.
///
/// # Panics
/// If it is none.
pub fn question<Question: DeserializeOwned>(call: &Call) -> Question {
    assert!(call.body.is_empty(), "a question has no body");
    let asked = call.headers.text(header::QUESTION).unwrap_or_default();
    let read = BASE64_URL_SAFE_NO_PAD.decode(asked).map(|json| serde_json::from_slice(&json));
    match read {
        Ok(Ok(question)) => question,
        other => panic!("the question is not one: {:?}", other.map(Result::err)),
    }
}
