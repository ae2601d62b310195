//! A gateway: its workers, what they share, and the test's hold on time and events.

use std::{cell::RefCell, collections::VecDeque, rc::Rc};

use wasmtime::{Linker, Result};

use crate::{
    clock::Clock,
    filter::Filter,
    host::{Host, Settings},
    outcome::Outcome,
    peers::{Call, Delivery, Nobody, Peers},
    request::Request,
    route::{Configuration, Route},
    rule::{Rule, Violation},
    vm::{self, Metrics, Shared, Vm},
    zone::Zone,
};

pub use crate::vm::LogLine;

mod events;
mod flow;
mod worker;

use flow::Flow;
use worker::Worker;

/// Longest that [`Node::send`] waits for the end of a request, in milliseconds.
const PATIENCE_MS: u64 = 60_000;

/// A node that is yet to start.
pub struct Builder {
    filter: Filter,
    settings: Settings,
    clock: Clock,
    workers: usize,
    routes: Vec<Route>,
    peers: Box<dyn Peers>,
    order: Order,
    collects: bool,
}

/// Which of the events that are due at the same moment comes first.
#[derive(Debug, Clone)]
pub enum Order {
    /// The oldest.
    Oldest,
    /// The youngest.
    Youngest,
    /// Any; the seed decides.
    Any(u64),
}

/// A request's number on its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(usize);

/// A running node.
pub struct Node {
    filter: Filter,
    linker: Linker<Vm>,
    shared: Rc<RefCell<Shared>>,
    host: Host,
    workers: Vec<Worker>,
    routes: Vec<Route>,
    peers: Box<dyn Peers>,
    scheduled: Vec<Scheduled>,
    flows: Vec<Flow>,
    /// Requests that have no outcome yet.
    open: Vec<usize>,
    calls: Vec<Call>,
    order: Order,
    random: fastrand::Rng,
    collects: bool,
}

/// An answer on its way.
struct Scheduled {
    call: Call,
    due_ms: u64,
    delivery: Delivery,
}

impl Builder {
    /// A route with the filter on it: requests whose path begins with `prefix`.
    #[must_use]
    pub fn route(mut self, prefix: &str, configuration: serde_json::Value) -> Self {
        self.routes.push(Route {
            prefix: prefix.to_owned(),
            configuration: Configuration::Json(configuration),
        });
        self
    }

    /// A route whose configuration is `bytes`, whatever they are.
    #[must_use]
    pub fn route_with_bytes(mut self, prefix: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.routes.push(Route {
            prefix: prefix.to_owned(),
            configuration: Configuration::Bytes(bytes.into()),
        });
        self
    }

    /// How many workers; one, if nobody says.
    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Who answers dispatches; nobody, if nobody says.
    #[must_use]
    pub fn peers(mut self, peers: impl Peers + 'static) -> Self {
        self.peers = Box::new(peers);
        self
    }

    /// The order of events that are due together; the oldest first, if nobody says.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// What the operator has set up; see [`Settings::of`].
    #[must_use]
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Runs on `clock`, which others can share.
    #[must_use]
    pub fn clock(mut self, clock: &Clock) -> Self {
        self.clock = clock.clone();
        self
    }

    /// Collects broken rules for [`Node::take_violations`] instead of panicking.
    #[must_use]
    pub fn collecting_violations(mut self) -> Self {
        self.collects = true;
        self
    }

    /// Starts the workers: each makes an instance and configures every route on it.
    ///
    /// # Panics
    /// If the filter breaks a rule, unless violations are collected.
    #[must_use]
    pub fn start(self) -> Node {
        self.try_start().unwrap_or_else(|error| panic!("the node cannot start: {error:#}"))
    }

