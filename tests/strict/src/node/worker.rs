//! A worker: one instance of the module, with all root and request contexts in its memory.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use wasmtime::{Instance, Store, Trap, Val};

use super::{Node, Scheduled};
use crate::{
    headers::Headers,
    host::{Host, WAITING_ROOM},
    outcome::Outcome,
    peers::{Answer, Call, Delivery, Failure, What},
    rule::Rule,
    vm::{Frame, Phase, Root, Shared, Stop, Vm},
};

/// The most instructions that one callback may take: about a second.
const FUEL: u64 = 3_000_000_000;

/// A worker process.
pub(super) struct Worker {
    index: usize,
    instance: Option<(Store<Vm>, Instance)>,
    /// The root context of each route; a route without one is open.
    pub(super) roots: BTreeMap<usize, u32>,
    next_context: u32,
    pub(super) starts: usize,
}

/// How a callback ended.
pub(super) enum Called {
    /// With this result; none, if the module does not export it.
    Returned(Option<u32>),
    /// With a trap, and the instance is gone.
    Trapped,
}

impl Worker {
    pub(super) fn new(index: usize) -> Self {
        Self { index, instance: None, roots: BTreeMap::new(), next_context: 1, starts: 0 }
    }

    /// The instance's state; none while there is no instance.
    pub(super) fn vm(&mut self) -> Option<&mut Vm> {
        self.instance.as_mut().map(|(store, _)| store.data_mut())
    }

    pub(super) fn memory_bytes(&mut self) -> usize {
        self.instance.as_mut().map_or(0, |(store, instance)| {
            instance.get_memory(&mut *store, "memory").map_or(0, |memory| memory.data_size(&*store))
        })
    }

    pub(super) fn fresh_context(&mut self) -> u32 {
        let context = self.next_context;
        self.next_context += 1;
        context
    }

    fn fresh_vm(&self, shared: &Rc<RefCell<Shared>>) -> Vm {
        let (host, seed) = {
            let settings = &shared.borrow().settings;
            (settings.host, settings.seed)
        };
        let lane = u64::try_from(self.index * 1_000_003 + self.starts).unwrap_or_default();
        Vm {
            worker: self.index,
            shared: Rc::clone(shared),
            host,
            frame: None,
            effective: 0,
            roots: BTreeMap::new(),
            https: BTreeMap::new(),
            outbox: Vec::new(),
            random: fastrand::Rng::with_seed(seed.wrapping_add(lane)),
            stderr: String::new(),
        }
    }
}

impl Node {
    /// Makes an instance in `worker` and configures every route on it.
    pub(super) fn start_instance(&mut self, worker: usize) {
        let Some(slot) = self.workers.get_mut(worker) else { return };
        slot.starts += 1;
        slot.roots.clear();
        let mut store = Store::new(self.filter.module.engine(), slot.fresh_vm(&self.shared));
        let started = store.set_fuel(FUEL).and_then(|()| {
            let instance = self.linker.instantiate(&mut store, &self.filter.module)?;
            if let Some(initialize) = instance.get_func(&mut store, "_initialize") {
                initialize.call(&mut store, &[], &mut [])?;
            }
            Ok(instance)
        });
        match started {
            Ok(instance) => slot.instance = Some((store, instance)),
            Err(error) => {
                let said = store.data().stderr.clone();
                self.object(
                    Rule::FailsOpen,
                    format!("the module does not start: {error:#}\n{said}"),
                );
                return;
            }
        }
        for route in 0..self.routes.len() {
            self.configure_route(worker, route);
        }
    }

