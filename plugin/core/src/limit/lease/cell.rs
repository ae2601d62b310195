//! A node's part of one quota, in the zone.

use std::time::Duration;

use kombi_spec::lease::{Holding, MAX_UNITS, Share};

use super::{Name, Taken, Terms, fingerprint, millis, place::Need};
use crate::time::UnixTime;

/// Begins every cell.
const MAGIC: [u8; 4] = *b"KoS1";

/// When to try again where units are left but not here: at the next tick there may be.
const SOON_MS: u64 = 250;

/// How much more than what is used at the present rate a node asks for, in quarters.
const QUARTERS: u64 = 5;

/// Of a quota that was not reported about for longer, no worker knows any more.
const FORGOTTEN_MS: Ms = 60_000;

type Ms = u64;

/// A node's part of one quota. The counters are those of [`Holding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cell {
    lease: u64,
    seq: u64,
    granted: u64,
    pub(super) used: u64,
    released: u64,
    /// Units admitted by guess whose report was not answered, and those already reported.
    guessed: u64,
    guesses_reported: u64,
    /// The last report that was answered, when it was sent, and until when its answer holds.
    heard_seq: u64,
    heard_at: Ms,
    until: Ms,
    keep: u64,
    left: i64,
    told_at: Ms,
    /// There is nothing to guess at before.
    barred_until: Ms,
    /// When it was reported last.
    reported_at: Ms,
    /// Units that were tried to take in all, then and now; and per second, in thousandths.
    tried: u64,
    tried_then: u64,
    rate: u64,
}

impl Cell {
    /// A cell of a quota that the node begins to use. Two leases have different numbers because one
    /// begins after the other.
    pub(super) fn new(now: UnixTime) -> Self {
        Self { lease: now.as_millis(), ..Self::default() }
    }

    /// How much it is needed; none, if too much to make room. A quota that is used up is: whoever
    /// used it up must not be new again.
    pub(super) fn need(&self, now: UnixTime) -> Option<Need> {
        let now_ms = now.as_millis();
        let forgotten = now_ms > self.reported_at.saturating_add(FORGOTTEN_MS);
        if now_ms < self.barred_until || self.unused(now) > 0 {
            None
        } else if self.reported_at > 0 && (forgotten || self.is_settled(now)) {
            Some(Need::Over)
        } else {
            (self.granted == 0 && self.used == self.guessed).then_some(Need::New)
        }
    }

    /// Takes `cost` units; `silent` says whether the exchange has been for too long.
    pub(super) fn take(
        &mut self,
        cost: u64,
        terms: &Terms,
        now: UnixTime,
        silent: impl FnOnce() -> bool,
    ) -> Taken {
        self.tried = self.tried.saturating_add(cost);
        let unused = self.unused(now);
        // Who takes nothing looks whether there is something.
        let needed = cost.max(1);
        if needed <= unused {
            self.used = self.used.saturating_add(cost);
            return Taken::Granted { left: self.left_with(unused - cost) };
        }
        if silent() {
            return Taken::Unknown;
        }
        let guess = self.guessed.saturating_add(needed - unused);
        if now.as_millis() >= self.barred_until && guess <= terms.guess() {
            self.guessed = self.guessed.saturating_add(cost.saturating_sub(unused));
            self.used = self.used.saturating_add(cost);
            return Taken::Granted { left: self.left_with(0) };
        }
        let barred_ms = self.barred_until.saturating_sub(now.as_millis());
        Taken::Exhausted(Duration::from_millis(barred_ms.max(SOON_MS)))
    }

    /// Takes `cost` units, there or not.
    pub(super) fn charge(&mut self, cost: u64) {
        self.tried = self.tried.saturating_add(cost);
        self.used = self.used.saturating_add(cost).min(MAX_UNITS);
    }

    /// The report about it, and the cell as it is from then on. An idle one keeps nothing.
    pub(super) fn report(
        &mut self,
        name: &Name,
        terms: &Terms,
        idle: bool,
        now: UnixTime,
    ) -> Holding {
        self.measure(now);
        let wanted = if idle { 0 } else { self.wanted(terms) };
        let unused = self.unused(now);
        let keep = if self.left > 0 { wanted } else { wanted.min(self.keep) };
        self.released = self.released.saturating_add(unused.saturating_sub(keep));
        self.seq = self.seq.saturating_add(1);
        self.reported_at = now.as_millis();
        self.guesses_reported = self.guessed;
        Holding {
            rule: name.rule.clone(),
            key: fingerprint(&name.key),
            amount: terms.amount,
            period_ms: terms.period_ms(),
            burst: terms.burst,
            ttl_ms: millis(terms.grace),
            lease: self.lease,
            seq: self.seq,
            granted: self.granted,
            used: self.used,
            released: self.released,
            wanted,
            left: self.left,
            told_at_ms: self.told_at,
        }
    }