    fn try_start(self) -> Result<Node> {
        let host = self.settings.host;
        let zone = match (host, self.settings.zone_bytes) {
            (Host::Kong, None) => None,
            (_, bytes) => Some(Zone::new(host, bytes.unwrap_or_default())),
        };
        let seed = self.settings.seed;
        let mut linker = vm::linker(self.filter.module.engine())?;
        linker.define_unknown_imports_as_traps(&self.filter.module)?;
        let shared = Shared {
            settings: self.settings,
            clock: self.clock,
            zone,
            metrics: Metrics::default(),
            logs: Vec::new(),
            violations: Vec::new(),
            trail: VecDeque::new(),
            next_token: 1,
            refuse_dispatch: None,
        };
        let mut node = Node {
            filter: self.filter,
            linker,
            shared: Rc::new(RefCell::new(shared)),
            host,
            workers: Vec::new(),
            routes: self.routes,
            peers: self.peers,
            scheduled: Vec::new(),
            flows: Vec::new(),
            open: Vec::new(),
            calls: Vec::new(),
            random: fastrand::Rng::with_seed(match self.order {
                Order::Any(seed) => seed,
                _ => seed,
            }),
            order: self.order,
            collects: self.collects,
        };
        if host == Host::Kong && node.filter.name.contains('-') {
            node.object(Rule::FilterName, format!("the module is called {}", node.filter.name));
        }
        for index in 0..self.workers.max(1) {
            node.workers.push(Worker::new(index));
            node.start_instance(index);
        }
        node.judge();
        Ok(node)
    }
}

impl Node {
    /// A node of `host` with `filter`, set up as the product's configuration says.
    #[must_use]
    pub fn of(filter: &Filter, host: Host) -> Builder {
        Builder {
            filter: filter.clone(),
            settings: Settings::of(host),
            clock: Clock::default(),
            workers: 1,
            routes: Vec::new(),
            peers: Box::new(Nobody),
            order: Order::Oldest,
            collects: false,
        }
    }

    /// A Kong with the gate.
    #[must_use]
    pub fn kong() -> Builder {
        Self::of(&Filter::gate(), Host::Kong)
    }

    /// An Envoy with the gate.
    #[must_use]
    pub fn envoy() -> Builder {
        Self::of(&Filter::gate(), Host::Envoy)
    }

    /// A request arrives at `worker`, and gets as far as it can without waiting.
    pub fn begin(&mut self, worker: usize, request: Request) -> RequestId {
        let id = self.enter(worker, request);
        self.judge();
        RequestId(id)
    }

    /// Sends a request to the first worker and waits for its end.
    pub fn send(&mut self, request: Request) -> Outcome {
        self.send_to(0, request)
    }

    /// Sends a request to `worker` and waits for its end, at most a minute of the node's time.
    ///
    /// # Panics
    /// If a rule is broken, or there is no end.
    pub fn send_to(&mut self, worker: usize, request: Request) -> Outcome {
        let id = self.begin(worker, request);
        let deadline = self.now_ms() + PATIENCE_MS;
        loop {
            if let Some(outcome) = self.outcome(id) {
                return outcome.clone();
            }
            let next = self.next_event_ms().filter(|next| *next <= deadline);
            let Some(next) = next else { break };
            self.advance(next.saturating_sub(self.now_ms()));
        }
        self.object(Rule::Hang, "a request was still paused after a minute".to_owned());
        self.judge();
        Outcome::CutOff
    }

    /// What became of a request; nothing yet, while it is paused.
    #[must_use]
    pub fn outcome(&self, id: RequestId) -> Option<&Outcome> {
        self.flows.get(id.0).and_then(|flow| flow.outcome.as_ref())
    }

    /// How many instructions the filter has spent on a request so far. The same work costs the
    /// same in every run, so costs can be compared; they are no measure of time.
    #[must_use]
    pub fn instructions(&self, id: RequestId) -> u64 {
        self.flows.get(id.0).map_or(0, |flow| flow.instructions)
    }

    /// The client of a request goes away while it is paused.
    pub fn leave(&mut self, id: RequestId) {
        self.abandon(id.0);
        self.judge();
    }

    /// Lets `ms` milliseconds pass, with everything that falls due in them. Zero: what is due now.
    pub fn advance(&mut self, ms: u64) {
        self.pass_time(ms);
        self.judge();
    }