    /// Makes a root context for a route.
    pub(super) fn configure_route(&mut self, worker: usize, route: usize) {
        let Some((configuration, prefix)) = self
            .routes
            .get(route)
            .map(|route| (route.configuration.passed_by(self.host), route.prefix.clone()))
        else {
            return;
        };
        let Some(slot) = self.workers.get_mut(worker) else { return };
        let context = slot.fresh_context();
        let size = u32::try_from(configuration.len()).unwrap_or(u32::MAX);
        let Some(vm) = slot.vm() else { return };
        vm.roots.insert(context, Root { configuration, tick_ms: 0, next_tick_ms: 0 });
        for (phase, arguments) in [
            (Phase::Create, [context, 0].as_slice()),
            (Phase::Start, &[context, 0]),
            (Phase::Configure, &[context, size]),
        ] {
            match self.call(worker, phase, context, arguments, None) {
                Called::Returned(Some(0)) if phase != Phase::Create => {
                    self.object(
                        Rule::FailsOpen,
                        format!("{} returned false for the route {prefix}", phase.export()),
                    );
                    return;
                }
                Called::Returned(_) => {}
                Called::Trapped => return,
            }
        }
        if let Some(slot) = self.workers.get_mut(worker) {
            slot.roots.insert(route, context);
        }
    }

    /// Ends the instance of `worker` and everything that ran on it.
    pub(super) fn drop_instance(&mut self, worker: usize) {
        if let Some(slot) = self.workers.get_mut(worker) {
            slot.instance = None;
            slot.roots.clear();
        }
        self.scheduled.retain(|scheduled| scheduled.call.worker != worker);
        for flow in self.flows.iter_mut().filter(|flow| flow.worker == worker) {
            flow.outcome.get_or_insert(Outcome::CutOff);
        }
    }

    /// Calls the guest.
    pub(super) fn call(
        &mut self,
        worker: usize,
        phase: Phase,
        context: u32,
        arguments: &[u32],
        delivery: Option<Delivery>,
    ) -> Called {
        let Some((store, instance)) =
            self.workers.get_mut(worker).and_then(|slot| slot.instance.as_mut())
        else {
            return Called::Trapped;
        };
        let Some(function) = instance.get_func(&mut *store, phase.export()) else {
            return Called::Returned(None);
        };
        store.data().led(|| format!("{}{arguments:?}", phase.export()));
        store.data_mut().frame = Some(Frame { phase, context, delivery });
        store.data_mut().effective = context;
        let parameters: Vec<Val> =
            arguments.iter().map(|value| Val::I32(value.cast_signed())).collect();
        let mut results = vec![Val::I32(0); function.ty(&*store).results().len()];
        let done = store
            .set_fuel(FUEL)
            .and_then(|()| function.call(&mut *store, &parameters, &mut results));
        let spent = FUEL.saturating_sub(store.get_fuel().unwrap_or(FUEL));
        if let Err(error) = &done {
            judge_trap(store.data(), error);
        }
        store.data_mut().frame = None;
        store.data_mut().stderr.clear();
        let outbox = std::mem::take(&mut store.data_mut().outbox);
        let result = results.first().and_then(Val::i32).map(i32::cast_unsigned);
        if let Some(flow) = self.flow_of(worker, context) {
            flow.instructions += spent;
        }
        if done.is_err() {
            self.after_trap(worker, phase, context);
            return Called::Trapped;
        }
        for call in outbox {
            self.ask_peer(call);
        }
        Called::Returned(result)
    }

    /// A trap takes the whole instance along, and on Kong the worker if a request was paused.
    fn after_trap(&mut self, worker: usize, phase: Phase, context: u32) {
        let paused = self
            .flows
            .iter()
            .filter(|flow| {
                flow.worker == worker && flow.context != context && flow.outcome.is_none()
            })
            .count();
        if paused > 0 {
            self.object(
                Rule::WorkerDies,
                format!(
                    "worker {worker} trapped in {} while {paused} other requests were paused",
                    phase.export()
                ),
            );
        }
        if let Some(flow) = self.flow_of(worker, context).filter(|flow| flow.outcome.is_none()) {
            flow.outcome = Some(Outcome::Broken);
        }
        self.drop_instance(worker);
        // Kong makes a new instance; Envoy's VM refuses every request from then on. While the
        // routes are configured there is nothing to make it for: the next one would do the same.
        let starting = matches!(phase, Phase::Create | Phase::Start | Phase::Configure);
        if starting {
            self.object(Rule::FailsOpen, format!("{} trapped", phase.export()));
        } else if self.host == Host::Kong {
            self.start_instance(worker);
        }
    }

