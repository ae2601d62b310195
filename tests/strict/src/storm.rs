//! A storm: arbitrary requests, answers, and orders of events against the gate. One seed is one
//! scenario, the same in every run.
//!
//! What must hold whatever happens: no trap and no other broken rule; no request passes a
//! protected route without a token that is good for it; bad input never causes a 5xx; 503
//! `keys_unavailable` only where the issuer was in trouble and the worker had no keys; a good token
//! passes where nothing went wrong; and every request ends.

// Claims are JSON objects, and what is absent reads as null.
#![allow(clippy::indexing_slicing)]

use std::fmt;

use fastrand::Rng;
use jsonwebtoken::Algorithm;
use serde_json::json;

use crate::{
    filter::Filter,
    host::Host,
    issuer::{Behaviour, Issuer},
    node::{Node, Order, RequestId},
    peers::Failure,
};

mod arrivals;
mod verdict;

use arrivals::bytes;

/// The scenario of a seed went wrong.
#[derive(Debug)]
pub struct Wreck {
    /// The seed that repeats it.
    pub seed: u64,
    /// What must not have happened.
    pub what: String,
    /// What the storm did, oldest first.
    pub events: Vec<String>,
    /// What the node did lately.
    pub trail: Vec<String>,
}

impl fmt::Display for Wreck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.what)?;
        writeln!(f, "the storm:")?;
        self.events.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "the node, lately:")?;
        self.trail.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What a storm has seen, so that one that tests nothing is noticed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests that reached their upstream.
    pub forwarded: u64,
    /// Requests that were refused with 4xx.
    pub refused: u64,
    /// Requests that were refused with 503.
    pub unavailable: u64,
    /// Requests that were cut off by their client or a reload.
    pub cut_off: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.forwarded += other.forwarded;
        self.refused += other.refused;
        self.unavailable += other.unavailable;
        self.cut_off += other.cut_off;
    }
}

/// Whether a request's token is good for a protected route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    Yes,
    No,
    /// It depends on the moment at which the gate decides.
    Maybe,
}

/// A request of the storm.
struct Sent {
    id: RequestId,
    worker: usize,
    path: &'static str,
    good: Good,
    admin: bool,
    reserved: bool,
    began_ms: u64,
    /// The rotations that came before it: its token is signed with the newest key.
    rotations: u32,
    /// Whether its client left or its worker was reloaded.
    cut: bool,
}

struct Storm {
    rng: Rng,
    node: Node,
    issuer: Issuer,
    mallory: Issuer,
    workers: usize,
    sent: Vec<Sent>,
    events: Vec<String>,
    tally: Tally,
    start_s: u64,
    /// Nothing goes wrong in this scenario but the requests themselves.
    fair: bool,
    /// When the issuer was in trouble for the last time.
    trouble_ms: Option<u64>,
    in_trouble: bool,
    rotations: u32,
    /// For each worker, the rotation whose key it has, because it let a token with that key in.
    has_key: Vec<Option<u32>>,
}

/// Runs the scenario of `seed`.
pub fn run(filter: &Filter, seed: u64) -> Result<Tally, Box<Wreck>> {
    let mut storm = Storm::new(filter, seed);
    match storm.rage() {
        Ok(()) => Ok(storm.tally),
        Err(what) => {
            Err(Box::new(Wreck { seed, what, events: storm.events, trail: storm.node.trail() }))
        }
    }
}

impl Storm {
    fn new(filter: &Filter, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let issuer = Issuer::new("https://id.example");
        let mallory = Issuer::new("https://id.example");
        // Another key by the same name.
        mallory.rotate(Algorithm::EdDSA, true);
        let host = if rng.u8(..4) == 0 { Host::Envoy } else { Host::Kong };
        let workers = rng.usize(1..=3);
        let zone = *rng
            .choice([None, Some(16 << 10), Some(1 << 20), Some(16 << 20)].iter())
            .unwrap_or(&None);
        let lua_resolver = rng.u8(..4) != 0;
        let order = match rng.u8(..3) {
            0 => Order::Oldest,
            1 => Order::Youngest,
            _ => Order::Any(seed),
        };
        let fair = rng.u8(..3) == 0 && lua_resolver;
        let roles = json!({"roles": {"any_of": ["admin:tools"]}});
        let node = Node::of(filter, host)
            .route("/public", json!({"access": "public"}))
            .route("/user", issuer.route(json!({})))
            .route("/admin", issuer.route(roles))
            .route("/broken", issuer.route(json!({"issuers": []})))
            .workers(workers)
            .order(order)
            .peers(issuer.clone())
            .settings(|settings| {
                settings.seed = seed;
                settings.zone_bytes = zone;
                settings.lua_resolver = lua_resolver;
            })
            .collecting_violations()
            .start();
        let first = format!(
            "{host:?}, {workers} workers, zone {zone:?}, resolver {lua_resolver}, fair {fair}"
        );
        let start_s = node.now_s();
        Self {
            rng,
            node,
            issuer,
            mallory,
            workers,
            sent: Vec::new(),
            events: vec![first],
            tally: Tally::default(),
            start_s,
            fair,
            trouble_ms: None,
            in_trouble: !lua_resolver,
            rotations: 0,
            has_key: vec![None; workers],
        }
    }

