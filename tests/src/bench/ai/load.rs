//! Calls at a steady rate, and many streams at once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::provider::{DONE, HELD};

/// Where calls go, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) url: String,
    /// The headers that get a call through.
    pub(super) headers: Vec<(&'static str, String)>,
}

/// How long a call took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    /// Until the first byte of its body.
    pub(super) first: Duration,
    /// Until the last.
    pub(super) whole: Duration,
}

impl Target {
    fn request(&self, model: &str, stream: bool) -> RequestBuilder {
        let body = json!({"model": model, "stream": stream, "max_tokens": 64,
                          "messages": [{"role": "user", "content": "Say a few words."}]});
        let request = self.client.post(&self.url).json(&body);
        self.headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
    }

    /// One call, to its end.
    pub(super) async fn call(&self, stream: bool) -> Result<Took> {
        let began = Instant::now();
        let mut answer = self.request("gpt-4o", stream).send().await.context("no answer")?;
        ensure!(answer.status() == 200, "expected 200, found {}", answer.status());
        let (mut first, mut last) = (None, Vec::new());
        while let Some(chunk) = answer.chunk().await.context("the answer was cut")? {
            first.get_or_insert_with(|| began.elapsed());
            last = chunk.to_vec();
        }
        if stream {
            ensure!(last.ends_with(DONE.as_bytes()), "a stream without its end");
        }
        Ok(Took { first: first.context("an empty answer")?, whole: began.elapsed() })
    }

    /// So many calls a second for `duration`, whether they are answered or not.
    pub(super) async fn steadily(
        &self,
        rate: u16,
        duration: Duration,
        stream: bool,
    ) -> Result<Vec<Took>> {
        let mut ticks = interval(Duration::from_secs(1) / u32::from(rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let count = (duration.as_secs_f64() * f64::from(rate)).max(1.0) as usize;
        let mut calls = JoinSet::new();
        for _ in 0..count {
            ticks.tick().await;
            let target = self.clone();
            calls.spawn(async move { target.call(stream).await });
        }
        calls.join_all().await.into_iter().collect()
    }

    /// `count` streams, `at_once` of them at a time.
    pub(super) async fn streams(&self, count: usize, at_once: usize) -> Result<()> {
        let mut clients = JoinSet::new();
        for client in 0..at_once {
            let target = self.clone();
            let own = count / at_once + usize::from(client < count % at_once);
            clients.spawn(async move {
                for _ in 0..own {
                    target.call(true).await?;
                }
                anyhow::Ok(())
            });
        }
        clients.join_all().await.into_iter().collect()
    }

    /// Begins `count` streams that the provider holds, and waits until each has its first event.
    pub(super) async fn hold(&self, count: usize) -> Result<Held> {
        let mut beginning = JoinSet::new();
        for _ in 0..count {
            let request = self.request(HELD, true);
            beginning.spawn(async move {
                let mut answer = request.send().await.context("no answer")?;
                ensure!(answer.status() == 200, "expected 200, found {}", answer.status());
                if answer.chunk().await?.is_none() {
                    bail!("a stream ended before it was let go on");
                }
                Ok(answer)
            });
        }
        let begun: Result<Vec<_>> = beginning.join_all().await.into_iter().collect();
        Ok(Held(begun?))
    }
}

/// Streams that have begun.
pub(super) struct Held(Vec<reqwest::Response>);

impl Held {
    /// Reads all of them to their end; an error if one is cut.
    pub(super) async fn finish(self) -> Result<()> {
        let mut ending = JoinSet::new();
        for mut answer in self.0 {
            ending.spawn(async move {
                let mut last = Vec::new();
                while let Some(chunk) = answer.chunk().await.context("a stream was cut")? {
                    last = chunk.to_vec();
                }
                ensure!(last.ends_with(DONE.as_bytes()), "a stream without its end");
                Ok(())
            });
        }
        ending.join_all().await.into_iter().collect()
    }
}