    /// Sets the clock to another moment, maybe an earlier one, without anything falling due in
    /// between: the machine's clock was corrected.
    pub fn jump_to(&mut self, ms: u64) {
        let clock = self.shared.borrow().clock.clone();
        let before = clock.now_ms();
        clock.set(ms);
        // Ticks and answers come after so much time as before, whatever the clock says.
        self.shift_events(before, ms);
    }

    /// A change by the Admin API: the route gets a new root context, and the old one ticks on.
    ///
    /// # Panics
    /// If there is no route with this prefix, or the filter breaks a rule.
    pub fn reconfigure(&mut self, prefix: &str, configuration: serde_json::Value) {
        let Some(index) = self.routes.iter().position(|route| route.prefix == prefix) else {
            panic!("there is no route {prefix}");
        };
        if let Some(route) = self.routes.get_mut(index) {
            route.configuration = Configuration::Json(configuration);
        }
        for worker in 0..self.workers.len() {
            self.configure_route(worker, index);
        }
        self.judge();
    }

    /// `kong reload`: new instances in all workers. Requests under way are cut off.
    pub fn reload(&mut self) {
        for worker in 0..self.workers.len() {
            self.drop_instance(worker);
            self.start_instance(worker);
        }
        self.judge();
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.shared.borrow().clock.now_ms()
    }

    /// Whole seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }

    /// All dispatches so far, oldest first.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// How many answers are on their way.
    #[must_use]
    pub fn calls_under_way(&self) -> usize {
        self.scheduled.len()
    }

    /// From now on every dispatch is refused with this status of the ABI, or no longer.
    pub fn refuse_dispatches(&mut self, status: Option<u32>) {
        self.shared.borrow_mut().refuse_dispatch = status;
    }

    /// All lines that the filter has logged since this was last asked.
    pub fn take_logs(&mut self) -> Vec<LogLine> {
        std::mem::take(&mut self.shared.borrow_mut().logs)
    }

    /// The value of a metric; of a histogram, how often it was recorded to.
    #[must_use]
    pub fn metric(&self, name: &str) -> Option<u64> {
        let shared = self.shared.borrow();
        shared.metrics.values().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// All metrics.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, u64)> {
        let shared = self.shared.borrow();
        shared.metrics.values().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Looks at the shared zone, or changes it as something else on the node might.
    pub fn with_zone<T>(&mut self, f: impl FnOnce(&mut Zone) -> T) -> Option<T> {
        self.shared.borrow_mut().zone.as_mut().map(f)
    }

    /// How much memory the instance of `worker` has, in bytes.
    #[must_use]
    pub fn memory_bytes(&mut self, worker: usize) -> usize {
        self.workers.get_mut(worker).map_or(0, Worker::memory_bytes)
    }

    /// How many instances were started so far, over all workers; each trap costs one.
    #[must_use]
    pub fn instances_started(&self) -> usize {
        self.workers.iter().map(|worker| worker.starts).sum()
    }

    /// The rules broken since this was last asked.
    pub fn take_violations(&mut self) -> Vec<Violation> {
        std::mem::take(&mut self.shared.borrow_mut().violations)
    }

    /// What happened lately, oldest first.
    #[must_use]
    pub fn trail(&self) -> Vec<String> {
        self.shared.borrow().trail.iter().cloned().collect()
    }

    fn object(&self, rule: Rule, what: String) {
        let mut shared = self.shared.borrow_mut();
        shared.led(format!("!! {rule:?}: {what}"));
        let trail = shared.trail.iter().cloned().collect();
        shared.violations.push(Violation { rule, what, within: "the node".to_owned(), trail });
    }

    /// Fails the test if a rule was broken.
    fn judge(&mut self) {
        if self.collects || std::thread::panicking() {
            return;
        }
        if let Some(first) = self.take_violations().first() {
            panic!("the filter broke a rule of its host\n{first}");
        }
    }
}