    /// Takes an answer to a report that was sent at `sent_at`; says whether it is any news.
    pub(super) fn heed(&mut self, share: &Share, terms: &Terms, sent_at: UnixTime) -> bool {
        let news = share.seq > self.heard_seq && share.seq <= self.seq;
        if share.lease != self.lease || !news {
            return false;
        }
        let sent_at = sent_at.as_millis();
        self.heard_seq = share.seq;
        self.heard_at = sent_at;
        self.until = sent_at.saturating_add(millis(terms.grace));
        self.granted = share.granted;
        self.keep = share.keep;
        self.left = share.left;
        self.told_at = share.told_at_ms;
        self.barred_until = sent_at.saturating_add(share.retry_after_ms);
        if share.seq == self.seq {
            self.guessed = self.guessed.saturating_sub(self.guesses_reported);
            self.guesses_reported = 0;
        }
        true
    }

    /// Whether there is nothing about it that the exchange should hear.
    pub(super) fn is_settled(&self, now: UnixTime) -> bool {
        self.unused(now) == 0 && self.heard_seq == self.seq && self.tried == self.tried_then
    }

    /// Whether it was reported less than `rest` ago.
    pub(super) fn was_reported(&self, now: UnixTime, rest: Duration) -> bool {
        let at = UnixTime::from_millis(self.reported_at);
        now >= at && now.since(at) < rest
    }

    /// Units on lease that may be spent now. Not before the report was sent that they come from:
    /// then the clock was set back, and how long they live is not known.
    fn unused(&self, now: UnixTime) -> u64 {
        let live = (self.heard_at..self.until).contains(&now.as_millis());
        let spent = self.used.saturating_add(self.released);
        if live { self.granted.saturating_sub(spent) } else { 0 }
    }

    fn left_with(&self, unused: u64) -> u64 {
        unused.saturating_add(u64::try_from(self.left).unwrap_or(0))
    }

    /// Takes in how much was tried since the last report. More counts at once, less by and by.
    fn measure(&mut self, now: UnixTime) {
        let span_ms = now.as_millis().saturating_sub(self.reported_at).max(1);
        let tried = self.tried.saturating_sub(self.tried_then);
        // A first report has no span to speak of.
        let span_ms = if self.reported_at == 0 { 1_000 } else { span_ms };
        let rate = tried.saturating_mul(1_000_000).checked_div(span_ms).unwrap_or(0);
        self.rate = rate.max(self.rate.saturating_mul(3).saturating_add(rate) / 4);
        self.tried_then = self.tried;
    }

    /// Units that last for the life of a lease, and the second until the next.
    fn wanted(&self, terms: &Terms) -> u64 {
        let ms = millis(terms.grace).saturating_add(1_000);
        let used = u128::from(self.rate) * u128::from(ms) * u128::from(QUARTERS) / 4_000_000;
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        used.saturating_add(terms.guess()).min(terms.burst)
    }

    /// [`MAGIC`], the numbers in this order, the rule's name, a zero byte, and the key.
    pub(super) fn encode(&self, name: &Name) -> Vec<u8> {
        let numbers = [
            self.lease,
            self.seq,
            self.granted,
            self.used,
            self.released,
            self.guessed,
            self.guesses_reported,
            self.heard_seq,
            self.heard_at,
            self.until,
            self.keep,
            self.left.cast_unsigned(),
            self.told_at,
            self.barred_until,
            self.reported_at,
            self.tried,
            self.tried_then,
            self.rate,
        ];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend(name.rule.as_bytes());
        bytes.push(0);
        bytes.extend(&name.key);
        bytes
    }

    /// Reads a cell, and whose it is; `None` if it is none.
    pub(super) fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (numbers, owner) = bytes.strip_prefix(&MAGIC)?.split_at_checked(18 * 8)?;
        let mut numbers = numbers
            .chunks_exact(8)
            .map_while(|chunk| chunk.try_into().ok().map(u64::from_le_bytes));
        let mut next = || numbers.next();
        let cell = Self {
            lease: next()?,
            seq: next()?,
            granted: next()?,
            used: next()?,
            released: next()?,
            guessed: next()?,
            guesses_reported: next()?,
            heard_seq: next()?,
            heard_at: next()?,
            until: next()?,
            keep: next()?,
            left: next()?.cast_signed(),
            told_at: next()?,
            barred_until: next()?,
            reported_at: next()?,
            tried: next()?,
            tried_then: next()?,
            rate: next()?,
        };
        Some((cell, owner))
    }
}
