//! One configured route: reads its configuration, keeps its issuers' keys fresh, reports what was
//! used of shared limits, and resumes requests that wait for keys where the host allows it.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::{Rc, Weak},
    time::Duration,
};

use kombi_gate_core::{
    fetch::{KeyFetch, Progress},
    gate::Gate,
    keys::Claim,
    limit::lease::Sent,
    step::{HttpCall, HttpOutcome},
    time::UnixTime,
};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext, RootContext},
    types::{BufferType, ContextType},
};

use crate::{
    host, log,
    request::{Request, Route, State, Woken, not_made},
    worker,
};

/// How often to look whether keys are due. A fetch takes two ticks, and the first request should
/// find the keys there.
const TICK: Duration = Duration::from_millis(250);

/// The root context of one configured route.
pub(crate) struct Root {
    context_id: u32,
    route: Option<Rc<Route>>,
    /// Calls under way, by their token.
    calls: BTreeMap<u32, Caller>,
    /// Fetches that go on at the next tick: a call made from the callback of a root context's
    /// call kills the worker on Kong, which has freed the connection it would use.
    due: Vec<(Claim, KeyFetch, HttpCall)>,
    tended_at: Option<UnixTime>,
    /// Whether the tick is as fast as requests that wait for it want it.
    fast: Cell<bool>,
}

/// For whom a call is made.
enum Caller {
    /// For nobody in particular: keys are due.
    Keys(Claim, KeyFetch),
    /// For the node: what it used of shared limits.
    Leases(Sent),
    /// For a request that waited for the tick.
    Request(Weak<RefCell<State>>),
    /// For the ledger.
    Ledger,
}

impl Root {
    pub(crate) fn new(context_id: u32) -> Self {
        Self {
            context_id,
            route: None,
            calls: BTreeMap::new(),
            due: Vec::new(),
            tended_at: None,
            fast: Cell::new(false),
        }
    }

    /// Fetches the keys that are due, at most once in a while.
    fn tend(&mut self, gate: &Gate) {
        let now = host::now();
        if self.tended_at.is_some_and(|at| now.since(at) < TICK / 2 && now >= at) {
            return;
        }
        self.tended_at = Some(now);
        worker::with_moment(|moment| {
            moment.worker.limits.tend(moment.zone);
            moment.worker.leases.tend(moment.zone);
        });
        for issuer in gate.issuers() {
            let claim = worker::with_moment(|moment| {
                moment.worker.keys.tend(&issuer.url.text, moment.zone, moment.now)
            });
            if let Some(claim) = claim {
                let (fetch, call) = KeyFetch::begin(issuer);
                self.fetch(claim, fetch, &call);
            }
        }
        worker::publish();
    }

    fn fetch(&mut self, claim: Claim, fetch: KeyFetch, call: &HttpCall) {
        match host::dispatch(call) {
            Ok(token) => {
                self.calls.insert(token, Caller::Keys(claim, fetch));
            }
            Err(status) => self.advance(&claim, fetch, not_made(status)),
        }
    }

    /// Reports what the node used of shared limits, if no other worker does.
    fn report(&mut self, gate: &Gate) {
        let Some(exchange) = gate.exchange() else { return };
        let call = worker::with_moment(|moment| {
            moment.worker.leases.call(exchange, moment.zone, moment.now)
        });
        let Some((call, sent)) = call else { return };
        match host::dispatch(&call) {
            Ok(token) => {
                self.calls.insert(token, Caller::Leases(sent));
            }
            Err(status) => reported(&sent, not_made(status)),
        }
    }

    fn advance(&mut self, claim: &Claim, mut fetch: KeyFetch, outcome: HttpOutcome) {
        let Some(route) = self.route.clone() else { return };
        let Some(terms) = route.gate.key_terms() else { return };
        match fetch.advance(outcome) {
            Ok(Progress::Call(call)) => self.due.push((claim.clone(), fetch, call)),
            Ok(Progress::Done(fetched)) => {
                worker::with_moment(|moment| moment.settle(claim, Ok(fetched), terms));
            }
            Err(error) => {
                log::keys_not_refreshed(claim.issuer(), &error);
                worker::with_moment(|moment| moment.settle(claim, Err(&error), terms));
            }
        }
    }

