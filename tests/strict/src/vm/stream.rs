//! What decides the fate of a request: answering, resuming, closing; and the odds and ends.

use super::{LogLine, Phase, Stop, Vm, brief, status};
use crate::{headers::Headers, outcome::Response, rule::Rule};

/// Kong's error log cuts a line here, in bytes.
const MAX_LOG_LINE: usize = 2048;

impl Vm {
    /// `proxy_send_local_response`.
    pub(super) fn answer(
        &mut self,
        status: u32,
        headers: &[u8],
        body: Vec<u8>,
    ) -> Result<u32, Stop> {
        self.led(|| format!("answer with {status}: {}", brief(&body)));
        let allowed = match self.phase() {
            Some(Phase::RequestHeaders | Phase::RequestBody | Phase::CallResponse) => true,
            // On Envoy a tick can act for a request that waits.
            Some(Phase::Tick) => !self.on_kong(),
            _ => false,
        };
        let Some(http) = self.http().filter(|_| allowed) else {
            return Err(self.forbid(Rule::WrongPhase, format!("answered with {status}")));
        };
        if http.answer.is_some() || http.response_began {
            return Err(
                self.forbid(Rule::WrongPhase, format!("answered with {status}, a second time"))
            );
        }
        if http.lost_body && !body.is_empty() {
            self.object(Rule::RefusalSpoiled, format!("answered with {status}"));
        }
        let (Some(headers), Ok(status @ 200..=599)) =
            (Headers::parse(headers), u16::try_from(status))
        else {
            return Err(self.forbid(Rule::Unmeasured, format!("answered with the status {status}")));
        };
        for (name, value) in headers.iter() {
            let visible = |byte: &u8| (b' '..=b'~').contains(byte) || *byte == b'\t';
            if name.is_empty()
                || !name.iter().all(u8::is_ascii_graphic)
                || !value.iter().all(visible)
            {
                let header = format!("{}: {}", brief(name), brief(value));
                self.object(Rule::Unmeasured, format!("answered with the header {header}"));
            }
        }
        if let Some(http) = self.http() {
            http.answer = Some(Response { status, headers, body });
        }
        Ok(status::OK)
    }

    /// `proxy_continue_stream`.
    pub(super) fn resume(&mut self, stream: u32) -> Result<u32, Stop> {
        self.led(|| format!("resume stream {stream}"));
        let on_kong = self.on_kong();
        let in_callback = self.phase() == Some(Phase::CallResponse);
        let Some(http) = self.http().filter(|_| stream == 0) else {
            return Err(self.forbid(Rule::WrongPhase, format!("resumed stream {stream}")));
        };
        if http.answer.is_some() {
            return Err(self.forbid(Rule::Unmeasured, "answered the request, and resumed it"));
        }
        if !http.paused || http.resumed {
            self.object(Rule::Unmeasured, "resumed a request that was not paused");
            return Ok(status::OK);
        }
        http.resumed = true;
        if on_kong && !http.pending.is_empty() {
            self.object(Rule::Unmeasured, "resumed a request while a dispatch of it was under way");
        }
        if on_kong && !in_callback {
            self.object(Rule::Unmeasured, "resumed a request outside on_http_call_response");
        }
        Ok(status::OK)
    }

    /// `proxy_set_effective_context`: Kong knows the current context only.
    pub(super) fn set_effective(&mut self, context: u32) -> u32 {
        let current = self.frame.as_ref().map_or(0, |frame| frame.context);
        if self.on_kong() {
            if context != current {
                self.object(
                    Rule::ForeignContext,
                    format!("made context {context} the effective one in a callback of {current}"),
                );
            }
            return status::OK;
        }
        if self.https.contains_key(&context) || self.roots.contains_key(&context) {
            self.effective = context;
            return status::OK;
        }
        status::BAD_ARGUMENT
    }

    /// `proxy_set_tick_period_milliseconds`.
    pub(super) fn set_tick(&mut self, period_ms: u32) -> Result<u32, Stop> {
        self.led(|| format!("tick every {period_ms} ms"));
        let now = self.shared.borrow().clock.now_ms();
        if !self.in_root() && self.on_kong() {
            return Err(self.forbid(Rule::Unmeasured, "set a tick period outside a root context"));
        }
        if let Some(root) = self.roots.get_mut(&self.effective) {
            root.tick_ms = u64::from(period_ms);
            root.next_tick_ms = now + root.tick_ms;
        }
        Ok(status::OK)
    }

    /// `proxy_log`.
    pub(super) fn log(&mut self, level: u32, text: &[u8]) {
        self.led(|| format!("log {}", brief(text)));
        if self.on_kong() && text.len() > MAX_LOG_LINE {
            self.object(Rule::LogCut, format!("logged {} bytes: {}", text.len(), brief(text)));
        }
        let text = String::from_utf8_lossy(text).into_owned();
        let line = LogLine { worker: self.worker, level, text };
        self.shared.borrow_mut().logs.push(line);
    }

    /// A hostcall that no filter of ours should need.
    pub(super) fn unmeasured(&mut self, hostcall: &str) -> Stop {
        self.forbid(Rule::Unmeasured, format!("called {hostcall}"))
    }
}
