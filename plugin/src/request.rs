//! One request: turns the host's events into the core's inputs and its steps into hostcalls.

use std::{cell::RefCell, rc::Rc, time::Duration};

use kombi_gate_core::{
    ai::{answer::Passes, ask::LARGEST_BODY, conversation::AnswerHead},
    gate::{Gate, Passage},
    refusal::{Refusal, Reply},
    step::{Forward, HttpCall, HttpOutcome, Step},
    time::UnixTime,
};
use kombi_spec::{code::Code, header};
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::{Action, Status},
};

use crate::{
    host::{self, Reading},
    log,
    meter::{Outcome, RouteMeter},
    worker,
};

/// A pause that was shorter was none: the server that should take a moment did not.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// A configured route.
pub(crate) struct Route {
    pub(crate) gate: Rc<Gate>,
    meter: RouteMeter,
}

impl Route {
    pub(crate) fn new(gate: Gate) -> Self {
        Self { meter: RouteMeter::new(gate.name()), gate: Rc::new(gate) }
    }
}

/// Headers of a provider's answer that tell of the operator's account there, are for a browser
/// that talks to the provider itself, or are the gateway's own.
const NOT_FOR_CLIENTS: &[&str] = &[
    "openai-organization",
    "openai-project",
    "set-cookie",
    header::AI_TRIED,
    header::AI_UNREACHED,
];

/// A request on one route.
pub(crate) struct Request {
    state: Rc<RefCell<State>>,
}

/// What is known of a request.
pub(crate) struct State {
    context_id: u32,
    route: Rc<Route>,
    passage: Option<Passage>,
    began: Reading,
    /// Whether the request may go on.
    passes: bool,
    /// What the call under way is for.
    awaited: Awaited,
    body: Body,
}

/// What is known of a request's body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// It is none of the gate's business so far.
    Unasked,
    /// There is none.
    None,
    /// It is to be handed over before anything else happens.
    Awaited,
    /// It came by when it was none of the gate's business, and cannot be had any more.
    Missed,
}

/// What a call was made for.
#[derive(Clone, Copy)]
enum Awaited {
    Answer,
    /// Time to pass, from this moment on.
    Time(UnixTime),
}

/// Where a request stands.
enum Next {
    /// It goes on, or was answered.
    Decided(Action),
    /// It needs this call.
    Call(HttpCall),
    /// It waits.
    Wait,
    /// This comes next.
    Go(Step),
}

impl Request {
    pub(crate) fn new(route: Rc<Route>, context_id: u32) -> Self {
        let state = State {
            context_id,
            route,
            passage: None,
            began: Reading::default(),
            passes: false,
            awaited: Awaited::Answer,
            body: Body::Unasked,
        };
        Self { state: Rc::new(RefCell::new(state)) }
    }

    /// Carries out `step`, and the steps that follow from it at once.
    fn apply(&self, mut step: Step) -> Action {
        loop {
            let mut state = self.state.borrow_mut();
            step = match state.decide(step) {
                Next::Decided(action) => return action,
                Next::Go(step) => step,
                Next::Call(call) => match host::dispatch(&call) {
                    Ok(_) => {
                        state.awaited = Awaited::Answer;
                        return Action::Pause;
                    }
                    Err(status) => state.resume(not_made(status)),
                },
                Next::Wait => match host::pause(state.wait_at()) {
                    Ok(host::Pause::Call) => {
                        state.awaited = Awaited::Time(host::now());
                        return Action::Pause;
                    }
                    Ok(host::Pause::Tick) => {
                        worker::wait_for_tick(&self.state);
                        return Action::Pause;
                    }
                    Err(_) => state.cannot_wait(),
                },
            };
        }
    }
}

/// What a request that waits for the tick comes to.
pub(crate) enum Woken {
    /// It was decided.
    Decided,
    /// It still waits.
    Waits,
    /// It needs this call, whose outcome `resume_from_root` takes.
    Call(HttpCall),
}

impl State {
    /// Looks whether a request that waits for the tick can go on. Called by the root context
    /// `root_id`.
    pub(crate) fn wake(&mut self, root_id: u32) -> Woken {
        let step = self.look_again();
        self.go_on(step, root_id)
    }

    /// The call that the root context made for this request has ended.
    pub(crate) fn resume_from_root(&mut self, outcome: HttpOutcome, root_id: u32) -> Woken {
        let step = self.resume(outcome);
        self.go_on(step, root_id)
    }

    fn go_on(&mut self, mut step: Step, root_id: u32) -> Woken {
        loop {
            let mut next = None;
            match step {
                Step::Call(call) => return Woken::Call(call),
                Step::Wait => return Woken::Waits,
                step => host::on_behalf_of(self.context_id, root_id, || match self.decide(step) {
                    Next::Decided(Action::Continue) => {
                        // If the host cannot resume, the request stays paused: it is not let
                        // through.
                        let _ = hostcalls::resume_http_request();
                    }
                    Next::Go(step) => next = Some(step),
                    _ => {}
                }),
            }
            match next {
                Some(go) => step = go,
                None => return Woken::Decided,
            }
        }
    }