    /// Tells the ledger what has ended.
    fn settle(&mut self, gate: &Gate) {
        let Some(exchange) = gate.ledger() else { return };
        let call = worker::with_moment(|moment| {
            moment.worker.outbox.send(exchange, moment.zone, moment.now)
        });
        match call.as_ref().map(host::dispatch) {
            Some(Ok(token)) => {
                self.calls.insert(token, Caller::Ledger);
            }
            Some(Err(status)) => settled(not_made(status)),
            None => {}
        }
    }

    /// Lets the requests that wait for the tick look again.
    fn wake(&mut self) {
        for request in worker::take_waiting() {
            let woken = request.borrow_mut().wake(self.context_id);
            self.go_on(&request, woken);
        }
    }

    fn go_on(&mut self, request: &Rc<RefCell<State>>, mut woken: Woken) {
        loop {
            match woken {
                Woken::Decided => return,
                Woken::Waits => return worker::wait_for_tick(request),
                Woken::Call(call) => match host::dispatch(&call) {
                    Ok(token) => {
                        self.calls.insert(token, Caller::Request(Rc::downgrade(request)));
                        return;
                    }
                    Err(status) => {
                        let mut state = request.borrow_mut();
                        woken = state.resume_from_root(not_made(status), self.context_id);
                    }
                },
            }
        }
    }
}

/// A report of shared limits has ended.
fn reported(sent: &Sent, outcome: HttpOutcome) {
    let news =
        worker::with_moment(|moment| moment.worker.leases.settle(sent, outcome, moment.zone));
    log::shared_limits(&news);
}

impl RootContext for Root {
    /// Always true: Kong leaves a filter that refuses its configuration out of the chain, and
    /// then everything passes. The gate itself refuses everything instead.
    fn on_configure(&mut self, _size: usize) -> bool {
        let configuration = hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX);
        let gate = Gate::new(&configuration.ok().flatten().unwrap_or_default());
        if let Some(error) = gate.unusable() {
            log::configuration_unusable(error);
        }
        if gate.needs_tick() {
            // Without a tick, keys are fetched when a request needs them.
            let _ = hostcalls::set_tick_period(TICK);
        }
        self.route = Some(Rc::new(Route::new(gate)));
        true
    }

    fn on_tick(&mut self) {
        let Some(route) = self.route.clone() else { return };
        for (claim, fetch, call) in std::mem::take(&mut self.due) {
            self.fetch(claim, fetch, &call);
        }
        // Until a request has found out what this host has, nothing is fetched: no worker would
        // know of the others.
        if host::is_known() {
            self.tend(&route.gate);
            self.report(&route.gate);
            self.settle(&route.gate);
            self.wake();
        }
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        if host::tick_resumes() && !self.fast.replace(true) {
            // Without it, requests that wait are resumed a little later.
            let _ = hostcalls::set_tick_period(host::FAST_TICK);
        }
        // An empty configuration is unusable, so a route that was never configured refuses.
        let route = self.route.clone().unwrap_or_else(|| Rc::new(Route::new(Gate::new(b""))));
        Some(Box::new(Request::new(route, context_id)))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Root {
    fn on_http_call_response(
        &mut self,
        token: u32,
        header_count: usize,
        body_size: usize,
        _trailer_count: usize,
    ) {
        let outcome = host::call_outcome(header_count, body_size);
        match self.calls.remove(&token) {
            Some(Caller::Keys(claim, fetch)) => self.advance(&claim, fetch, outcome),
            Some(Caller::Leases(sent)) => reported(&sent, outcome),
            Some(Caller::Request(request)) => {
                if let Some(request) = request.upgrade() {
                    let woken = request.borrow_mut().resume_from_root(outcome, self.context_id);
                    self.go_on(&request, woken);
                }
            }
            Some(Caller::Ledger) => settled(outcome),
            None => {}
        }
    }
}

/// The call to the ledger has ended.
fn settled(outcome: HttpOutcome) {
    let (told, waiting) = worker::with_moment(|moment| {
        let told = moment.worker.outbox.sent(outcome, moment.zone, moment.now);
        (told, moment.worker.outbox.len())
    });
    if let Err(error) = told {
        log::usage_not_told(waiting, &error);
    }
}
