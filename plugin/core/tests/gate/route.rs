//! A route behind the gate, and requests to it.

use std::{cell::RefCell, rc::Rc};

use kombi_gate_core::{
    config::KeyTerms,
    fetch::Fetched,
    gate::{Gate, Passage},
    jwks::KeySet,
    refusal::{Refusal, Reply},
    request::{Fields, Head},
    step::{Forward, Step},
    time::UnixTime,
    worker::{Moment, Worker},
};
use kombi_spec::code::Code;
use serde_json::{Value, json};

use crate::issuer::{self, Key, NOW_S, PROJECT};

/// A seed for assertions: RFC 8037 appendix A.1.
pub(crate) const SIGNING_KEY: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

/// A configured route, with the keys of its issuers.
pub(crate) struct Route {
    gate: Rc<Gate>,
    worker: RefCell<Worker>,
}

impl Route {
    /// A route with the ordinary issuer and key, and more configuration.
    pub(crate) fn new(more: &Value) -> Self {
        let mut configuration = json!({"issuers": [{
            "issuer": issuer::URL,
            "audiences": [PROJECT],
            "algorithms": ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"],
            "project": PROJECT,
        }]});
        for (name, value) in more.as_object().unwrap() {
            configuration[name] = value.clone();
        }
        Self::with_keys(&configuration, &[(issuer::URL, &[issuer::key()])])
    }

    /// The ordinary route whose issuer has these keys.
    pub(crate) fn with_issuers_keys(keys: &[Key]) -> Self {
        let mut route = Self::new(&json!({}));
        route.publish(issuer::URL, keys);
        route
    }

    /// A route with any configuration and issuers.
    pub(crate) fn with_keys(configuration: &Value, issuers: &[(&str, &[Key])]) -> Self {
        let gate = Rc::new(Gate::new(configuration.to_string().as_bytes()));
        let mut route = Self { gate, worker: RefCell::default() };
        for (url, keys) in issuers {
            route.publish(url, keys);
        }
        route
    }

    fn publish(&mut self, url: &str, keys: &[Key]) {
        let keys: Vec<Value> = keys.iter().map(Key::public).collect();
        let document = json!({ "keys": keys }).to_string().into_bytes();
        let keys = KeySet::parse(&document).unwrap();
        // Any worker's claim will do, so that keys can take the place of others at once.
        let claim = Worker::default().keys.tend(url, None, now()).unwrap();
        let fetched = Fetched { keys, document, fresh_for: None };
        let terms = KeyTerms::default();
        self.worker.get_mut().keys.settle(&claim, Ok(fetched), &terms, None, now());
    }

    /// A request at its beginning, and what becomes of it.
    pub(crate) fn begin(&self, head: Head) -> (Passage, Step) {
        let worker = &mut self.worker.borrow_mut();
        let mut moment = Moment { worker, zone: None, now: now() };
        Passage::begin(Rc::clone(&self.gate), head, &mut moment)
    }

    /// What becomes of a request.
    pub(crate) fn send(&self, head: Head) -> Step {
        self.begin(head).1
    }

    /// What becomes of a GET with this token.
    pub(crate) fn get(&self, token: &str) -> Step {
        self.send(request("GET", &[("authorization", &format!("Bearer {token}"))]))
    }

    /// The code of the refusal of a GET with this token, if it is refused.
    pub(crate) fn code(&self, token: &str) -> Option<Code> {
        code(&self.get(token))
    }

    /// The code of the refusal of a request with ordinary claims and `roles`, if it is refused.
    pub(crate) fn code_for(&self, method: &str, roles: &[&str]) -> Option<Code> {
        let token = issuer::key().token(&issuer::with_roles(roles));
        let authorization = format!("Bearer {token}");
        code(&self.send(request(method, &[("authorization", &authorization)])))
    }
}

pub(crate) fn now() -> UnixTime {
    UnixTime::from_secs(NOW_S)
}

/// A request with these headers.
pub(crate) fn request(method: &str, headers: &[(&str, &str)]) -> Head {
    let mut fields = vec![(":method", method), (":path", "/x")];
    fields.extend(headers);
    Head::read(Fields::new(&fields), Some("r1".to_owned())).unwrap()
}

pub(crate) fn code(step: &Step) -> Option<Code> {
    match step {
        Step::Forward(_) | Step::Answer(_) | Step::Body => None,
        Step::Reply(reply) => Some(reply.refusal.code),
        // No key is known for the token, and the issuer would be asked.
        Step::Call(_) | Step::Wait => Some(Code::KeyUnknown),
    }
}

pub(crate) fn forwarded(step: Step) -> Forward {
    match step {
        Step::Forward(forward) => forward,
        other => panic!("not forwarded: {other:?}"),
    }
}

pub(crate) fn refused(step: Step) -> Reply {
    match step {
        Step::Reply(reply) => reply,
        other => panic!("not refused: {other:?}"),
    }
}

/// The value that the upstream sees of a header set by the gate.
pub(crate) fn header<'a>(forward: &'a Forward, name: &str) -> Option<&'a str> {
    let mut set =
        forward.identity.iter().flat_map(|headers| headers.iter()).chain(&forward.headers);
    set.find(|header| header.name == name).map(|header| header.value.as_str())
}

/// Why the request would not have passed.
pub(crate) fn would_refuse(forward: &Forward) -> Option<Code> {
    forward.would_refuse.as_ref().map(|Refusal { code, .. }| *code)
}