    /// Carries out `step` as far as it needs no patience.
    fn decide(&mut self, step: Step) -> Next {
        match step {
            Step::Forward(forward) => {
                Next::Decided(match self.set_headers(&forward) {
                    Ok(()) => {
                        self.passes = true;
                        self.forwarded(forward.would_refuse.as_ref());
                        Action::Continue
                    }
                    // Without its identity headers the request must not reach an upstream.
                    Err(status) => self.refuse(format!("setting a header: {status:?}")),
                })
            }
            Step::Reply(reply) => Next::Decided(self.answer(&reply)),
            Step::Answer(document) => Next::Decided(self.tell(&document)),
            Step::Body => match self.body {
                Body::None => Next::Go(self.read(Some(b""))),
                Body::Missed => Next::Go(self.cannot_wait()),
                Body::Unasked | Body::Awaited => {
                    self.body = Body::Awaited;
                    let waits = host::head_waits_for_body();
                    Next::Decided(if waits { Action::Pause } else { Action::Continue })
                }
            },
            Step::Call(call) => Next::Call(call),
            Step::Wait => Next::Wait,
        }
    }

    /// Sets the headers of a request that goes on, and takes off what must not go with it.
    fn set_headers(&self, forward: &Forward) -> Result<(), Status> {
        let Some(passage) = &self.passage else { return Ok(()) };
        let Some(departure) = &forward.departure else {
            let mut headers = passage.headers(forward);
            return headers.try_for_each(|(name, value)| host::set_request_header(name, value));
        };
        let sets = forward.headers.iter().filter(|header| !header.value.is_empty());
        let names: Vec<_> = sets.map(|header| header.name).collect();
        host::strip_request(departure.keeps, &names)?;
        let mut headers = forward.headers.iter();
        headers.try_for_each(|set| host::set_or_blank_request_header(set.name, &set.value))
    }

    fn resume(&mut self, outcome: HttpOutcome) -> Step {
        self.step(|passage| worker::with_moment(|moment| passage.resume(outcome, moment)))
    }

    fn look_again(&mut self) -> Step {
        self.step(|passage| worker::with_moment(|moment| passage.look_again(moment)))
    }

    /// Hands over the body; `None` if it is too large.
    fn read(&mut self, body: Option<&[u8]>) -> Step {
        self.body = Body::Unasked;
        self.step(|passage| worker::with_moment(|moment| passage.read(body, moment)))
    }

    /// The body, or more of it, is there: `size` bytes of it so far, all of them if it `ends`.
    fn with_body(&mut self, size: usize, ends: bool) -> Option<Step> {
        if self.body != Body::Awaited {
            if ends && !self.passes {
                self.body = Body::Missed;
            }
            return None;
        }
        if size > LARGEST_BODY {
            return Some(self.read(None));
        }
        if !ends {
            return None;
        }
        Some(self.read(host::request_body(size).as_deref()))
    }

    /// Answers with a document that is no refusal.
    fn tell(&self, document: &[u8]) -> Action {
        self.count(Outcome::Passed);
        let headers = vec![("content-type", "application/json"), ("cache-control", "no-store")];
        // An answer that cannot be sent still stops the request.
        let _ = hostcalls::send_http_response(200, headers, Some(document));
        Action::Pause
    }

    /// The passage, if the upstream's answer is its business.
    fn watching(&mut self) -> Option<&mut Passage> {
        let passes = self.passes;
        self.passage.as_mut().filter(|passage| passes && passage.watches())
    }

    fn cannot_wait(&mut self) -> Step {
        self.step(Passage::cannot_wait)
    }

    fn step(&mut self, f: impl FnOnce(&mut Passage) -> Step) -> Step {
        match self.passage.as_mut() {
            Some(passage) => f(passage),
            None => never_began(),
        }
    }

    fn so_far(&self) -> Action {
        if self.passes { Action::Continue } else { Action::Pause }
    }

    fn wait_at(&self) -> Option<&str> {
        self.route.gate.key_terms()?.wait_at.as_deref()
    }

    /// Tells of a request that passes; in shadow mode maybe one that should not.
    fn forwarded(&self, would_refuse: Option<&Refusal>) {
        let Some(refusal) = would_refuse else { return self.count(Outcome::Passed) };
        self.count(Outcome::WouldRefuse(refusal.code));
        log::would_refuse(refusal, self.route.gate.name(), self.request_id());
    }

    fn request_id(&self) -> &str {
        self.passage.as_ref().map_or("", Passage::request_id)
    }

    fn answer(&self, reply: &Reply) -> Action {
        self.count(Outcome::Refused(reply.refusal.code));
        log::refused(&reply.refusal, self.route.gate.name(), self.request_id());
        let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // A refusal that cannot be sent still stops the request.
        let _ = hostcalls::send_http_response(reply.status.into(), headers, Some(&reply.body));
        Action::Pause
    }

