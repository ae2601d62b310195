//! What one worker knows of opaque tokens, and which it asks about at this moment.
//!
//! Good tokens and all others are remembered apart, so that made-up ones push no good one out. Of
//! the requests that bring the same token one asks and the others wait; and only so many
//! tokens are asked about at a time, however many a client makes up.

use std::{collections::BTreeMap, rc::Rc, time::Duration};

use super::{
    question::{Answer, AskError, Fingerprint, Opaque},
    shelf::Shelf,
};
use crate::{exchange::Exchange, time::UnixTime, token::Claims};

/// Most good tokens remembered, and the most memory for what they say.
const MOST_GOOD: usize = 1024;
const MOST_GOOD_BYTES: usize = 4 * 1024 * 1024;

/// Most other tokens remembered.
const MOST_OTHERS: usize = 2048;

/// Most tokens asked about at a time.
const MOST_QUESTIONS: usize = 64;

/// Most requests that may wait for what others ask. On Kong each of them calls the waiting room over
/// and over, so they are few: whoever makes up tokens must not keep the worker busy with those.
const SEATS: usize = 64;

/// How much longer a question may be under way than its call may take: a tick and some more.
const TOLERANCE: Duration = Duration::from_secs(1);

/// What one worker knows of opaque tokens.
pub struct Verdicts {
    good: Shelf<(Rc<Claims>, Span)>,
    others: Shelf<(Other, Span)>,
    questions: BTreeMap<Fingerprint, Question>,
    asked: u64,
    /// Every request that waits holds a copy.
    seats: Rc<()>,
    counts: VerdictCounts,
}

/// How questions ended since the counts were taken last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct VerdictCounts {
    /// The token is good.
    pub active: u64,
    /// It is not.
    pub inactive: u64,
    /// The exchange did not say.
    pub failed: u64,
}

/// What is known of a token.
pub enum Known {
    /// It is good, and says this.
    Active(Rc<Claims>),
    /// It is not.
    Inactive,
    /// The exchange was asked in vain a moment ago.
    Unavailable,
    /// Nothing: the caller must ask, and settle or release the ticket.
    Ask(Ticket),
    /// Somebody asks at this moment, or too many others do.
    Busy,
}

/// The right to ask about a token: nobody else does until it is settled, released, or has lapsed.
#[derive(Debug)]
pub struct Ticket {
    fingerprint: Fingerprint,
    number: u64,
}

#[derive(Clone, Copy)]
enum Other {
    Inactive,
    Unavailable,
}

/// The moments at which something holds. A clock that was set back must not stretch it.
#[derive(Clone, Copy)]
struct Span {
    from: UnixTime,
    until: UnixTime,
}

impl Span {
    fn new(now: UnixTime, length: Duration) -> Self {
        Self { from: now, until: now.plus(length) }
    }

    fn contains(self, now: UnixTime) -> bool {
        self.from <= now && now < self.until
    }
}

struct Question {
    number: u64,
    under_way: Span,
}

impl Default for Verdicts {
    fn default() -> Self {
        Self {
            good: Shelf::new(MOST_GOOD, MOST_GOOD_BYTES),
            others: Shelf::new(MOST_OTHERS, usize::MAX),
            questions: BTreeMap::new(),
            asked: 0,
            seats: Rc::default(),
            counts: VerdictCounts::default(),
        }
    }
}

impl Verdicts {
    /// What is known of `token`, if `issuer` is asked about it through `exchange`.
    #[must_use]
    pub fn find(
        &mut self,
        token: Opaque<'_>,
        issuer: &str,
        exchange: &Exchange,
        now: UnixTime,
    ) -> Known {
        let Some(fingerprint) = token.fingerprint(issuer, exchange) else {
            return Known::Unavailable;
        };
        match self.good.get(&fingerprint) {
            Some((claims, span)) if span.contains(now) => return Known::Active(Rc::clone(claims)),
            Some(_) => self.good.remove(&fingerprint),
            None => {}
        }
        match self.others.get(&fingerprint) {
            Some((Other::Inactive, span)) if span.contains(now) => return Known::Inactive,
            Some((Other::Unavailable, span)) if span.contains(now) => return Known::Unavailable,
            Some(_) => self.others.remove(&fingerprint),
            None => {}
        }
        self.questions.retain(|_, question| question.under_way.contains(now));
        let busy = self.questions.contains_key(&fingerprint);
        if busy || self.questions.len() >= MOST_QUESTIONS {
            return Known::Busy;
        }
        self.asked = self.asked.wrapping_add(1);
        let number = self.asked;
        let under_way = Span::new(now, exchange.timeout.saturating_add(TOLERANCE));
        self.questions.insert(fingerprint, Question { number, under_way });
        Known::Ask(Ticket { fingerprint, number })
    }

    /// Notes what the exchange said.
    pub fn settle(&mut self, ticket: &Ticket, said: Result<&Answer, &AskError>, now: UnixTime) {
        self.release(ticket);
        let fingerprint = ticket.fingerprint;
        self.good.remove(&fingerprint);
        self.others.remove(&fingerprint);
        let (other, length) = match said {
            Ok(Answer::Active(claims, length)) => {
                self.counts.active += 1;
                if !length.is_zero() {
                    let known = (Rc::clone(claims), Span::new(now, *length));
                    self.good.put(fingerprint, known, claims.weight());
                }
                return;
            }
            Ok(Answer::Inactive(length)) => {
                self.counts.inactive += 1;
                (Other::Inactive, *length)
            }
            Err(_) => {
                self.counts.failed += 1;
                (Other::Unavailable, AskError::RELIED_ON)
            }
        };
        if !length.is_zero() {
            self.others.put(fingerprint, (other, Span::new(now, length)), 0);
        }
    }

    /// Notes that whoever had `ticket` does not ask: the next request with the token may.
    pub fn release(&mut self, ticket: &Ticket) {
        let held = self.questions.get(&ticket.fingerprint);
        if held.is_some_and(|question| question.number == ticket.number) {
            self.questions.remove(&ticket.fingerprint);
        }
    }

    /// A seat for a request that waits, if one is free. Dropping it frees it.
    #[must_use]
    pub fn seat(&self) -> Option<Rc<()>> {
        (Rc::strong_count(&self.seats) <= SEATS).then(|| Rc::clone(&self.seats))
    }

    /// What happened since this was asked last.
    pub fn take_counts(&mut self) -> VerdictCounts {
        std::mem::take(&mut self.counts)
    }
}

#[cfg(test)]
mod tests;
