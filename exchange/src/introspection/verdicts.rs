//! What is known of tokens: in memory, bounded, and found out once however many ask at the same
//! time. Time is an argument here.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde_json::value::RawValue;
use tokio::{sync::OnceCell, time::Instant};

use super::{client::AskError, token::Fingerprint};

/// What is known of a token.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    /// It is good, and the issuer says this about it.
    Active(Arc<RawValue>),
    /// It is not.
    Inactive,
    /// The issuer did not say.
    Unknown(Arc<AskError>),
}

impl Verdict {
    /// The verdict as a metric's label.
    pub(super) fn as_label(&self) -> &'static str {
        match self {
            Self::Active(_) => "active",
            Self::Inactive => "inactive",
            Self::Unknown(error) => error.as_label(),
        }
    }
}

/// A verdict, and until when it may be relied on.
#[derive(Debug, Clone)]
pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) until: Instant,
}

/// Where a judgement came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It was known.
    Cache,
    /// Somebody else had just asked.
    Shared,
    /// The issuer was asked.
    Issuer,
}

impl Source {
    /// The source as a metric's label.
    pub(super) const fn as_label(self) -> &'static str {
        match self {
            Self::Cache => "cache",
            Self::Shared => "shared",
            Self::Issuer => "issuer",
        }
    }
}

/// Everything that is known.
pub(super) struct Verdicts {
    known: Mutex<Known>,
}

struct Known {
    active: Shelf,
    /// Apart from the active ones, because anybody can make up bad tokens: however many those
    /// are, they push out only each other.
    other: Shelf,
    /// Questions under way. There are no more of them than requests.
    flights: HashMap<Fingerprint, Flight>,
}

type Flight = Arc<OnceCell<Judgement>>;

impl Verdicts {
    /// Room for `tokens` active tokens and as many others.
    pub(super) fn new(tokens: usize) -> Self {
        let (active, other) = (Shelf::new(tokens), Shelf::new(tokens));
        Self { known: Mutex::new(Known { active, other, flights: HashMap::new() }) }
    }

    /// What is known of `token` at `now`; if nothing is, what `ask` says. Of those who want to
    /// know at the same time one asks, and if that one gives up, the next.
    pub(super) async fn of(
        &self,
        token: Fingerprint,
        now: Instant,
        ask: impl Future<Output = Judgement>,
    ) -> (Judgement, Source) {
        let flight = {
            let mut known = self.lock();
            if let Some(judgement) = known.of(&token, now) {
                return (judgement, Source::Cache);
            }
            Arc::clone(known.flights.entry(token).or_default())
        };
        let seat = Seat { verdicts: self, token, flight };
        let mut source = Source::Shared;
        let ask = async {
            source = Source::Issuer;
            let judgement = ask.await;
            self.lock().land(token, judgement.clone());
            judgement
        };
        let judgement = seat.flight.get_or_init(|| ask).await.clone();
        (judgement, source)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(&mut self, token: &Fingerprint, now: Instant) -> Option<Judgement> {
        self.active.find(token, now).or_else(|| self.other.find(token, now))
    }

    /// Keeps the judgement and ends the flight, in one: whoever comes next finds the one or,
    /// when it is too old, starts another.
    fn land(&mut self, token: Fingerprint, judgement: Judgement) {
        self.flights.remove(&token);
        let (to, from) = match judgement.verdict {
            Verdict::Active(_) => (&mut self.active, &mut self.other),
            Verdict::Inactive | Verdict::Unknown(_) => (&mut self.other, &mut self.active),
        };
        from.take(&token);
        to.put(token, judgement);
    }
}

/// Somebody's place in a flight. The last one to leave a flight that never landed removes it.
struct Seat<'a> {
    verdicts: &'a Verdicts,
    token: Fingerprint,
    flight: Flight,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut known = self.verdicts.lock();
        let ours = known.flights.get(&self.token).is_some_and(|f| Arc::ptr_eq(f, &self.flight));
        // This seat and the entry itself.
        if ours && Arc::strong_count(&self.flight) <= 2 {
            known.flights.remove(&self.token);
        }
    }
}

/// A bounded number of judgements. The one that was used least recently goes first.
struct Shelf {
    bound: usize,
    turn: u64,
    kept: HashMap<Fingerprint, (u64, Judgement)>,
    by_turn: BTreeMap<u64, Fingerprint>,
}

impl Shelf {
    fn new(bound: usize) -> Self {
        Self { bound, turn: 0, kept: HashMap::new(), by_turn: BTreeMap::new() }
    }

    /// The judgement, unless it is too old to be relied on at `now`.
    fn find(&mut self, token: &Fingerprint, now: Instant) -> Option<Judgement> {
        let judgement = self.take(token).filter(|judgement| now < judgement.until)?;
        self.put(*token, judgement.clone());
        Some(judgement)
    }

    fn put(&mut self, token: Fingerprint, judgement: Judgement) {
        self.take(&token);
        self.turn += 1;
        self.kept.insert(token, (self.turn, judgement));
        self.by_turn.insert(self.turn, token);
        while self.kept.len() > self.bound
            && let Some((_, oldest)) = self.by_turn.pop_first()
        {
            self.kept.remove(&oldest);
        }
    }

