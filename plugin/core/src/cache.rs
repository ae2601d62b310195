//! Verified tokens that one worker remembers, so that the second request costs no signature.
//!
//! For every route holds that the issuer signed these bytes, and what they say. What one route
//! made of that is remembered for this route alone, as an [`Admission`]; on every other the token
//! is judged anew.

use std::rc::Rc;

use crate::{admission::Admission, gate::Gate, keys::Edition, time::UnixTime, token::Token};

/// Places where a token can be remembered: a token may be in any of the `WAYS` places of its row.
const ROWS: usize = 256;
const WAYS: usize = 4;

/// Most memory for tokens and all that is known of them, as far as it can be told.
const MAX_BYTES: usize = 6 * 1024 * 1024;

/// Most admissions of one token. Beyond them, the oldest is forgotten.
const MOST_ADMISSIONS: usize = 8;

/// The tokens.
pub struct TokenCache {
    places: Vec<Option<Entry>>,
    bytes: usize,
    /// The place to clear next when memory runs short.
    hand: usize,
    counts: CacheCounts,
}

/// How often a token was remembered since the counts were taken last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// It was.
    pub hits: u64,
    /// It was not.
    pub misses: u64,
}

/// A token whose signature was verified.
#[derive(Clone)]
pub struct Verified {
    /// The token.
    pub token: Rc<Token>,
    /// The issuer whose keys verified it.
    pub issuer: Rc<str>,
    /// The edition of those keys.
    pub edition: Edition,
}

/// What is known of a token.
pub enum Recalled {
    /// The gate that asks has admitted it before, and what it judged by still holds.
    Admitted(Rc<Admission>),
    /// Its signature was verified.
    Verified(Rc<Token>),
}

struct Entry {
    raw: Box<[u8]>,
    verified: Verified,
    admissions: Vec<Rc<Admission>>,
    expires: UnixTime,
    bytes: usize,
    /// Whether it was asked for since a newcomer last wanted its place.
    used: bool,
}

impl Default for TokenCache {
    fn default() -> Self {
        let places = std::iter::repeat_with(|| None).take(ROWS * WAYS).collect();
        Self { places, bytes: 0, hand: 0, counts: CacheCounts::default() }
    }
}

impl TokenCache {
    /// What is known of the token `raw`, if it was verified before, has not expired, and the keys
    /// that verified it still stand, as `stands` says. `gate` and `method` are those of the request
    /// that it came with.
    pub fn recall(
        &mut self,
        raw: &[u8],
        gate: &Rc<Gate>,
        method: &str,
        now: UnixTime,
        stands: impl FnOnce(&Verified) -> bool,
    ) -> Option<Recalled> {
        let found = self.position(raw);
        let place = found.and_then(|index| self.places.get_mut(index));
        let recalled = place.and_then(|place| {
            let entry = place.as_mut()?;
            if now < entry.expires && stands(&entry.verified) {
                entry.used = true;
                let mut admissions = entry.admissions.iter();
                let admission = admissions.find(|admission| admission.holds(gate, method, now));
                return Some(match admission {
                    Some(admission) => Recalled::Admitted(Rc::clone(admission)),
                    None => Recalled::Verified(Rc::clone(&entry.verified.token)),
                });
            }
            self.bytes = self.bytes.saturating_sub(entry.bytes);
            *place = None;
            None
        });
        match recalled {
            Some(_) => self.counts.hits += 1,
            None => self.counts.misses += 1,
        }
        recalled
    }

    /// Remembers the token `raw`, which was verified, until it expires.
    pub fn remember(&mut self, raw: &[u8], verified: Verified, expires: UnixTime) {
        let bytes = weight(raw, &verified.token);
        if bytes > MAX_BYTES / 16 {
            // One giant must not drive out everybody else.
            return;
        }
        let index = self.position(raw).or_else(|| self.victim(raw));
        let Some(index) = index else { return };
        self.clear(index);
        self.make_room(bytes);
        if let Some(place) = self.places.get_mut(index) {
            self.bytes = self.bytes.saturating_add(bytes);
            let (raw, admissions) = (raw.into(), Vec::new());
            *place = Some(Entry { raw, verified, admissions, expires, bytes, used: false });
        }
    }

