//! Clients that call models, many at once. Some leave before the answer has ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Result;
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;

use super::{Kind, story};
use crate::answer;

/// How long a client waits after something went wrong.
const PAUSE: Duration = Duration::from_millis(250);

/// What the client saw of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// All of the answer.
    Whole,
    /// As much as it wanted.
    Left,
    /// An error, of the provider's or the gateway's.
    Error(u16),
    /// No answer, or not all of it.
    Broken,
}

/// Calls under way.
pub(super) struct Load {
    begun: Arc<AtomicUsize>,
    clients: JoinSet<Vec<(usize, Seen)>>,
}

impl Load {
    /// Begins with the first of `calls` calls, so many at once.
    pub(super) fn start(url: &str, token: &str, calls: usize, at_once: usize) -> Result<Self> {
        let begun = Arc::<AtomicUsize>::default();
        let mut clients = JoinSet::new();
        for _ in 0..at_once {
            let (client, begun) = (answer::client()?, Arc::clone(&begun));
            let (url, token) = (url.to_owned(), token.to_owned());
            clients.spawn(async move {
                let mut seen = Vec::new();
                loop {
                    let number = begun.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return seen;
                    }
                    let saw = call(&client, &url, &token, number).await;
                    seen.push((number, saw));
                    if saw == Seen::Broken || saw == Seen::Error(503) {
                        // Whoever goes on at once meets nothing but what is down.
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            });
        }
        Ok(Self { begun, clients })
    }

    /// How many calls have begun.
    pub(super) fn begun(&self) -> usize {
        self.begun.load(Ordering::Relaxed)
    }

    /// What became of all of them, by number.
    pub(super) async fn finish(self) -> Vec<Seen> {
        let mut seen: Vec<_> = self.clients.join_all().await.into_iter().flatten().collect();
        seen.sort_unstable_by_key(|(number, _)| *number);
        seen.into_iter().map(|(_, seen)| seen).collect()
    }
}

async fn call(client: &Client, url: &str, token: &str, number: usize) -> Seen {
    let kind = Kind::of(number);
    let text = story().iter().take(super::input(number)).copied().collect::<String>();
    let body = json!({
        "model": format!("gpt-{number}"),
        "stream": matches!(kind, Kind::Stream | Kind::Left),
        "max_tokens": 4_000,
        "messages": [{"role": "user", "content": text}],
    });
    let request = client.post(url).bearer_auth(token).json(&body);
    let Ok(mut answer) = request.send().await else { return Seen::Broken };
    let status = answer.status().as_u16();
    let (mut events, mut last) = (0, Vec::new());
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                events += chunk.windows(5).filter(|bytes| bytes == b"data:").count();
                last = chunk.to_vec();
            }
            Ok(None) if status >= 400 => return Seen::Error(status),
            Ok(None) if kind == Kind::Whole || last.ends_with(b"[DONE]\n\n") => return Seen::Whole,
            Ok(None) | Err(_) => return Seen::Broken,
        }
        // It leaves in the middle of the answer: the connection is closed with it.
        if kind == Kind::Left && events > 30 + number % 100 {
            return Seen::Left;
        }
    }
}
