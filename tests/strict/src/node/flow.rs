//! A request on its way through a worker: which callbacks come when.

use super::{Node, worker::Called};
use crate::{
    headers::Headers,
    host::Host,
    outcome::{Outcome, Response, Seen},
    request::{Request, UpstreamAnswer},
    rule::Rule,
    vm::{Http, Phase},
};

/// The ABI's action "pause".
const PAUSE: u32 = 1;

/// A request and where it stands.
pub(super) struct Flow {
    pub(super) worker: usize,
    pub(super) context: u32,
    stage: Stage,
    upstream: UpstreamAnswer,
    body: Vec<u8>,
    /// How many trailers come after it.
    trailers: usize,
    pub(super) outcome: Option<Outcome>,
    pub(super) instructions: u64,
}

/// What comes next for a request that is not paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Body,
    Trailers,
    Upstream,
}

impl Node {
    /// A request arrives.
    pub(super) fn enter(&mut self, worker: usize, request: Request) -> usize {
        let id = self.flows.len();
        let route = self.route_of(&request);
        let root = route.and_then(|route| self.workers.get(worker)?.roots.get(&route).copied());
        let request_id = format!("{:032x}", self.random.u128(..));
        let wire = self.wire_headers(&request, &request_id);
        let mut flow = Flow {
            worker,
            context: 0,
            stage: Stage::Body,
            upstream: request.upstream.clone(),
            body: request.body.clone(),
            trailers: request.trailers.len(),
            outcome: None,
            instructions: 0,
        };
        let (Some(slot), Some(root)) = (self.workers.get_mut(worker), root) else {
            // No filter on it: Kong proxies, Envoy with a broken VM closes the connection.
            flow.outcome = Some(match self.host {
                Host::Kong => unfiltered(wire, request),
                Host::Envoy => Outcome::CutOff,
            });
            self.flows.push(flow);
            return id;
        };
        flow.context = slot.fresh_context();
        let context = flow.context;
        let ends = request.body.is_empty() && request.trailers.is_empty();
        let count = u32::try_from(wire.len()).unwrap_or(u32::MAX);
        let http = Http {
            request_id,
            raw_target: request.target,
            source: request.source,
            seen: wire.clone(),
            wire,
            body: request.body,
            trailers: request.trailers,
            ..Http::default()
        };
        if let Some(vm) = slot.vm() {
            vm.https.insert(context, http);
        }
        self.flows.push(flow);
        self.open.push(id);
        if let Called::Trapped = self.call(worker, Phase::Create, context, &[context, root], None) {
            return id;
        }
        // Kong always says that more is to come.
        let end = u32::from(self.host == Host::Envoy && ends);
        let Called::Returned(action) =
            self.call(worker, Phase::RequestHeaders, context, &[context, count, end], None)
        else {
            return id;
        };
        let holds = action == Some(PAUSE);
        if let Some(http) = self.http(worker, context) {
            http.head_held = holds;
        }
        self.after_request_phase(id, holds);
        self.settle(worker);
        id
    }

    /// The client goes away.
    pub(super) fn abandon(&mut self, id: usize) {
        let Some((worker, context)) = self
            .flows
            .get(id)
            .filter(|flow| flow.outcome.is_none())
            .map(|flow| (flow.worker, flow.context))
        else {
            return;
        };
        self.scheduled.retain(|s| (s.call.worker, s.call.context) != (worker, context));
        self.end(id, Outcome::CutOff);
        self.settle(worker);
    }

    /// Carries on with every request of `worker` that was resumed or answered.
    pub(super) fn settle(&mut self, worker: usize) {
        loop {
            self.open.retain(|id| self.flows.get(*id).is_some_and(|flow| flow.outcome.is_none()));
            let open = self.open.clone();
            let ready = open.into_iter().find_map(|id| {
                let flow = self.flows.get(id).filter(|flow| flow.worker == worker)?;
                let context = flow.context;
                let http = self.http(worker, context)?;
                (http.answer.is_some() || http.resumed || !http.paused).then_some((id, context))
            });
            let Some((id, context)) = ready else { return };
            if let Some(http) = self.http(worker, context) {
                http.resumed = false;
                http.paused = false;
            }
            self.proceed(id);
        }
    }

