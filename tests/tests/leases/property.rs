//! Gates and the exchange, each with its own code and real stores between exchanges, in made-up
//! orders of events: reports that are lost, late and repeated, answers that are lost, nodes that
//! die, exchanges that restart, a store that forgets. Time is the test's.

use std::{
    cell::{Cell as Mutable, RefCell},
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Result, anyhow, bail};
use kombi_exchange::{
    assertion::Verifier,
    leases::{
        Leases as Desk,
        store::{Change, Local, Memory, Pending, Reading, Shared, Store, Written},
    },
    metrics::Metrics,
};
use kombi_gate_core::{
    limit::lease::{Leases, Quota, Sent, Taken, Terms},
    time::UnixTime,
    zone::{Cell, Mark, NotWritten, Zone},
};
use kombi_spec::lease::LeaseReport;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use stack::{
    run_dir::RunDir,
    shared_store::{SharedStore, StoreKind},
};

const NODES: usize = 3;
const BURST: u64 = 1_000;
const TTL: Duration = Duration::from_secs(5);
const START_MS: u64 = 1_700_000_000_000;

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// Requests come to a worker of a node.
    Requests(usize, usize, u16),
    /// A worker reports, and hears the answer.
    Report(usize, usize),
    /// The report does not arrive.
    ReportIsLost(usize, usize),
    /// The report arrives; its answer does not.
    AnswerIsLost(usize, usize),
    /// The report arrives some time later, and maybe again; the answer is lost.
    ReportIsLate(usize, usize),
    /// One of the late reports arrives, and stays to arrive again.
    LateOneArrives(usize),
    Time(u16),
    NodeDies(usize),
    /// Its memory is gone where it is the store, and nothing else where it is not.
    ExchangeRestarts,
    StoreForgets,
}

fn event() -> impl Strategy<Value = Event> {
    let place = (0..NODES, 0..2_usize);
    prop_oneof![
        30 => (place.clone(), 1..400_u16).prop_map(|((n, w), count)| Event::Requests(n, w, count)),
        30 => place.clone().prop_map(|(n, w)| Event::Report(n, w)),
        4 => place.clone().prop_map(|(n, w)| Event::ReportIsLost(n, w)),
        6 => place.clone().prop_map(|(n, w)| Event::AnswerIsLost(n, w)),
        4 => place.prop_map(|(n, w)| Event::ReportIsLate(n, w)),
        4 => (0..8_usize).prop_map(Event::LateOneArrives),
        20 => (1..900_u16).prop_map(Event::Time),
        1 => (0..NODES).prop_map(Event::NodeDies),
        1 => Just(Event::ExchangeRestarts),
        1 => Just(Event::StoreForgets),
    ]
}

use Event::{
    AnswerIsLost, ExchangeRestarts, NodeDies, Report, ReportIsLate, ReportIsLost, Requests, Time,
};

/// A zone that all workers of a node share.
#[derive(Default)]
struct NodeZone {
    cells: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    clock: Mutable<u32>,
}

impl Zone for NodeZone {
    fn read(&self, name: &str) -> Option<Cell> {
        let cells = self.cells.borrow();
        let (value, version) = cells.get(name)?;
        Some(Cell { value: value.clone(), mark: Mark(Some(*version)) })
    }

    fn write(&self, name: &str, value: &[u8], mark: Mark) -> Result<(), NotWritten> {
        let mut cells = self.cells.borrow_mut();
        if cells.get(name).map(|(_, version)| *version) != mark.0 {
            return Err(NotWritten);
        }
        self.clock.set(self.clock.get() + 1);
        cells.insert(name.to_owned(), (value.to_vec(), self.clock.get()));
        Ok(())
    }

    fn size_bytes(&self) -> Option<u64> {
        None
    }
}

#[derive(Default)]
struct Node {
    zone: NodeZone,
    workers: [Leases; 2],
    /// Admitted since the last report that arrived.
    unreported: u64,
    /// When that was.
    reported_at: u64,
    lapsed: bool,
    /// Which of all nodes that there ever were.
    born: usize,
    /// Admitted in all.
    total: u64,
    /// How many memories there had been when a report of it last arrived.
    told: usize,
    /// How many reports had arrived when it last had an answer.
    heard: usize,
}

impl Node {
    fn new(seed: usize, now: u64) -> Self {
        let mut node = Self { reported_at: now, born: seed, ..Self::default() };
        node.workers.iter_mut().for_each(|worker| worker.seed(&format!("request-{seed}")));
        node
    }
}