    fn take(&mut self, token: &Fingerprint) -> Option<Judgement> {
        let (turn, judgement) = self.kept.remove(token)?;
        self.by_turn.remove(&turn);
        Some(judgement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    const S: Duration = Duration::from_secs(1);

    fn active(until: Instant) -> Judgement {
        let claims = RawValue::from_string("{}".to_owned()).unwrap();
        Judgement { verdict: Verdict::Active(Arc::from(claims)), until }
    }

    fn inactive(until: Instant) -> Judgement {
        Judgement { verdict: Verdict::Inactive, until }
    }

    async fn source(verdicts: &Verdicts, token: u64, now: Instant, judgement: Judgement) -> Source {
        verdicts.of(Fingerprint::of(token), now, ready(judgement)).await.1
    }

    #[tokio::test]
    async fn a_judgement_is_relied_on_until_its_time_and_not_at_it() {
        let (verdicts, start) = (Verdicts::new(4), Instant::now());
        for (token, judgement) in [(1, active(start + S)), (2, inactive(start + S))] {
            let ask = |now| source(&verdicts, token, now, judgement.clone());
            assert_eq!(ask(start).await, Source::Issuer);
            assert_eq!(ask(start + S / 2).await, Source::Cache);
            assert_eq!(ask(start + S).await, Source::Issuer);
        }
    }

    #[tokio::test]
    async fn of_ten_thousand_tokens_no_more_are_kept_than_there_is_room_for() {
        let (verdicts, now) = (Verdicts::new(100), Instant::now());
        for token in 0..10_000 {
            source(&verdicts, token, now, active(now + S)).await;
            source(&verdicts, token + 10_000, now, inactive(now + S)).await;
            // In use all the time, so it stays.
            source(&verdicts, 0, now, active(now + S)).await;
        }
        {
            let known = verdicts.lock();
            for shelf in [&known.active, &known.other] {
                assert_eq!((shelf.kept.len(), shelf.by_turn.len()), (100, 100));
            }
            assert!(known.flights.is_empty());
        }
        for (token, kept) in [(0, true), (1, false), (9_899, false), (9_999, true)] {
            let source = source(&verdicts, token, now, active(now + S)).await;
            assert_eq!(source == Source::Cache, kept, "{token}");
        }
    }

    #[tokio::test]
    async fn bad_tokens_push_out_no_good_one() {
        let (verdicts, now) = (Verdicts::new(10), Instant::now());
        source(&verdicts, 0, now, active(now + S)).await;
        for token in 1..1000 {
            source(&verdicts, token, now, inactive(now + S)).await;
        }
        assert_eq!(source(&verdicts, 0, now, active(now + S)).await, Source::Cache);
    }

    #[tokio::test]
    async fn a_token_that_went_bad_is_not_remembered_as_good() {
        let (verdicts, start) = (Verdicts::new(10), Instant::now());
        source(&verdicts, 0, start, active(start + S)).await;
        source(&verdicts, 0, start + S, inactive(start + 2 * S)).await;
        let known = verdicts.of(Fingerprint::of(0), start + S, pending()).await.0;
        assert!(matches!(known.verdict, Verdict::Inactive));
        assert!(verdicts.lock().active.kept.is_empty());
    }

    #[tokio::test]
    async fn of_many_at_once_one_asks_and_all_are_told_even_if_it_cannot_be_kept() {
        let (verdicts, now, asked) = (Verdicts::new(4), Instant::now(), AtomicUsize::new(0));
        let want = || {
            verdicts.of(Fingerprint::of(1), now, async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                active(now)
            })
        };
        let told = in_turns((0..100).map(|_| want()).collect()).await;
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert_eq!(told.iter().filter(|source| **source == Source::Issuer).count(), 1);
        assert!(verdicts.lock().flights.is_empty());
    }

    #[tokio::test]
    async fn when_the_one_who_asks_gives_up_the_next_one_asks() {
        let (verdicts, now) = (Verdicts::new(4), Instant::now());
        let token = Fingerprint::of(1);
        let given_up = tokio::time::timeout(S / 100, verdicts.of(token, now, pending())).await;
        assert!(given_up.is_err());
        assert!(verdicts.lock().flights.is_empty());
        let mut first = Box::pin(verdicts.of(token, now, pending()));
        assert!(at_once(&mut first).await.is_none());
        let mut second = Box::pin(verdicts.of(token, now, ready(active(now + S))));
        assert!(at_once(&mut second).await.is_none());
        drop(first);
        assert_eq!(second.await.1, Source::Issuer);
        assert!(verdicts.lock().flights.is_empty());
    }

    /// What all of `asking` were told, polled in turns.
    async fn in_turns(asking: Vec<impl Future<Output = (Judgement, Source)>>) -> Vec<Source> {
        let mut asking: Vec<_> = asking.into_iter().map(Box::pin).collect();
        let mut told = Vec::new();
        while !asking.is_empty() {
            let mut rest = Vec::new();
            for mut one in asking {
                match at_once(&mut one).await {
                    Some((_, source)) => told.push(source),
                    None => rest.push(one),
                }
            }
            asking = rest;
            tokio::task::yield_now().await;
        }
        told
    }

    /// The result of `future`, if it is there after one look.
    async fn at_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        use std::{pin::Pin, task::Poll};
        std::future::poll_fn(|context| match Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }
}