    /// Looks for a request that nothing is going to resume.
    pub(super) fn check_for_hang(&mut self, worker: usize, context: u32) {
        let hangs = self.http(worker, context).is_some_and(|http| {
            http.paused && http.pending.is_empty() && !http.resumed && http.answer.is_none()
        });
        if !hangs || self.host == Host::Envoy {
            // On Envoy another context's callback may resume it.
            return;
        }
        self.object(
            Rule::Hang,
            format!("context {context} is paused, and no dispatch of it is under way"),
        );
        if let Some(id) = self.flows.iter().position(|f| (f.worker, f.context) == (worker, context))
        {
            self.end(id, Outcome::CutOff);
        }
    }

    pub(super) fn flow_of(&mut self, worker: usize, context: u32) -> Option<&mut Flow> {
        // The youngest first: it is the likeliest.
        self.flows.iter_mut().rev().find(|flow| (flow.worker, flow.context) == (worker, context))
    }

    pub(super) fn http(&mut self, worker: usize, context: u32) -> Option<&mut Http> {
        self.workers.get_mut(worker)?.vm()?.https.get_mut(&context)
    }

    fn after_request_phase(&mut self, id: usize, pauses: bool) {
        let Some((worker, context, has_body)) = self
            .flows
            .get(id)
            .filter(|flow| flow.outcome.is_none())
            .map(|flow| (flow.worker, flow.context, !flow.body.is_empty()))
        else {
            return;
        };
        let on_envoy = self.host == Host::Envoy;
        let at_head = self.flows.get(id).is_some_and(|flow| flow.stage == Stage::Body);
        let Some(http) = self.http(worker, context) else { return };
        if http.answer.is_some() {
            return;
        }
        let waits = !http.pending.is_empty();
        // Envoy: a head that is held goes on with the body's callback.
        http.paused = pauses && !(on_envoy && at_head && has_body && !waits);
        if waits && !pauses {
            self.object(
                Rule::Unmeasured,
                format!("context {context} went on while a dispatch of it was under way"),
            );
        }
        self.check_for_hang(worker, context);
    }

