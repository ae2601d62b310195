//! The exchange as a running service.

use std::{
    future::Future,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::interval};

use crate::{
    admin::Admin,
    admission::Admission,
    assertion::Verifier,
    audit::{Anchor, Audit},
    backup::schedule::{self, Schedule},
    breaker::Breakers,
    config::{Config, ConfigError, LISTEN, OPS_LISTEN},
    connector::Doors,
    damage::{self, Damage},
    data_dir::{Claim, DataDir, DataDirError},
    database::Database,
    entrance::Entrance,
    errands::News,
    flags::Pushes,
    handoff::codes,
    introspection::Introspection,
    lanes::Lanes,
    leases::Leases,
    listener::{Ending, Listener},
    logout::Logout,
    metrics::Metrics,
    ops::Ops,
    outbound::{Outbound, OutboundError},
    registry::{Registry, RegistryError},
    revocations::Revocations,
    route::{self, Desks},
    session::Desk,
    spent,
    store::{Store, StoreError},
    time::UnixTime,
    usage::{TermsError, Usage},
};

/// How long requests under way may take to finish once the exchange is asked to stop. Together with
/// the operator's listener, it has ended within the ten seconds after which it would be killed.
const ENDING: Ending = Ending { moment: Duration::from_secs(1), grace: Duration::from_secs(8) };

/// The same for scrapes and probes, which come last.
const OPS_ENDING: Ending = Ending { moment: Duration::ZERO, grace: Duration::from_secs(1) };

/// How many scrapes and probes may be connected at once.
const OPS_CONNECTIONS: u32 = 64;

/// The exchange does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its configuration is at fault.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its data directory is.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// Its database is damaged.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// Its database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its registry is.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its way to instances is.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// Its plans or prices are.
    #[error("{variable}: expected a file that can be used, found {0}", variable = .0.variable())]
    Terms(#[from] TermsError),
}

/// An exchange that listens.
pub struct Server {
    public: Listener,
    ops: Listener,
    desks: Arc<Desks<Doors>>,
    view: Ops,
    usage: Usage,
    revocations: Revocations<Doors>,
    pushes: Pushes<Doors>,
    backup: Option<Schedule>,
    sweep: Duration,
    addresses: Addresses,
    _claim: Option<Claim>,
}

/// Where an exchange listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For the gateway.
    pub public: SocketAddr,
    /// For the operator.
    pub ops: SocketAddr,
}

