//! Dispatches: from where, and to what.

use super::{Phase, Stop, Vm, status};
use crate::{headers::Headers, peers::Call, rule::Rule};

/// How many calls of one request may time out in a row. Nobody has counted how many it takes, so
/// this is what a filter needs: its call and one more.
const MOST_TIMEOUTS: u32 = 2;

impl Vm {
    /// `proxy_http_call`; the token, or the status that refuses it.
    pub(super) fn dispatch(
        &mut self,
        target: &[u8],
        headers: &[u8],
        body: Vec<u8>,
        timeout_ms: u32,
    ) -> Result<Result<u32, u32>, Stop> {
        let target = String::from_utf8_lossy(target).into_owned();
        let Some(headers) = Headers::parse(headers) else {
            return Err(self.forbid(Rule::Trap, "passed a header map that cannot be read"));
        };
        if self.on_kong() {
            self.check_dispatch(&target)?;
        }
        let complete =
            [":method", ":path", ":authority"].iter().all(|name| headers.first(name).is_some());
        if !complete {
            self.object(
                Rule::DispatchTarget,
                format!("dispatched to {target} without :method, :path or :authority"),
            );
            return Ok(Err(status::BAD_ARGUMENT));
        }
        let mut shared = self.shared.borrow_mut();
        if let Some(refusal) = shared.refuse_dispatch {
            drop(shared);
            self.led(|| format!("dispatch to {target} is refused"));
            return Ok(Err(refusal));
        }
        let token = shared.next_token;
        shared.next_token += 1;
        let made_at_ms = shared.clock.now_ms();
        drop(shared);
        let call = Call {
            token,
            worker: self.worker,
            context: self.effective,
            from_root: self.in_root(),
            target,
            headers,
            body,
            timeout_ms: u64::from(timeout_ms),
            made_at_ms,
        };
        self.led(|| format!("dispatch {token} to {}{}", call.target, call.path()));
        if let Some(http) = self.http() {
            http.pending.insert(token);
        }
        self.outbox.push(call);
        Ok(Ok(token))
    }

    fn check_dispatch(&mut self, target: &str) -> Result<(), Stop> {
        if self.phase() == Some(Phase::CallResponse) && self.in_root() {
            return Err(
                self.forbid(Rule::DispatchFromRootsCallback, format!("dispatched to {target}"))
            );
        }
        let timeouts = self.http().map_or(0, |http| http.timeouts_in_a_row);
        if timeouts > MOST_TIMEOUTS {
            self.object(
                Rule::TimeoutsInARow,
                format!("dispatched to {target} after {timeouts} timeouts in a row"),
            );
        }
        let allowed = match self.phase() {
            Some(Phase::RequestHeaders | Phase::RequestBody | Phase::Tick) => true,
            Some(Phase::CallResponse) => !self.http().is_some_and(|http| http.response_began),
            _ => false,
        };
        if !allowed {
            return Err(self.forbid(Rule::DispatchPhase, format!("dispatched to {target}")));
        }
        if self.http().is_some_and(|http| http.answer.is_some()) {
            return Err(
                self.forbid(Rule::DispatchPhase, format!("answered, and dispatched to {target}"))
            );
        }
        let is_address = target.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !is_address || target.contains("//") {
            return Err(self.forbid(Rule::DispatchTarget, format!("dispatched to {target:?}")));
        }
        Ok(())
    }
}