    /// Refuses because the host does not do what it must.
    fn refuse(&self, cause: impl std::fmt::Display) -> Action {
        let refusal = failure(cause);
        self.answer(&match &self.passage {
            Some(passage) => passage.reply_to(refusal),
            None => refusal.into_reply(""),
        })
    }

    /// Counts the decision.
    fn count(&self, outcome: Outcome) {
        let added_us = host::clock().micros_since(self.began);
        self.route.meter.decided(&outcome, added_us);
    }
}

fn never_began() -> Step {
    Step::Reply(failure("an event of a request that never began").into_reply(""))
}

fn failure(cause: impl std::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, "the gateway could not handle the request").because(Some(cause))
}

/// The outcome of a call that the host did not make.
pub(crate) fn not_made(status: proxy_wasm::types::Status) -> HttpOutcome {
    HttpOutcome::Failure(format!("dispatch: {status:?}"))
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _header_count: usize, end_of_stream: bool) -> Action {
        let step = {
            let mut state = self.state.borrow_mut();
            state.began = host::clock();
            if end_of_stream {
                state.body = Body::None;
            }
            let Some(mut head) = host::request_head() else {
                return state.refuse("the request's headers or id could not be read");
            };
            let gate = Rc::clone(&state.route.gate);
            if gate.needs_source() {
                head.source = host::source();
            }
            let (passage, step) = worker::with_moment_at(state.began.now(), |moment| {
                Passage::begin(gate, head, moment)
            });
            state.passage = Some(passage);
            step
        };
        self.apply(step)
    }

    /// The body may arrive before the request is decided. On Envoy, letting it go on would let the
    /// headers go on, too.
    fn on_http_request_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        let step = self.state.borrow_mut().with_body(body_size, end_of_stream);
        match step {
            Some(step) => self.apply(step),
            None => self.state.borrow().so_far(),
        }
    }

    fn on_http_request_trailers(&mut self, _trailer_count: usize) -> Action {
        let state = self.state.borrow();
        match host::strip_trailers() {
            Ok(()) => state.so_far(),
            Err(status) => state.refuse(format!("removing a trailer: {status:?}")),
        }
    }

    fn on_http_response_headers(&mut self, _header_count: usize, _end_of_stream: bool) -> Action {
        let mut state = self.state.borrow_mut();
        if let Some(passage) = state.passage.as_ref().filter(|_| state.passes) {
            passage.each_limit_header(host::set_response_header);
        }
        if let Some(passage) = state.watching() {
            let status = host::response_header(":status");
            let status = status.and_then(|value| String::from_utf8(value).ok()?.parse().ok());
            let content_type = host::response_header("content-type").unwrap_or_default();
            let content_encoding = host::response_header("content-encoding");
            let request_id = host::response_header("x-request-id");
            let tried = host::response_header(header::AI_TRIED);
            let changes = passage.answered(&AnswerHead {
                status: status.unwrap_or_default(),
                content_type: &content_type,
                content_encoding: content_encoding.as_deref(),
                request_id: request_id.as_deref(),
                tried: tried.as_deref(),
                from_provider: host::answer_is_from_provider(),
                changeable: host::response_can_change(),
            });
            if changes {
                host::remove_response_header("content-length");
            }
            for name in NOT_FOR_CLIENTS {
                host::remove_response_header(name);
            }
        }
        Action::Continue
    }

    fn on_http_response_body(&mut self, body_size: usize, end_of_stream: bool) -> Action {
        if let Some(passage) = self.state.borrow_mut().watching() {
            let chunk = host::response_chunk(body_size);
            let (passes, traces) =
                worker::with_moment(|moment| passage.pass(&chunk, end_of_stream, moment));
            traces.iter().for_each(|trace| log::usage(trace));
            if let Passes::Instead(instead) = passes {
                // A client that gets its provider's usage although it did not ask for it is
                // surprised, not harmed.
                let _ = host::set_response_chunk(&instead);
            }
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        let mut state = self.state.borrow_mut();
        if let Some(passage) = state.passage.as_mut().filter(|passage| passage.is_open()) {
            let traces = worker::with_moment(|moment| passage.end(moment));
            traces.iter().for_each(|trace| log::usage(trace));
        }
    }
}

impl Context for Request {
    fn on_http_call_response(
        &mut self,
        _token: u32,
        header_count: usize,
        body_size: usize,
        _trailer_count: usize,
    ) {
        let step = {
            let mut state = self.state.borrow_mut();
            match state.awaited {
                Awaited::Answer => state.resume(host::call_outcome(header_count, body_size)),
                // Time that did not pass will not pass next time either.
                Awaited::Time(since) if host::now().since(since) < SHORTEST_PAUSE => {
                    state.cannot_wait()
                }
                Awaited::Time(..) => state.look_again(),
            }
        };
        if self.apply(step) == Action::Continue {
            // If the host cannot resume, the request stays paused: it is not let through.
            let _ = hostcalls::resume_http_request();
        }
    }
}