    /// Has a call answered by the test's peers.
    fn ask_peer(&mut self, call: Call) {
        let answer = self
            .refused_by_host(&call)
            .or_else(|| self.answered_by_host(&call))
            .unwrap_or_else(|| self.peers.answer(&call));
        let timeout_ms = call.timeout_ms;
        let (after_ms, delivery) = match answer.what {
            What::Reply { status, headers, body } if answer.after_ms < timeout_ms => {
                (answer.after_ms, arrived(status, headers, body, "ok"))
            }
            What::Failure(failure)
                if answer.after_ms < timeout_ms && failure != Failure::Timeout =>
            {
                (answer.after_ms, failed(self.host, failure))
            }
            What::Stall { status, body } if self.host == Host::Kong => {
                let status_of_timeout = Failure::Timeout.dispatch_status();
                (timeout_ms, arrived(status, Headers::default(), body, status_of_timeout))
            }
            _ => (timeout_ms, failed(self.host, Failure::Timeout)),
        };
        let delivery = match self.host {
            Host::Kong => delivery,
            Host::Envoy => Delivery { dispatch_status: None, ..delivery },
        };
        self.calls.push(call.clone());
        self.scheduled.push(Scheduled { due_ms: call.made_at_ms + after_ms, call, delivery });
    }

    /// The server of `kong/loopback.conf` takes a moment to answer.
    fn answered_by_host(&self, call: &Call) -> Option<Answer> {
        (self.host == Host::Kong && call.target == WAITING_ROOM)
            .then(|| Answer::reply(204, "").after(25))
    }

    /// What a call fails of before it reaches a peer.
    fn refused_by_host(&self, call: &Call) -> Option<Answer> {
        let is_name = |host: &str| {
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            host.parse::<std::net::IpAddr>().is_err() && !host.starts_with('[')
        };
        if self.host == Host::Envoy {
            return None;
        }
        if call.from_root && is_name(&call.target) && !self.shared.borrow().settings.lua_resolver {
            return Some(Answer::failure(Failure::Resolver));
        }
        // Verified for the name in `:authority`, which an address is not.
        (call.tls() && !is_name(call.authority())).then(|| Answer::failure(Failure::Tls))
    }
}

/// Records why the guest trapped, unless a broken rule is the reason.
fn judge_trap(vm: &Vm, error: &wasmtime::Error) {
    if error.downcast_ref::<Stop>().is_some() {
        return;
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) {
        vm.object(Rule::Blocks, format!("a callback took more than {FUEL} instructions"));
        return;
    }
    let said = vm.stderr.trim();
    vm.object(Rule::Trap, format!("the guest trapped: {said}\n{error:?}"));
}

/// An answer, or the beginning of one.
fn arrived(
    status: u16,
    mut headers: Headers,
    body: Vec<u8>,
    dispatch_status: &'static str,
) -> Delivery {
    headers.push(":status", status.to_string());
    Delivery { header_count: headers.len(), headers, body, dispatch_status: Some(dispatch_status) }
}

/// No answer: Kong tells why; Envoy answers in the peer's place, or not at all.
fn failed(host: Host, failure: Failure) -> Delivery {
    match (host, failure) {
        (Host::Envoy, Failure::Timeout) => {
            arrived(504, Headers::default(), b"upstream request timeout".to_vec(), "")
        }
        (Host::Envoy, Failure::Connection) => {
            arrived(503, Headers::default(), b"upstream connect error".to_vec(), "")
        }
        _ => Delivery { dispatch_status: Some(failure.dispatch_status()), ..Delivery::default() },
    }
}