    /// The next stage of a request that is not paused.
    fn proceed(&mut self, id: usize) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        let (worker, context, stage) = (flow.worker, flow.context, flow.stage);
        let size = u32::try_from(flow.body.len()).unwrap_or(u32::MAX);
        let trailers = u32::try_from(flow.trailers).unwrap_or(u32::MAX);
        let next = match stage {
            Stage::Body if size > 0 => {
                Some((Phase::RequestBody, vec![context, size, u32::from(trailers == 0)]))
            }
            Stage::Body | Stage::Trailers if trailers > 0 => {
                flow.trailers = 0;
                Some((Phase::RequestTrailers, vec![context, trailers]))
            }
            _ => None,
        };
        flow.stage = if stage == Stage::Body { Stage::Trailers } else { Stage::Upstream };
        let answer = self.http(worker, context).and_then(|http| http.answer.clone());
        if let Some(answer) = answer {
            self.respond(id, answer, None);
        } else if let Some((phase, arguments)) = next {
            // The whole body in one call.
            if let Called::Returned(action) = self.call(worker, phase, context, &arguments, None) {
                self.after_request_phase(id, action == Some(PAUSE));
            }
        } else {
            self.forward(id, worker, context);
        }
    }

    fn forward(&mut self, id: usize, worker: usize, context: u32) {
        let Some(http) = self.http(worker, context) else { return };
        let mut headers = Headers::default();
        for (name, value) in http.wire.iter().filter(|(name, _)| !name.starts_with(b":")) {
            headers.push(name, value);
        }
        let seen = Seen { headers, body: http.body.clone(), trailers: http.trailers.clone() };
        let Some(upstream) = self.flows.get(id).map(|flow| flow.upstream.clone()) else { return };
        let response =
            Response { status: upstream.status, headers: upstream.headers, body: Vec::new() };
        self.respond(id, response, Some(seen));
    }

    /// The response passes the filter on its way to the client, wherever it comes from.
    fn respond(&mut self, id: usize, response: Response, seen: Option<Seen>) {
        let Some(flow) = self.flows.get(id) else { return };
        let (worker, context) = (flow.worker, flow.context);
        let (chunks, client_leaves) = match &seen {
            Some(_) => (flow.upstream.chunks.clone(), flow.upstream.client_leaves),
            None => (vec![response.body.clone()], false),
        };
        let mut headers = response.headers;
        headers.push(":status", response.status.to_string());
        let count = u32::try_from(headers.len()).unwrap_or(u32::MAX);
        if let Some(http) = self.http(worker, context) {
            http.response_began = true;
            http.response = headers;
        }
        let action = self.call(worker, Phase::ResponseHeaders, context, &[context, count, 0], None);
        self.check_response_action(context, &action);
        let mut body = Vec::new();
        let end = if client_leaves { None } else { Some(Vec::new()) };
        for chunk in chunks.into_iter().map(|chunk| (chunk, 0)).chain(end.map(|chunk| (chunk, 1))) {
            let (chunk, end) = chunk;
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            // After a trap the rest of the response passes without the filter.
            if let Some(http) = self.http(worker, context) {
                http.chunk.clone_from(&chunk);
                let action =
                    self.call(worker, Phase::ResponseBody, context, &[context, size, end], None);
                self.check_response_action(context, &action);
            }
            let passed = self.http(worker, context).map(|http| std::mem::take(&mut http.chunk));
            body.extend(passed.unwrap_or(chunk));
        }
        let mut headers =
            self.http(worker, context).map(|http| http.response.clone()).unwrap_or_default();
        let status = headers.text(":status").and_then(|status| status.parse().ok());
        headers.remove(b":status");
        let response = Response { status: status.unwrap_or(response.status), headers, body };
        let outcome = match seen {
            Some(upstream) => Outcome::Forwarded { upstream, response },
            None => Outcome::Answered(response),
        };
        self.end(id, outcome);
    }

    fn check_response_action(&self, context: u32, called: &Called) {
        if let Called::Returned(Some(PAUSE)) = called {
            self.object(Rule::Hang, format!("context {context} paused its response"));
        }
    }

    /// The last callbacks of a context.
    fn end(&mut self, id: usize, outcome: Outcome) {
        let Some(flow) = self.flows.get_mut(id) else { return };
        // In the response phase a trap is not seen by the client.
        if !matches!(flow.outcome, Some(Outcome::CutOff)) {
            flow.outcome = Some(outcome);
        }
        let (worker, context) = (flow.worker, flow.context);
        if let Some(http) = self.http(worker, context) {
            http.response_began = true;
        }
        for phase in [Phase::Done, Phase::Log, Phase::Delete] {
            if self.http(worker, context).is_none() {
                return;
            }
            if let Called::Trapped = self.call(worker, phase, context, &[context], None) {
                return;
            }
        }
        if let Some(vm) = self.workers.get_mut(worker).and_then(super::Worker::vm) {
            vm.https.remove(&context);
        }
    }

    fn route_of(&self, request: &Request) -> Option<usize> {
        let path = request.decoded_path();
        let matching = self
            .routes
            .iter()
            .enumerate()
            .filter(|(_, route)| path.starts_with(route.prefix.as_bytes()));
        matching.max_by_key(|(_, route)| route.prefix.len()).map(|(index, _)| index)
    }

    /// The headers as the host keeps them.
    fn wire_headers(&self, request: &Request, request_id: &str) -> Headers {
        let mut headers = Headers::default();
        headers.push(":method", request.method.as_str());
        match self.host {
            Host::Kong => {
                // nginx decodes the path.
                headers
                    .push(":path", [request.decoded_path().as_slice(), request.query()].concat());
                headers.push(":authority", "kong:8000");
            }
            Host::Envoy => {
                headers.push(":path", request.target.as_slice());
                headers.push(":authority", "gateway.example");
            }
        }
        headers.push(":scheme", "http");
        for (name, value) in request.headers.iter() {
            headers.push(name, value);
        }
        if self.host == Host::Envoy {
            headers.lower_case();
            // The connection manager's id, whatever the client sent.
            headers.replace(b"x-request-id", request_id.as_bytes());
        }
        headers
    }
}

fn unfiltered(mut headers: Headers, request: Request) -> Outcome {
    for name in [":method", ":path", ":authority", ":scheme"] {
        headers.remove(name.as_bytes());
    }
    let response = Response {
        status: request.upstream.status,
        headers: request.upstream.headers,
        body: request.upstream.chunks.concat(),
    };
    Outcome::Forwarded {
        upstream: Seen { headers, body: request.body, trailers: request.trailers },
        response,
    }
}