/// A store at the test's time, that forgets when it is told to.
struct Timed {
    inner: Mutex<Arc<dyn Store>>,
    now: AtomicU64,
    /// The memory that it was seen to have, and since when.
    born: Mutex<(String, u64)>,
}

impl Timed {
    fn inner(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.lock().unwrap())
    }
}

impl Store for Timed {
    fn read<'a>(&'a self, names: &'a [String]) -> Pending<'a, Reading> {
        let inner = self.inner();
        Box::pin(async move {
            let reading = inner.read(names).await?;
            let now = self.now.load(Ordering::Relaxed);
            let mut born = self.born.lock().unwrap();
            if born.0 != reading.memory.id {
                *born = (reading.memory.id.clone(), now);
            }
            let memory = Memory { born_at: born.1, ..reading.memory };
            Ok(Reading { now, memory, ..reading })
        })
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Vec<Written>> {
        let inner = self.inner();
        Box::pin(async move { inner.write(changes).await })
    }

    fn forgot<'a>(&'a self, memory: &'a Memory, now: u64) -> Pending<'a, ()> {
        let inner = self.inner();
        Box::pin(async move {
            // Its own idea of when the memory began is that of the machine's clock.
            let kept = inner.read(&[]).await?.memory;
            let same = kept.id == memory.id;
            if same { inner.forgot(&kept, now).await } else { Ok(()) }
        })
    }
}

/// What keeps the quotas.
#[derive(Clone)]
enum Keeper {
    Memory,
    Server(String),
}

impl Keeper {
    /// A store without memory.
    async fn empty(&self) -> Result<Arc<dyn Store>> {
        match self {
            Self::Memory => Ok(Arc::new(Local::new())),
            Self::Server(url) => {
                let mut address = url.trim_start_matches("redis://").split('/');
                let address = address.next().unwrap_or_default().to_owned();
                let answer = tokio::task::spawn_blocking(move || flush(&address)).await??;
                assert_eq!(answer, "+OK\r\n");
                Ok(Arc::new(Shared::new(url)?))
            }
        }
    }
}

/// Has a server forget everything.
fn flush(address: &str) -> Result<String> {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(address)?;
    connection.write_all(b"FLUSHALL\r\n")?;
    let mut answer = [0; 5];
    connection.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A report that is still on its way.
#[derive(Clone)]
struct Late {
    report: LeaseReport,
    /// Who sent it.
    born: usize,
    /// What that node had admitted until then.
    total: u64,
    /// How many memories there had been when it last arrived, or was sent.
    memory: usize,
}

struct World {
    keeper: Keeper,
    store: Arc<Timed>,
    desk: Desk,
    nodes: Vec<Node>,
    late: Vec<Late>,
    /// What dead nodes had admitted, by their number.
    dead: BTreeMap<usize, u64>,
    /// How many memories there were.
    memories: usize,
    now: u64,
    born: usize,
    /// Who reported how much, in the order of arrival.
    reported: Vec<(usize, u64)>,
    admitted: u64,
    /// What dead and unreachable nodes may have admitted that nobody could know of.
    unknown: u64,
}

fn desk(store: &Arc<Timed>) -> Desk {
    let verifier = Verifier::new(Vec::new(), Duration::ZERO);
    Desk::new(verifier, Arc::clone(store) as _, Duration::from_secs(1), Metrics::new())
}

fn terms() -> Terms {
    Terms { amount: BURST, period: Duration::from_secs(3_600), burst: BURST, grace: TTL }
}

impl World {
    async fn new(keeper: Keeper) -> Result<Self> {
        let inner = Mutex::new(keeper.empty().await?);
        let (now, born) = (AtomicU64::new(START_MS), Mutex::default());
        let store = Arc::new(Timed { inner, now, born });
        Ok(Self {
            desk: desk(&store),
            keeper,
            store,
            nodes: (0..NODES).map(|seed| Node::new(seed, START_MS)).collect(),
            late: Vec::new(),
            dead: BTreeMap::new(),
            memories: 1,
            now: START_MS,
            born: NODES,
            reported: Vec::new(),
            admitted: 0,
            unknown: 0,
        })
    }

    async fn happen(&mut self, event: &Event) -> Result<()> {
        match *event {
            Event::Requests(node, worker, count) => self.requests(node, worker, count),
            Event::Report(node, worker) => {
                if let Some((report, sent)) = self.send(node, worker) {
                    let answer = self.arrive(node, &report).await?;
                    let heard = self.reported.len();
                    let node = &mut self.nodes[node];
                    node.heard = heard;
                    let Node { zone, workers, .. } = node;
                    workers[worker].answered(&sent, &answer, Some(zone));
                }
            }
            Event::ReportIsLost(node, worker) => {
                self.send(node, worker);
            }
            Event::AnswerIsLost(node, worker) => {
                if let Some((report, _)) = self.send(node, worker) {
                    self.arrive(node, &report).await?;
                }
            }
            Event::ReportIsLate(node, worker) => {
                if let Some((report, _)) = self.send(node, worker) {
                    let Node { born, total, .. } = self.nodes[node];
                    self.late.push(Late { report, born, total, memory: self.memories });
                }
            }
            Event::LateOneArrives(index) => {
                if let Some(late) = self.late.get_mut(index) {
                    // To a memory that knows nothing newer of a node that is gone, it is the truth.
                    let first = std::mem::replace(&mut late.memory, self.memories) < self.memories;
                    if let Some(total) = self.dead.get(&late.born).filter(|_| first) {
                        self.unknown += total - late.total;
                    }
                    // What it says is old; the node's own count goes by newer ones.
                    self.desk.settle(&late.report).await?;
                }
            }
            Event::Time(ms) => self.pass(u64::from(ms)),
            Event::NodeDies(node) => {
                let Node { born, total, unreported, .. } = self.nodes[node];
                self.dead.insert(born, total);
                self.unknown += unreported + terms().guess();
                self.nodes[node] = Node::new(self.born, self.now);
                self.born += 1;
            }
            Event::ExchangeRestarts => {
                if matches!(self.keeper, Keeper::Memory) {
                    self.forget().await?;
                }
                self.desk = desk(&self.store);
            }
            Event::StoreForgets => self.forget().await?,
        }
        self.check()
    }

    fn requests(&mut self, node: usize, worker: usize, count: u16) {
        let quota = Quota { rule: "r", key: b"k", terms: terms() };
        let Node { zone, workers, unreported, total, .. } = &mut self.nodes[node];
        let now = UnixTime::from_millis(self.now);
        let mut take = || workers[worker].take(quota, 1, Some(zone), now);
        let granted = |taken: &Taken| matches!(taken, Taken::Granted { .. });
        let admitted = (0..count).map(|_| take()).filter(granted).count() as u64;
        *unreported += admitted;
        *total += admitted;
        self.admitted += admitted;
    }

    fn send(&mut self, node: usize, worker: usize) -> Option<(LeaseReport, Sent)> {
        let Node { zone, workers, .. } = &mut self.nodes[node];
        let sent = workers[worker].report(Some(zone), UnixTime::from_millis(self.now));
        workers[worker].unanswered();
        sent
    }

    async fn arrive(
        &mut self,
        node: usize,
        report: &LeaseReport,
    ) -> Result<kombi_spec::lease::LeaseAnswer> {
        let node = &mut self.nodes[node];
        // A memory learns everything by the first word.
        let first = std::mem::replace(&mut node.told, self.memories) < self.memories;
        self.reported.push((node.born, if first { node.total } else { node.unreported }));
        (node.unreported, node.reported_at, node.lapsed) = (0, self.now, false);
        Ok(self.desk.settle(report).await?)
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.store.now.store(self.now, Ordering::Relaxed);
        let ttl = u64::try_from(TTL.as_millis()).unwrap();
        for node in &mut self.nodes {
            if !node.lapsed && self.now >= node.reported_at + ttl {
                // Its lease may be taken back, although it is alive.
                node.lapsed = true;
                self.unknown += node.unreported + terms().guess();
            }
        }
    }

    async fn forget(&mut self) -> Result<()> {
        self.memories += 1;
        let empty = self.keeper.empty().await?;
        *self.store.inner.lock().unwrap() = empty;
        // What the dead had reported is known to those who have heard from the store since.
        let heard = self.nodes.iter().map(|node| node.heard).max().unwrap_or(0);
        let alive = |born: usize| self.nodes.iter().any(|node| node.born == born);
        let unheard = self.reported.drain(..).skip(heard).filter(|(born, _)| !alive(*born));
        self.unknown += unheard.map(|(_, units)| units).sum::<u64>();
        self.nodes.iter_mut().for_each(|node| node.heard = 0);
        // Nodes that are alive report before the next second is over, whoever is first.
        self.pass(250);
        for node in 0..NODES {
            for worker in 0..2 {
                if let Some((report, _)) = self.send(node, worker) {
                    self.arrive(node, &report).await?;
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<()> {
        let refilled = (self.now - START_MS) * BURST / 3_600_000;
        let guessed = NODES as u64 * terms().guess();
        let most = BURST + refilled + guessed + self.unknown;
        if self.admitted > most {
            bail!("{} were admitted, and {most} may be", self.admitted);
        }
        Ok(())
    }
}

async fn holds(keeper: Keeper, cases: u32) -> Result<()> {
    let handle = tokio::runtime::Handle::current();
    let tried = tokio::task::spawn_blocking(move || {
        let config = Config {
            cases,
            failure_persistence: None,
            max_shrink_iters: 2_000,
            ..Config::default()
        };
        let events = prop::collection::vec(event(), 1..250);
        TestRunner::new(config).run(&events, |events| {
            let outcome = handle.block_on(happening(&keeper, &events));
            outcome.map_err(|error| TestCaseError::fail(format!("{error:#}")))
        })
    });
    tried.await?.map_err(|failure| anyhow!("{failure}"))
}

/// A node reports much and dies, and the memory is lost before another node has heard from it: then
/// nobody knows what that node used, and no more than that passes.
pub(crate) async fn who_dies_with_the_memory_costs_what_it_used() -> Result<()> {
    let events = [
        Requests(2, 1, 1),
        Report(2, 1),
        Requests(1, 0, 42),
        Time(270),
        Time(730),
        Report(1, 0),
        Requests(1, 0, 325),
        Time(200),
        Report(1, 0),
        NodeDies(1),
        ExchangeRestarts,
        Time(4_345),
        Requests(1, 0, 66),
        Time(158),
        Requests(2, 0, 237),
        Requests(0, 0, 3),
        AnswerIsLost(1, 0),
        Time(497),
        Report(1, 0),
        Report(2, 0),
        Requests(2, 0, 312),
        Requests(1, 0, 381),
    ];
    happening(&Keeper::Memory, &events).await
}

/// While a memory is rebuilt, one node is charged for what it took beyond its lease, and then another
/// says what was left before that.
pub(crate) async fn what_is_charged_while_a_memory_is_rebuilt_stays_charged() -> Result<()> {
    let events = [
        Requests(0, 0, 1),
        Report(0, 0),
        ExchangeRestarts,
        Time(831),
        Report(0, 0),
        Time(849),
        Time(240),
        Time(453),
        Time(168),
        Requests(0, 0, 39),
        Time(338),
        Time(74),
        Requests(1, 0, 44),
        Requests(0, 1, 137),
        Requests(2, 0, 3),
        Time(35),
        Report(2, 0),
        AnswerIsLost(1, 0),
        Time(513),
        Time(421),
        ReportIsLate(0, 0),
        Time(70),
        Time(33),
        Time(525),
        Time(131),
        Time(319),
        Report(0, 0),
        Requests(0, 0, 37),
        Requests(2, 1, 87),
        Report(2, 0),
        Requests(2, 0, 17),
        Requests(0, 0, 246),
        Requests(2, 0, 198),
        Time(200),
        Report(0, 0),
        Time(491),
        Time(540),
        ReportIsLost(0, 0),
        AnswerIsLost(1, 0),
        AnswerIsLost(2, 0),
        Requests(1, 1, 1),
        Requests(0, 0, 214),
        Time(719),
        Report(1, 0),
        Report(2, 0),
        Requests(1, 0, 109),
        ExchangeRestarts,
        Requests(2, 0, 169),
        Time(675),
        Time(357),
        Time(490),
        Time(419),
        Time(741),
        Time(305),
        Time(798),
        Report(1, 0),
        Report(2, 0),
        Report(0, 0),
        Time(631),
        Time(584),
        Requests(0, 0, 5),
        Requests(1, 0, 5),
        Requests(2, 0, 5),
    ];
    happening(&Keeper::Memory, &events).await
}

async fn happening(keeper: &Keeper, events: &[Event]) -> Result<()> {
    let mut world = World::new(keeper.clone()).await?;
    for event in events {
        world.happen(event).await?;
    }
    Ok(())
}

pub(crate) async fn holds_on_memory() -> Result<()> {
    holds(Keeper::Memory, 100).await
}

pub(crate) async fn holds_on(kind: StoreKind) -> Result<()> {
    let run = RunDir::new()?;
    let server = SharedStore::start(kind, &run).await?;
    holds(Keeper::Server(server.url()), 24).await
}
