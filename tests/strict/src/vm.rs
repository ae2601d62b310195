//! One instance of the module as its host sees it: contexts, the callback under way, and what
//! each hostcall does. The rules live in the files below; `linker` turns them into imports.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    rc::Rc,
};

use crate::{
    clock::Clock,
    headers::Headers,
    host::{Host, Settings},
    outcome::Response,
    peers::{Call, Delivery},
    rule::{Rule, Violation},
    zone::Zone,
};

mod buffers;
mod dispatch;
mod fields;
mod linker;
mod metrics;
mod properties;
mod shared;
mod stream;

pub(crate) use linker::linker;
pub(crate) use metrics::Metrics;

/// The statuses of the ABI that a hostcall here can answer with.
pub(crate) mod status {
    pub(crate) const OK: u32 = 0;
    pub(crate) const NOT_FOUND: u32 = 1;
    pub(crate) const BAD_ARGUMENT: u32 = 2;
    pub(crate) const CAS_MISMATCH: u32 = 8;
    pub(crate) const INTERNAL_FAILURE: u32 = 10;
}

/// How many lines of what happened are kept.
const TRAIL: usize = 80;

/// Which callback is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Create,
    Start,
    Configure,
    Tick,
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    CallResponse,
    Done,
    Log,
    Delete,
}

impl Phase {
    /// The export that is called.
    pub(crate) const fn export(self) -> &'static str {
        match self {
            Self::Create => "proxy_on_context_create",
            Self::Start => "proxy_on_vm_start",
            Self::Configure => "proxy_on_configure",
            Self::Tick => "proxy_on_tick",
            Self::RequestHeaders => "proxy_on_request_headers",
            Self::RequestBody => "proxy_on_request_body",
            Self::RequestTrailers => "proxy_on_request_trailers",
            Self::ResponseHeaders => "proxy_on_response_headers",
            Self::ResponseBody => "proxy_on_response_body",
            Self::CallResponse => "proxy_on_http_call_response",
            Self::Done => "proxy_on_done",
            Self::Log => "proxy_on_log",
            Self::Delete => "proxy_on_delete",
        }
    }
}

/// The callback under way.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) phase: Phase,
    pub(crate) context: u32,
    /// The answer that on_http_call_response is about.
    pub(crate) delivery: Option<Delivery>,
}

/// What all workers of a node share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) zone: Option<Zone>,
    pub(crate) metrics: Metrics,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) trail: VecDeque<String>,
    pub(crate) next_token: u32,
    /// What every dispatch is answered with at once instead of being made.
    pub(crate) refuse_dispatch: Option<u32>,
}

impl Shared {
    pub(crate) fn led(&mut self, line: String) {
        if self.trail.len() == TRAIL {
            self.trail.pop_front();
        }
        self.trail.push_back(line);
    }
}

/// A line that the filter logged.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// The worker it came from.
    pub worker: usize,
    /// The ABI's level: 0 trace, 1 debug, 2 info, 3 warn, 4 error, 5 critical.
    pub level: u32,
    /// The text, whole.
    pub text: String,
}

/// A root context: one configured route.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    pub(crate) configuration: Vec<u8>,
    pub(crate) tick_ms: u64,
    pub(crate) next_tick_ms: u64,
}

/// The request of an HTTP context.
#[derive(Debug, Clone, Default)]
pub(crate) struct Http {
    pub(crate) request_id: String,
    pub(crate) raw_target: Vec<u8>,
    /// The client's address.
    pub(crate) source: String,
    /// The request's headers as the filter sees them.
    pub(crate) seen: Headers,
    /// The request's headers as the upstream gets them.
    pub(crate) wire: Headers,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Headers,
    pub(crate) response: Headers,
    pub(crate) chunk: Vec<u8>,
    /// Whether on_http_request_headers answered Pause.
    pub(crate) head_held: bool,
    pub(crate) response_began: bool,
    pub(crate) paused: bool,
    pub(crate) resumed: bool,
    pub(crate) pending: BTreeSet<u32>,
    /// How many of its dispatches timed out since one did not.
    pub(crate) timeouts_in_a_row: u32,
    /// Whether the dispatch that just ended had a body and failed.
    pub(crate) lost_body: bool,
    pub(crate) answer: Option<Response>,
    /// Properties that the filter has set.
    pub(crate) properties: BTreeMap<String, Vec<u8>>,
}

/// What the store of one instance holds.
pub(crate) struct Vm {
    pub(crate) worker: usize,
    pub(crate) shared: Rc<RefCell<Shared>>,
    pub(crate) host: Host,
    pub(crate) frame: Option<Frame>,
    /// The context that hostcalls apply to: Envoy lets the guest choose.
    pub(crate) effective: u32,
    pub(crate) roots: BTreeMap<u32, Root>,
    pub(crate) https: BTreeMap<u32, Http>,
    /// Dispatches that the callback under way has made.
    pub(crate) outbox: Vec<Call>,
    pub(crate) random: fastrand::Rng,
    /// What the guest wrote to its standard error: a panic's message.
    pub(crate) stderr: String,
}

/// A rule was broken in a way that ends the guest's call.
#[derive(Debug)]
pub(crate) struct Stop(pub(crate) Rule);

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.consequence())
    }
}

impl std::error::Error for Stop {}

impl Vm {
    /// Notes what happened, for whoever must find out why.
    pub(crate) fn led(&self, line: impl FnOnce() -> String) {
        let line = format!("worker {}   {}", self.worker, line());
        self.shared.borrow_mut().led(line);
    }

    /// Records a broken rule; the call goes on.
    pub(crate) fn object(&self, rule: Rule, what: impl Into<String>) {
        let what = what.into();
        let within = self.frame.as_ref().map_or_else(
            || "no callback".to_owned(),
            |frame| {
                let kind = if self.roots.contains_key(&frame.context) { "root" } else { "http" };
                let phase = frame.phase.export();
                format!("{phase} of {kind} context {}, worker {}", frame.context, self.worker)
            },
        );
        let mut shared = self.shared.borrow_mut();
        shared.led(format!("worker {}   !! {rule:?}: {what}", self.worker));
        let trail = shared.trail.iter().cloned().collect();
        shared.violations.push(Violation { rule, what, within, trail });
    }

    /// Records a broken rule that makes the host trap.
    pub(crate) fn forbid(&self, rule: Rule, what: impl Into<String>) -> Stop {
        self.object(rule, what);
        Stop(rule)
    }

    pub(crate) fn on_kong(&self) -> bool {
        self.host == Host::Kong
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.frame.as_ref().map(|frame| frame.phase)
    }

    /// The request that hostcalls apply to now.
    pub(crate) fn http(&mut self) -> Option<&mut Http> {
        self.https.get_mut(&self.effective)
    }

    /// Whether the callback belongs to a root context.
    pub(crate) fn in_root(&self) -> bool {
        !self.https.contains_key(&self.effective)
    }
}

/// Bytes for the trail: readable, and not too long.
pub(crate) fn brief(bytes: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = bytes.get(..LONGEST).unwrap_or(bytes).escape_ascii().to_string();
    if bytes.len() > LONGEST { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
