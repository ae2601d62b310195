//! Buffers: bodies and configurations.

use super::{Phase, Stop, Vm, status};
use crate::rule::Rule;

impl Vm {
    /// `proxy_get_buffer_bytes`.
    pub(super) fn buffer(
        &mut self,
        buffer: u32,
        start: u32,
        size: u32,
    ) -> Result<Option<Vec<u8>>, Stop> {
        let phase = self.phase();
        let limit = self.shared.borrow().settings.body_buffer_bytes;
        let on_kong = self.on_kong();
        let bytes = match (buffer, phase) {
            // Kong: a body above the buffer's size lies in a file, which the filter cannot read.
            (0, Some(Phase::RequestBody)) => self
                .http()
                .map(|http| http.body.clone())
                .filter(|body| !on_kong || body.len() <= limit),
            (1, Some(Phase::ResponseBody)) => self.http().map(|http| http.chunk.clone()),
            (4, Some(Phase::CallResponse)) => self
                .frame
                .as_ref()
                .and_then(|frame| frame.delivery.as_ref().map(|delivery| delivery.body.clone())),
            (6, Some(Phase::Start)) => None,
            (7, Some(Phase::Configure)) => {
                self.roots.get(&self.effective).map(|root| root.configuration.clone())
            }
            _ => return Err(self.forbid(Rule::WrongPhase, format!("read the buffer {buffer}"))),
        };
        self.led(|| format!("buffer {buffer} has {:?} bytes", bytes.as_ref().map(Vec::len)));
        Ok(bytes.map(|bytes| {
            let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
            let size = usize::try_from(size).unwrap_or(usize::MAX);
            let end = start.saturating_add(size).min(bytes.len());
            bytes.get(start..end).unwrap_or_default().to_vec()
        }))
    }

    /// `proxy_set_buffer_bytes`.
    pub(super) fn set_buffer(
        &mut self,
        buffer: u32,
        start: u32,
        size: u32,
        value: &[u8],
    ) -> Result<u32, Stop> {
        self.led(|| format!("write {} bytes to the buffer {buffer}", value.len()));
        let phase = self.phase();
        // Kong: what goes in front of a chunk, in place of nothing, does no harm.
        if buffer == 1
            && phase == Some(Phase::ResponseBody)
            && self.on_kong()
            && (start, size) != (0, 0)
        {
            self.object(Rule::ResponseReplaced, "replaced a chunk of the response");
        }
        let bytes = match (buffer, phase) {
            (0, Some(Phase::RequestBody)) => self.http().map(|http| &mut http.body),
            (0, _) => return Err(self.forbid(Rule::RequestBodyPhase, "wrote the request's body")),
            (1, Some(Phase::ResponseBody)) => self.http().map(|http| &mut http.chunk),
            _ => return Err(self.forbid(Rule::WrongPhase, format!("wrote the buffer {buffer}"))),
        };
        let Some(bytes) = bytes else { return Ok(status::BAD_ARGUMENT) };
        let start = usize::try_from(start).unwrap_or(usize::MAX).min(bytes.len());
        let end =
            start.saturating_add(usize::try_from(size).unwrap_or(usize::MAX)).min(bytes.len());
        bytes.splice(start..end, value.iter().copied());
        Ok(status::OK)
    }
}
