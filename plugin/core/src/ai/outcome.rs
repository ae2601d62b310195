//! What became of a call, as the ledger wants to know it.

use std::iter;

use kombi_spec::usage::{
    Call, MAX_TOKENS,
    reserve::Fallback,
    settle::{
        EndReason, MAX_PROVIDER_REQUEST_ID_BYTES, MAX_TIME_MS, Settlement, Tokens, UsageSource,
    },
};

use super::{
    answer::{Answer, Hides, Passes, Told},
    ask::Ask,
    conversation::AnswerHead,
    usage::Usage,
};
use crate::time::UnixTime;

/// The attempt that a call is reserved as. The tries after it, at other providers, follow it.
pub(super) const FIRST_ATTEMPT: u32 = 1;

/// A call that has left, or is about to.
#[derive(Debug)]
pub(super) struct Sent {
    /// The call, at its first provider.
    pub(super) call: Call,
    /// Where it can go to, in this order; the first is that of the call.
    pub(super) places: Vec<Fallback>,
    /// When it left.
    pub(super) at: UnixTime,
    /// Whether usage was asked for in the client's place.
    pub(super) forced: bool,
    /// Whether it was said what it used.
    pub(super) settled: bool,
    /// The tokens of the input, estimated.
    input: u64,
    answer: Option<Arriving>,
}

/// An answer that arrives.
#[derive(Debug)]
struct Arriving {
    status: u16,
    from_provider: bool,
    /// The statuses of the tries before this one, where they are told.
    failed: Vec<Option<u16>>,
    request_id: Option<String>,
    answer: Answer,
    first_byte_at: Option<UnixTime>,
    ended: bool,
}

impl Sent {
    pub(super) fn new(call: Call, ask: &Ask, now: UnixTime) -> Self {
        Self {
            call,
            places: Vec::new(),
            at: now,
            forced: ask.forces_usage(),
            settled: false,
            input: ask.input_tokens,
            answer: None,
        }
    }

    pub(super) fn begin_answer(&mut self, head: &AnswerHead<'_>) -> bool {
        let hides = match (self.forced, head.changeable) {
            (false, _) => Hides::Nothing,
            (true, true) => Hides::Here,
            (true, false) => Hides::Before,
        };
        let answer = Answer::begin(head.content_type, head.content_encoding, hides);
        let mut failed = head.tried.map(failed).unwrap_or_default();
        failed.truncate(self.places.len().saturating_sub(1));
        self.answer = Some(Arriving {
            status: head.status,
            from_provider: head.from_provider,
            failed,
            request_id: head.request_id.and_then(readable),
            answer,
            first_byte_at: None,
            ended: false,
        });
        hides == Hides::Here
    }

    pub(super) fn pass(&mut self, chunk: &[u8], ends: bool, now: UnixTime) -> Passes {
        let Some(arriving) = &mut self.answer else { return Passes::AsItIs };
        if !chunk.is_empty() {
            arriving.first_byte_at.get_or_insert(now);
        }
        arriving.ended |= ends;
        arriving.answer.take(chunk, ends)
    }

    /// Whether nothing is to come any more that the ledger would want to know.
    pub(super) fn is_over(&self) -> bool {
        self.answer.as_ref().is_some_and(Arriving::is_over)
    }

    /// The settlement of a call that did not leave.
    pub(super) fn not_sent(&self, request_id: &str, now: UnixTime) -> Settlement {
        Settlement {
            request_id: request_id.to_owned(),
            attempt: FIRST_ATTEMPT,
            call: self.call.clone(),
            sent_at: now.as_secs(),
            usage: Tokens::default(),
            usage_source: UsageSource::Provider,
            end_reason: EndReason::NotSent,
            status: None,
            provider_request_id: None,
            first_token_ms: None,
            duration_ms: 0,
        }
    }

    /// The settlements of a call that left, and has ended: of the try that answered, and then of
    /// those before it. What was reserved for all of them is free with the first try's, so it comes
    /// when the ledger has what was used.
    pub(super) fn settle(&self, request_id: &str, now: UnixTime) -> Vec<Settlement> {
        let failed = self.answer.as_ref().map_or(&[][..], |arriving| &arriving.failed);
        let before = failed.iter().enumerate().map(|(index, status)| {
            let (attempt, call) = self.attempt(index);
            let (end_reason, status) = (EndReason::ProviderError, *status);
            let nothing = self.not_sent(request_id, self.at);
            Settlement { attempt, call, end_reason, status, ..nothing }
        });
        iter::once(self.settle_last(failed.len(), request_id, now)).chain(before).collect()
    }

