//! The exchange as the filter's reports about shared limits see it: its own rules at the test's
//! time, and it misbehaves on order.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use kombi_exchange::leases::quota::{Moment, Quota};
use kombi_spec::lease::{LeaseAnswer, LeaseReport, PATH};
use kombi_strict_host::{
    clock::START_MS,
    exchange::{self, ADDRESS, SIGNING_KEY},
    issuer::Behaviour,
    peers::{Answer, Call, Peers},
};
use serde_json::{Value, json};

/// Changes an answer on its way.
pub(crate) type Forgery = fn(&mut LeaseAnswer);

/// The desk where nodes report. Clones are the same desk.
#[derive(Clone)]
pub(crate) struct Desk(Rc<RefCell<State>>);

struct State {
    quotas: BTreeMap<(String, String), Quota>,
    behaviour: Behaviour,
    forgery: Option<Forgery>,
    delay_ms: u64,
    /// By how much its own clock is ahead of the node's.
    ahead_ms: i64,
    reports: Vec<LeaseReport>,
}

impl Default for Desk {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(State {
            quotas: BTreeMap::new(),
            behaviour: Behaviour::Honest,
            forgery: None,
            delay_ms: 5,
            ahead_ms: 0,
            reports: Vec::new(),
        })))
    }
}

impl Desk {
    /// How it answers from now on.
    pub(crate) fn behave(&self, behaviour: Behaviour) {
        self.0.borrow_mut().behaviour = behaviour;
    }

    /// What happens to its answers from now on.
    pub(crate) fn forge(&self, forgery: Option<Forgery>) {
        self.0.borrow_mut().forgery = forgery;
    }

    /// How long it takes for an answer from now on, in milliseconds.
    pub(crate) fn delay(&self, ms: u64) {
        self.0.borrow_mut().delay_ms = ms;
    }

    /// The node's clock was set by so many milliseconds, and this one's was not.
    pub(crate) fn stays_behind(&self, ms: i64) {
        self.0.borrow_mut().ahead_ms -= ms;
    }

    /// The reports so far, oldest first.
    pub(crate) fn reports(&self) -> Vec<LeaseReport> {
        self.0.borrow().reports.clone()
    }
}

/// What a route's configuration says to use it.
pub(crate) fn route() -> Value {
    json!({"exchange": {"url": format!("http://{ADDRESS}"), "signing_key": SIGNING_KEY}})
}

impl State {
    fn settle(&mut self, report: &LeaseReport, now: u64) -> LeaseAnswer {
        let mut shares = Vec::new();
        for holding in &report.holdings {
            let name = (holding.rule.clone(), holding.key.clone());
            let quota = self.quotas.entry(name).or_insert_with(|| Quota::untouched(holding, now));
            // It has been there for a minute, and forgets nothing.
            let moment = Moment { now, born_at: START_MS - 60_000, lost_at: None, known: true };
            shares.push(quota.report(&report.node, holding, moment));
        }
        let mut answer = LeaseAnswer { memory: "m1".to_owned(), shares };
        if let Some(forge) = self.forgery {
            forge(&mut answer);
        }
        answer
    }
}

impl Peers for Desk {
    fn answer(&mut self, call: &Call) -> Answer {
        exchange::check(call, PATH);
        assert!(call.from_root, "a request asks for a lease");
        let report: LeaseReport = serde_json::from_slice(&call.body).unwrap();
        let mut state = self.0.borrow_mut();
        state.reports.push(report.clone());
        let now = call.made_at_ms.saturating_add_signed(state.ahead_ms);
        let answer = match state.behaviour.clone() {
            Behaviour::Honest => {
                let said = state.settle(&report, now);
                Answer::reply(200, serde_json::to_vec(&said).unwrap())
            }
            Behaviour::Status(status) => Answer::reply(status, "{}"),
            Behaviour::Fails(failure) => Answer::failure(failure),
            Behaviour::Stalls => {
                // The whole answer, which only the lack of an end tells from a good one.
                let said = state.settle(&report, now);
                Answer::stall(serde_json::to_vec(&said).unwrap())
            }
            Behaviour::Says(bytes) => Answer::reply(200, bytes),
        };
        answer.after(state.delay_ms)
    }
}
