//! The traffic: calls that pass and calls that are refused, logins, and streams of models.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Result;
use reqwest::{Client, RequestBuilder};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::troubles::Troubles;
use crate::{answer, issuer::Issuer, stack::HOMELAB};

/// Most examples of failures that are kept, of each kind.
const EXAMPLES: usize = 5;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// One that passes.
    Call,
    /// One that the gate refuses.
    Refusal,
    /// A login into an instance.
    Login,
    /// A model's answer, event by event.
    Stream,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Call, Self::Refusal, Self::Login, Self::Stream];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "calls that pass",
            Self::Refusal => "calls that are refused",
            Self::Login => "logins",
            Self::Stream => "AI streams",
        }
    }

    /// How many senders there are, and how often each sends.
    const fn pace(self) -> (u32, Duration) {
        match self {
            Self::Call => (8, Duration::from_millis(100)),
            Self::Refusal => (4, Duration::from_millis(100)),
            Self::Login => (2, Duration::from_millis(500)),
            Self::Stream => (4, Duration::from_millis(250)),
        }
    }
}

/// The tokens in use.
#[derive(Default)]
pub(super) struct Wallet(RwLock<Tokens>);

#[derive(Default, Clone)]
struct Tokens {
    ada: String,
    expired: String,
}

impl Wallet {
    pub(super) async fn filled(issuer: &Issuer) -> Result<Arc<Self>> {
        let wallet = Arc::new(Self::default());
        wallet.fill(issuer).await?;
        Ok(wallet)
    }

    /// Takes new tokens, signed with the issuer's key of now.
    pub(super) async fn fill(&self, issuer: &Issuer) -> Result<()> {
        let ada = issuer.token("ada").await?;
        let expired = issuer.mint(json!({"sub": "ada", "expires_in": -60})).await?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Tokens { ada, expired };
        Ok(())
    }

    pub(super) fn ada(&self) -> String {
        self.tokens().ada
    }

    fn tokens(&self) -> Tokens {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What became of the requests of one kind.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) as_expected: u64,
    /// Failed because of what was broken then.
    pub(super) explained: u64,
    /// Failed for no known reason.
    pub(super) unexplained: u64,
    pub(super) examples: Vec<String>,
}

/// Senders at work.
pub(super) struct Load {
    senders: JoinSet<()>,
    over: Arc<AtomicBool>,
    tallies: Arc<Mutex<BTreeMap<Kind, Tally>>>,
}

#[derive(Clone)]
struct Sender {
    client: Client,
    url: String,
    wallet: Arc<Wallet>,
    troubles: Arc<Troubles>,
    over: Arc<AtomicBool>,
    tallies: Arc<Mutex<BTreeMap<Kind, Tally>>>,
}

impl Load {
    pub(super) fn start(url: &str, wallet: &Arc<Wallet>, troubles: &Arc<Troubles>) -> Result<Self> {
        let (mut senders, over) = (JoinSet::new(), Arc::<AtomicBool>::default());
        let tallies = Arc::default();
        for kind in Kind::ALL {
            for number in 0..kind.pace().0 {
                let sender = Sender {
                    client: answer::client()?,
                    url: url.to_owned(),
                    wallet: Arc::clone(wallet),
                    troubles: Arc::clone(troubles),
                    over: Arc::clone(&over),
                    tallies: Arc::clone(&tallies),
                };
                senders.spawn(sender.send(kind, number));
            }
        }
        Ok(Self { senders, over, tallies })
    }

    /// Ends it, once the last answers are there.
    pub(super) async fn finish(self) -> BTreeMap<Kind, Tally> {
        self.over.store(true, Ordering::Relaxed);
        self.senders.join_all().await;
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sender {
    async fn send(self, kind: Kind, first: u32) {
        let mut ticks = interval(kind.pace().1);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = first;
        while !self.over.load(Ordering::Relaxed) {
            ticks.tick().await;
            let (from, (request, expected)) = (Instant::now(), self.request(kind, number));
            let found = outcome(request, kind).await;
            self.note(kind, from, &found, expected);
            number = number.wrapping_add(1);
        }
    }

    fn request(&self, kind: Kind, number: u32) -> (RequestBuilder, u16) {
        let Tokens { ada, expired } = self.wallet.tokens();
        let get = |path: &str| self.client.get(format!("{}{path}", self.url));
        let post = |path: &str| self.client.post(format!("{}{path}", self.url));
        match kind {
            Kind::Call => match number % 4 {
                0 => (get("/public"), 200),
                1 => (get("/ai/v1/models").bearer_auth(ada), 200),
                _ => (get("/user").bearer_auth(ada), 200),
            },
            Kind::Refusal => match number % 5 {
                0 => (get("/user"), 401),
                1 => (get("/user").bearer_auth(expired), 401),
                2 => (get("/user").bearer_auth("made.up.token"), 401),
                3 => (get("/user").bearer_auth(ada).header("x-kombi-sub", "1"), 400),
                _ => (get("/admin").bearer_auth(ada), 403),
            },
            Kind::Login => {
                let path = format!("/sso/instances/{}/session", HOMELAB.id);
                (post(&path).bearer_auth(ada), 200)
            }
            Kind::Stream => {
                let body = json!({
                    "model": "gpt-4o",
                    "stream": true,
                    "messages": [{"role": "user", "content": "hello"}],
                });
                (post("/ai/v1/chat/completions").bearer_auth(ada).json(&body), 200)
            }
        }
    }

    fn note(&self, kind: Kind, from: Instant, found: &Found, expected: u16) {
        let right = matches!(found, Found::Whole(status, _) if *status == expected);
        let broken = matches!(found, Found::Broken(_));
        let explained = || self.troubles.explain(kind, broken, from, Instant::now());
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = tallies.entry(kind).or_default();
        if right {
            tally.as_expected += 1;
        } else if explained() {
            tally.explained += 1;
        } else {
            tally.unexplained += 1;
            if tally.examples.len() < EXAMPLES {
                tally.examples.push(format!("expected {expected}, found {found:?}"));
            }
        }
    }
}

/// What a client saw.
#[derive(Debug)]
enum Found {
    /// All of an answer: its status, and the beginning of what a refusal says.
    Whole(u16, #[expect(dead_code, reason = "it is shown")] String),
    /// None, or not all of it.
    Broken(#[expect(dead_code, reason = "it is shown")] String),
}

async fn outcome(request: RequestBuilder, kind: Kind) -> Found {
    let read = async {
        let answer = request.send().await?;
        Ok::<_, reqwest::Error>((answer.status().as_u16(), answer.bytes().await?))
    };
    match read.await {
        Err(error) => Found::Broken(format!("{error:?}").chars().take(300).collect()),
        Ok((200, body)) if kind == Kind::Stream && !body.ends_with(b"data: [DONE]\n\n") => {
            Found::Broken("a stream without an end".to_owned())
        }
        Ok((200, _)) => Found::Whole(200, String::new()),
        Ok((status, body)) => {
            Found::Whole(status, String::from_utf8_lossy(&body).chars().take(300).collect())
        }
    }
}