    /// The number of the attempt that is `index` tries after the first, and the call as it went to
    /// that place.
    fn attempt(&self, index: usize) -> (u32, Call) {
        let mut call = self.call.clone();
        if let Some(place) = self.places.get(index) {
            call.provider.clone_from(&place.provider);
            call.model.clone_from(&place.model);
        }
        (FIRST_ATTEMPT.saturating_add(u32::try_from(index).unwrap_or_default()), call)
    }

    /// What became of the last try, which is `index` after the first.
    fn settle_last(&self, index: usize, request_id: &str, now: UnixTime) -> Settlement {
        let (attempt, call) = self.attempt(index);
        let answer = self.answer.as_ref();
        let told = answer.map(|arriving| arriving.answer.told()).unwrap_or_default();
        let end_reason = end_reason(answer, &told, self.call.stream);
        let (usage, usage_source) = numbers(end_reason, &told, self.input);
        let ms = |until: UnixTime| {
            u64::try_from(until.since(self.at).as_millis()).unwrap_or(u64::MAX).min(MAX_TIME_MS)
        };
        let of_body = || told.id.as_deref().and_then(|id| readable(id.as_bytes()));
        Settlement {
            request_id: request_id.to_owned(),
            attempt,
            call,
            sent_at: self.at.as_secs(),
            usage,
            usage_source,
            end_reason,
            status: answer.filter(|a| a.from_provider).map(|arriving| arriving.status),
            provider_request_id: answer.and_then(|a| a.request_id.clone()).or_else(of_body),
            first_token_ms: answer.and_then(|arriving| arriving.first_byte_at).map(ms),
            duration_ms: ms(now),
        }
    }
}

impl Arriving {
    fn is_over(&self) -> bool {
        self.ended || self.answer.is_over()
    }
}

/// How the tries before the last have failed, by the statuses of all.
fn failed(tried: &[u8]) -> Vec<Option<u16>> {
    let status = |text: &[u8]| {
        let status = std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()?;
        (100..=999).contains(&status).then_some(status)
    };
    let mut statuses: Vec<_> = tried.split(|byte| *byte == b':').map(status).collect();
    statuses.pop();
    statuses
}

fn end_reason(answer: Option<&Arriving>, told: &Told, stream: bool) -> EndReason {
    match answer {
        // The client gave up before there was an answer.
        None => EndReason::ClientLeft,
        Some(arriving) if !arriving.from_provider => EndReason::ProviderUnreachable,
        Some(arriving) if arriving.status >= 400 => EndReason::ProviderError,
        Some(_) if told.failed => EndReason::ProviderCut,
        Some(arriving) if !arriving.is_over() => EndReason::ClientLeft,
        Some(_) if stream && !told.complete => EndReason::ProviderCut,
        Some(_) => EndReason::Completed,
    }
}

/// The numbers, and where they are from. The provider's own are final if it sent them last;
/// otherwise they are what it had counted until then, and so is what passed.
fn numbers(end: EndReason, told: &Told, input: u64) -> (Tokens, UsageSource) {
    let source = match end {
        EndReason::Completed if told.usage.is_some() => UsageSource::Provider,
        EndReason::ClientLeft | EndReason::ProviderCut if told.usage_is_final => {
            UsageSource::Provider
        }
        EndReason::Completed => UsageSource::EstimatedMissing,
        EndReason::ClientLeft | EndReason::ProviderCut => UsageSource::EstimatedAbort,
        // What was not answered was not charged.
        _ => return (Tokens::default(), UsageSource::Provider),
    };
    let usage = match (source, told.usage) {
        (UsageSource::Provider, Some(usage)) => usage,
        (_, counted) => {
            let estimate = Usage { input, output: told.made, ..Usage::default() };
            match counted {
                // The provider knows its input from the start.
                Some(counted) => counted.max(Usage { input: 0, ..estimate }),
                None => estimate,
            }
        }
    };
    let most = |tokens: u64| tokens.min(MAX_TOKENS);
    let tokens = Tokens {
        input: most(usage.input),
        cached: most(usage.cached),
        output: most(usage.output),
        reasoning: most(usage.reasoning),
        audio: most(usage.audio),
    };
    (tokens, source)
}

/// An id as the ledger takes it: visible ASCII without `"` and `\`, cut where it is too long.
fn readable(id: &[u8]) -> Option<String> {
    let fits = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\');
    let id: Vec<u8> = id.iter().copied().take(MAX_PROVIDER_REQUEST_ID_BYTES).collect();
    if id.is_empty() || !id.iter().all(fits) {
        return None;
    }
    String::from_utf8(id).ok()
}
