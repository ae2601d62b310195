//! One request: turns the host's events into the core's inputs and its steps into hostcalls.

use std::rc::Rc;

use kombi_gate_core::{
    gate::{Gate, Passage},
    refusal::{Refusal, Reply},
    step::{HttpOutcome, Step},
};
use kombi_spec::code::Code;
use proxy_wasm::{
    hostcalls,
    traits::{Context, HttpContext},
    types::Action,
};

use crate::{host, log, worker};

/// A request on one route.
pub(crate) struct Request {
    gate: Rc<Gate>,
    passage: Option<Passage>,
}

impl Request {
    pub(crate) fn new(gate: Rc<Gate>) -> Self {
        Self { gate, passage: None }
    }

    /// Carries out `step`, and the steps that follow from it at once.
    fn apply(&mut self, mut step: Step) -> Action {
        loop {
            match step {
                Step::Forward(forward) => {
                    let set = forward.headers.iter().try_for_each(host::set_request_header);
                    return match set {
                        Ok(()) => Action::Continue,
                        // Without its identity headers the request must not reach an upstream.
                        Err(status) => self.refuse(format!("setting a header: {status:?}")),
                    };
                }
                Step::Reply(reply) => return self.answer(&reply),
                Step::Call(call) => match host::dispatch(&call) {
                    Ok(_) => return Action::Pause,
                    Err(status) => {
                        let failure = HttpOutcome::Failure(format!("dispatch: {status:?}"));
                        match self.resume(failure) {
                            Some(next) => step = next,
                            None => return self.refuse("no request to resume"),
                        }
                    }
                },
            }
        }
    }

    fn resume(&mut self, outcome: HttpOutcome) -> Option<Step> {
        let passage = self.passage.as_mut()?;
        Some(worker::with_keys(|keys| passage.resume(outcome, keys, host::now())))
    }

    fn answer(&self, reply: &Reply) -> Action {
        let request_id = self.passage.as_ref().map_or("", Passage::request_id);
        log::refused(&reply.refusal, request_id);
        let headers = reply.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // A refusal that cannot be sent still stops the request.
        let _ = hostcalls::send_http_response(reply.status.into(), headers, Some(&reply.body));
        Action::Pause
    }

    /// Refuses because the host does not do what it must.
    fn refuse(&self, cause: impl std::fmt::Display) -> Action {
        let request_id = self.passage.as_ref().map_or("", Passage::request_id);
        let refusal = Refusal::new(Code::Internal, "the gateway could not handle the request")
            .because(Some(cause));
        self.answer(&refusal.into_reply(request_id))
    }
}

impl HttpContext for Request {
    fn on_http_request_headers(&mut self, _header_count: usize, _end_of_stream: bool) -> Action {
        let Some(head) = host::request_head() else {
            return self.refuse("the request's headers or id could not be read");
        };
        let gate = Rc::clone(&self.gate);
        let now = host::now();
        let (passage, step) = worker::with_keys(|keys| Passage::begin(gate, head, keys, now));
        self.passage = Some(passage);
        self.apply(step)
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
        let outcome = host::call_outcome(header_count, body_size);
        let action = match self.resume(outcome) {
            Some(step) => self.apply(step),
            None => self.refuse("no request to resume"),
        };
        if action == Action::Continue {
            // If the host cannot resume, the request stays paused: it is not let through.
            let _ = hostcalls::resume_http_request();
        }
    }
}