    fn rage(&mut self) -> Result<(), String> {
        self.judge()?;
        let events = self.rng.usize(20..80);
        for _ in 0..events {
            self.event();
            self.judge()?;
        }
        // Long enough for every timeout on the way.
        self.advance(20_000);
        self.judge()?;
        match self.sent.first() {
            None => Ok(()),
            Some(sent) => Err(format!("a request to {} never ended", sent.path)),
        }
    }

    fn event(&mut self) {
        match self.rng.u8(..100) {
            0..=59 => self.request(),
            60..=74 => {
                let ms = self.rng.u64(0..50);
                self.advance(ms);
            }
            75..=84 => {
                let ms = self.rng.u64(0..5_000);
                self.advance(ms);
            }
            85 => {
                // Rarely, because every second of it has a tick of every route and worker.
                let ms = self.rng.u64(0..400_000);
                self.advance(ms);
            }
            86..=90 => self.leave(),
            91..=92 => {
                // Two fetches, each of two documents, end while a request waits: somebody else's unknown
                // key may cause the second.
                let ms = self.rng.u64(0..1_000);
                self.note(format!("the issuer takes {ms} ms"));
                self.issuer.delay(ms);
            }
            _ if self.fair => {}
            93..=96 => self.misbehave(),
            97 => {
                let drop_previous = self.rng.bool();
                self.note(format!("rotation, drops previous: {drop_previous}"));
                self.issuer.rotate(Algorithm::EdDSA, drop_previous);
                self.rotations += 1;
            }
            98 => {
                self.note("reload".to_owned());
                if self.node.calls_under_way() > 0 {
                    // Whoever fetched is gone without a word, and nobody else does meanwhile.
                    self.trouble(false);
                }
                self.node.reload();
                self.has_key.fill(None);
                for sent in &mut self.sent {
                    sent.cut = true;
                }
            }
            _ => {
                let refusal = self.rng.bool().then_some(10);
                self.note(format!("dispatches are refused with {refusal:?}"));
                self.node.refuse_dispatches(refusal);
                self.trouble(refusal.is_some());
            }
        }
    }

    fn note(&mut self, event: String) {
        let at = self.node.now_ms() - self.start_s * 1000;
        self.events.push(format!("{at:>8} ms  {event}"));
    }

    fn advance(&mut self, ms: u64) {
        self.note(format!("{ms} ms pass"));
        self.node.advance(ms);
        if self.in_trouble {
            self.trouble_ms = Some(self.node.now_ms());
        }
    }

    fn trouble(&mut self, begins: bool) {
        self.trouble_ms = Some(self.node.now_ms());
        // A refusal of dispatches and a misbehaving issuer may overlap: trouble ends with time.
        self.in_trouble |= begins;
    }

    fn misbehave(&mut self) {
        let mut behaviour = || match self.rng.u8(..9) {
            0 => Behaviour::Status(
                *[500, 503, 404, 302, 204, 100].get(self.rng.usize(..6)).unwrap_or(&500),
            ),
            1 => Behaviour::Fails(Failure::Connection),
            2 => Behaviour::Fails(Failure::Tls),
            3 => Behaviour::Fails(Failure::Timeout),
            4 => Behaviour::Stalls,
            5 => Behaviour::Says(bytes(&mut self.rng, 300)),
            6 => Behaviour::Says(b"{\"keys\":[{\"kty\":\"OKP\"}]}".to_vec()),
            _ => Behaviour::Honest,
        };
        let (discovery, key_set) = (behaviour(), behaviour());
        self.note(format!("the issuer: {discovery:?}, {key_set:?}"));
        self.issuer.behave(discovery, key_set);
        self.trouble(true);
    }

    fn leave(&mut self) {
        let waiting = self.sent.len();
        if waiting == 0 {
            return;
        }
        let chosen = self.rng.usize(..waiting);
        if let Some(sent) = self.sent.get_mut(chosen) {
            sent.cut = true;
            let (id, path) = (sent.id, sent.path);
            self.note(format!("the client of {id:?} ({path}) leaves"));
            self.node.leave(id);
        }
    }
}
