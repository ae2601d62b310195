//! Requests at a steady rate, to several gateways at once.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use crate::answer;

/// How many requests wait for an answer at one gateway at most.
const CONNECTIONS: u16 = 8;

/// How long something may take to happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of the requests to one gateway.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// They reached the backend.
    pub admitted: u64,
    /// 429.
    pub denied: u64,
    /// 503.
    pub unavailable: u64,
    /// Anything else, or no answer.
    pub failed: u64,
    /// The longest that one took.
    pub slowest: Duration,
}

impl Counts {
    fn add(&mut self, status: u16, took: Duration) {
        self.slowest = self.slowest.max(took);
        match status {
            200 => self.admitted += 1,
            429 => self.denied += 1,
            503 => self.unavailable += 1,
            _ => self.failed += 1,
        }
    }

    fn since(self, earlier: Self) -> Self {
        Self {
            admitted: self.admitted - earlier.admitted,
            denied: self.denied - earlier.denied,
            unavailable: self.unavailable - earlier.unavailable,
            failed: self.failed - earlier.failed,
            slowest: self.slowest,
        }
    }
}

struct Target {
    counts: Mutex<Counts>,
    stopped: AtomicBool,
}

impl Target {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Requests under way. Dropped, it sends no more.
pub struct Load {
    targets: Vec<Arc<Target>>,
    senders: JoinSet<()>,
    last: Vec<Counts>,
}

impl Load {
    /// Sends `rate` requests per second to each of `urls`.
    pub fn start(urls: &[String], token: &str, rate: u16) -> Result<Self> {
        let mut senders = JoinSet::new();
        let mut targets = Vec::new();
        let pause = Duration::from_secs(1) * CONNECTIONS.into() / rate.max(1).into();
        for url in urls {
            let target =
                Arc::new(Target { counts: Mutex::default(), stopped: AtomicBool::new(false) });
            for _ in 0..CONNECTIONS {
                let request = answer::client()?.get(url).bearer_auth(token);
                let target = Arc::clone(&target);
                senders.spawn(async move {
                    let mut ticks = interval(pause);
                    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    loop {
                        ticks.tick().await;
                        let again = request.try_clone();
                        let Some(request) = again.filter(|_| !target.is_stopped()) else { return };
                        let sent = Instant::now();
                        let answer = request.send().await;
                        let status = answer.map_or(0, |answer| answer.status().as_u16());
                        target.counts().add(status, sent.elapsed());
                    }
                });
            }
            targets.push(target);
        }
        let last = vec![Counts::default(); targets.len()];
        Ok(Self { targets, senders, last })
    }

    /// What became of the requests so far, by gateway.
    #[must_use]
    pub fn so_far(&self) -> Vec<Counts> {
        self.targets.iter().map(|target| *target.counts()).collect()
    }

    /// Goes on until `enough` holds of what became of the requests so far; an error if that takes
    /// more than a minute.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Counts]) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !enough(&self.so_far()) {
            if Instant::now() >= deadline {
                bail!("{what}: not after {} s: {:?}", PATIENCE.as_secs(), self.so_far());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(())
    }

    /// What became of the requests since this was asked last.
    pub fn since_last(&mut self) -> Vec<Counts> {
        let now = self.so_far();
        let since = now.iter().zip(&self.last).map(|(now, last)| now.since(*last)).collect();
        self.last = now;
        since
    }

    /// Sends no more to one of the gateways.
    pub fn stop_at(&self, node: usize) {
        if let Some(target) = self.targets.get(node) {
            target.stopped.store(true, Ordering::Relaxed);
        }
    }

    /// Sends no more, and waits for what is under way.
    pub async fn stop(mut self) -> Vec<Counts> {
        (0..self.targets.len()).for_each(|node| self.stop_at(node));
        while self.senders.join_next().await.is_some() {}
        self.so_far()
    }
}

impl Target {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}