    /// Remembers the admission of the token `raw`, as long as the token itself is remembered.
    pub fn admit(&mut self, raw: &[u8], admission: Rc<Admission>) {
        let bytes = admission.weight();
        if bytes > MAX_BYTES / 16 {
            return;
        }
        self.make_room(bytes);
        let Some(index) = self.position(raw) else { return };
        let Some(entry) = self.places.get_mut(index).and_then(Option::as_mut) else { return };
        let forgotten = if entry.admissions.len() < MOST_ADMISSIONS {
            0
        } else {
            entry.admissions.remove(0).weight()
        };
        entry.admissions.push(admission);
        entry.bytes = entry.bytes.saturating_sub(forgotten).saturating_add(bytes);
        self.bytes = self.bytes.saturating_sub(forgotten).saturating_add(bytes);
    }

    /// What happened since this was asked last.
    pub fn take_counts(&mut self) -> CacheCounts {
        std::mem::take(&mut self.counts)
    }

    /// Where the token `raw` is.
    fn position(&self, raw: &[u8]) -> Option<usize> {
        row(raw).find(|index| {
            let place = self.places.get(*index).and_then(Option::as_ref);
            place.is_some_and(|entry| same(&entry.raw, raw))
        })
    }

    /// The place for a token that is not there: a free one, or one that nobody asked for lately.
    fn victim(&mut self, raw: &[u8]) -> Option<usize> {
        let free = |places: &[Option<Entry>], index| places.get(index).is_some_and(Option::is_none);
        if let Some(index) = row(raw).find(|index| free(&self.places, *index)) {
            return Some(index);
        }
        let mut victim = None;
        for index in row(raw) {
            let entry = self.places.get_mut(index).and_then(Option::as_mut)?;
            if !std::mem::take(&mut entry.used) {
                victim.get_or_insert(index);
            }
        }
        victim.or_else(|| row(raw).next())
    }

    /// Clears places until there is memory for so many bytes.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes.saturating_add(bytes) > MAX_BYTES {
            self.hand = (self.hand + 1) % (ROWS * WAYS);
            self.clear(self.hand);
        }
    }

    fn clear(&mut self, index: usize) {
        if let Some(entry) = self.places.get_mut(index).and_then(Option::take) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}

/// The places of a token. Its last bytes are part of the signature: they differ from token to
/// token, and who does not hold the issuer's key cannot choose them.
fn row(raw: &[u8]) -> std::ops::Range<usize> {
    let mut hash = 0_u64;
    for word in raw.as_rchunks::<8>().1.iter().rev().take(2).map(|word| u64::from_ne_bytes(*word)) {
        hash = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    let row = usize::try_from(hash >> 40).unwrap_or_default() % ROWS;
    row * WAYS..(row + 1) * WAYS
}

/// Whether two tokens are equal in every byte. Thirty-two at a time: in WebAssembly, comparing
/// slices goes byte by byte.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (a_words, a_rest) = a.as_chunks::<8>();
    let (b_words, b_rest) = b.as_chunks::<8>();
    let (a_lines, a_words) = a_words.as_chunks::<4>();
    let (b_lines, b_words) = b_words.as_chunks::<4>();
    let difference = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    let same = |a: &[[u8; 8]], b: &[[u8; 8]]| {
        a.iter().zip(b).map(difference).fold(0, |all, one| all | one) == 0
    };
    a.len() == b.len()
        && a_rest == b_rest
        && same(a_words, b_words)
        && a_lines.iter().zip(b_lines).all(|(a, b)| same(a, b))
}

/// About how much memory a token takes.
fn weight(raw: &[u8], token: &Token) -> usize {
    // The token keeps its own copy of the bytes.
    raw.len() * 2 + token.claims.weight() + 256
}

#[cfg(test)]
mod tests;