impl Server {
    /// Opens everything that `config` names. From here on, connections are queued.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        // One exchange at a time may serve from a directory; of a PostgreSQL there may be several.
        let (claim, file) = match &config.database {
            Database::Directory(path) => {
                let data = DataDir::open(path)?;
                let claim = data.claim()?;
                damage::look(&data.database())?;
                (Some(claim), Some(data.database()))
            }
            Database::Server(_) => (None, None),
        };
        let store = config.database.open()?;
        let registry = Registry::open(store.clone(), config.seal).await?;
        let audit = registry.audit().clone();
        let outbound = Outbound::new(config.lookup)?;
        let metrics = Metrics::new();
        let verifier = Verifier::new(config.gate_keys, config.clock_skew);
        let introspection = Introspection::new(
            verifier.clone(),
            config.introspection,
            &outbound,
            (config.limits.introspection, config.limits.body),
            metrics.clone(),
        );
        let leases =
            Leases::new(verifier.clone(), config.leases, config.limits.body.time, metrics.clone());
        let usage = Usage::open(
            verifier.clone(),
            store.clone(),
            config.usage,
            config.limits.body,
            audit.clone(),
            metrics.clone(),
        )?;
        let entrance = Arc::new(Entrance {
            registry,
            store: store.clone(),
            audit: audit.clone(),
            lanes: Lanes::new(config.limits.lane, config.limits.lane_patience),
            breakers: Breakers::default(),
            connector: Doors::new(outbound.clone()),
            flags: News::default(),
            endings: News::default(),
            patience: config.instance_timeout,
            metrics: metrics.clone(),
        });
        let revocations = Revocations::new(store.clone(), Arc::clone(&entrance));
        let pushes = Pushes::new(store.clone(), Arc::clone(&entrance), config.limits.drift);
        let admin = Admin {
            verifier: verifier.clone(),
            store: store.clone(),
            entrance: Arc::clone(&entrance),
            news: revocations.news(),
            limits: config.limits.body,
        };
        let logout = Logout::new(
            config.logout,
            &outbound,
            config.clock_skew,
            (store.clone(), audit.clone()),
            revocations.news(),
            config.limits.body,
        );
        let sessions = Desk {
            verifier,
            store: store.clone(),
            entrance,
            news: revocations.news(),
            limits: config.limits.body,
        };
        let idle = config.limits.idle;
        let (public, public_address) = bind(LISTEN, config.listen, config.max_connections, idle)?;
        let (ops, ops_address) = bind(OPS_LISTEN, config.ops_listen, OPS_CONNECTIONS, idle)?;
        let admission = Arc::new(Admission::new(config.limits.requests, config.max_connections));
        let desks = Desks {
            sessions,
            introspection,
            leases,
            usage: usage.clone(),
            admin,
            logout,
            audit: audit.clone(),
            store: store.clone(),
            metrics: metrics.clone(),
            admission: Arc::clone(&admission),
        };
        Ok(Self {
            public,
            ops,
            desks: Arc::new(desks),
            view: Ops {
                store,
                file,
                audit,
                usage: usage.clone(),
                metrics,
                stopping: Arc::default(),
                probed: Arc::default(),
                admission,
            },
            usage,
            revocations,
            pushes,
            backup: config.backup,
            sweep: config.limits.sweep,
            addresses: Addresses { public: public_address, ops: ops_address },
            _claim: claim,
        })
    }

    /// Where it listens; the ports are real even if the configuration asked for any.
    #[must_use]
    pub const fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// What the operator may change while it serves.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.usage.clone()
    }

    /// Serves until `stop`, then finishes what is under way.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let Self {
            public,
            ops,
            desks,
            view,
            usage,
            revocations,
            pushes,
            backup,
            sweep,
            addresses,
            _claim,
        } = self;
        let Addresses { public: listen, ops: ops_listen } = addresses;
        tracing::info!(%listen, %ops_listen, version = env!("CARGO_PKG_VERSION"), "listening");

        let sweeper =
            tokio::spawn(keep_sweeping(view.store.clone(), view.audit.clone(), usage, sweep));
        let revoker = tokio::spawn(async move { revocations.work().await });
        let pusher = tokio::spawn(async move { pushes.work().await });
        if let Some(file) = view.file.clone() {
            let admission = Arc::clone(&view.admission);
            tokio::task::spawn_blocking(move || search(&file, &admission));
        }
        let copier =
            view.file.clone().zip(backup).map(|(file, every)| {
                tokio::spawn(schedule::keep(file, every, view.metrics.clone()))
            });
        let stopping = Arc::clone(&view.stopping);
        let (ops_stop, ops_stopped) = oneshot::channel::<()>();
        let ops = tokio::spawn(ops.serve(
            move |request| view.clone().answer(request),
            async { drop(ops_stopped.await) },
            OPS_ENDING,
        ));
        let handler = move |request| {
            let desks = Arc::clone(&desks);
            async move { route::answer(&*desks, request).await }
        };
        let drained = public.serve(handler, announce(stop, stopping), ENDING).await;
        // The operator can see what is happening until the very end.
        drop(ops_stop);
        let _ = ops.await;
        revoker.abort();
        pusher.abort();
        if let Some(copier) = copier {
            copier.abort();
        }
        sweeper.abort();
        tracing::info!(drained, "stopped");
    }
}

fn bind(
    variable: &'static str,
    address: SocketAddr,
    connections: u32,
    idle: Duration,
) -> Result<(Listener, SocketAddr), ConfigError> {
    let unusable = |error: std::io::Error| ConfigError {
        variable,
        expected: "an address to listen on",
        found: format!("{address} ({error})"),
    };
    let listener = Listener::bind(address, connections, idle).map_err(unusable)?;
    let address = listener.address().map_err(unusable)?;
    Ok((listener, address))
}

/// Looks for damage to the database that takes long to find; if there is any, nothing is
/// acknowledged from then on.
fn search(database: &Path, admission: &Admission) {
    match damage::search(database) {
        Ok(()) => tracing::info!("the database is whole"),
        Err(damage) => {
            tracing::error!(%damage, "the database is damaged: every request is refused");
            admission.close(damage.to_string());
        }
    }
}

/// Waits for `stop` and says so, before anything else happens.
async fn announce(stop: impl Future<Output = ()>, stopping: Arc<AtomicBool>) {
    stop.await;
    stopping.store(true, Ordering::Relaxed);
    tracing::info!("stopping");
}

async fn keep_sweeping(store: Store, audit: Audit, usage: Usage, every: Duration) {
    let mut ticks = interval(every);
    let mut told = None;
    loop {
        ticks.tick().await;
        tell_where_the_audit_ends(&store, &audit, &mut told).await;
        if let Err(error) = spent::forget(&store, UnixTime::now()).await {
            tracing::error!(%error, "spent assertions were not swept");
        }
        if let Err(error) = codes::forget(&store, UnixTime::now()).await {
            tracing::error!(%error, "codes of the hand-off were not swept");
        }
        usage.sweep(UnixTime::now()).await;
    }
}

/// Writes into the log where the audit ends, if that is not what was `told` before: out of reach
/// of whoever could put the whole database back to an earlier day.
async fn tell_where_the_audit_ends(store: &Store, audit: &Audit, told: &mut Option<Anchor>) {
    match audit.head(store).await {
        Ok(head) if told.as_ref() == Some(&head) => {}
        Ok(head) => {
            tracing::info!(anchor = %head, "the audit ends here");
            *told = Some(head);
        }
        Err(error) => tracing::error!(%error, "nobody knows where the audit ends"),
    }
}
