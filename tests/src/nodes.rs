//! Several gateways of one exchange, as on several machines: they share nothing but what the
//! exchange tells them, and the store that it keeps their limits in.

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};

use crate::{
    artifacts::{Artifacts, FILTER},
    backend::Backend,
    exchange::{Exchange, Installed},
    host::{Gateway, HostKind, Ports, Setup},
    issuer::{Issuer, PROJECT},
    run_dir::RunDir,
    shared_store::{SharedStore, StoreKind},
};

/// The path with the rule, which refuses what cannot be counted.
pub const PATH: &str = "/limited";

/// A path with a rule of its own like it, which lets pass what cannot be counted.
pub const TOLERANT_PATH: &str = "/tolerant";

/// What to start.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The gateways' host; `None` for the best there is.
    pub host: Option<HostKind>,
    /// How many gateways.
    pub nodes: usize,
    /// Where the exchange keeps shared limits, if not in its own memory.
    pub store: Option<StoreKind>,
    /// How many requests a user has per day, all of them at once.
    pub amount: u64,
    /// How long a gateway goes on with its share without word from the exchange.
    pub grace_s: u64,
}

/// Running gateways, and what is behind them. Fields are ended in this order.
pub struct Nodes {
    gateways: Vec<Option<Gateway>>,
    /// The exchange.
    pub exchange: Exchange,
    store: Option<SharedStore>,
    /// The issuer.
    pub issuer: Issuer,
    _backend: Backend,
    runs: Vec<RunDir>,
}

impl Nodes {
    /// Builds what is missing and starts everything.
    pub async fn start(plan: Plan) -> Result<Self> {
        let kind = HostKind::choose(plan.host)?;
        let artifacts = Artifacts::build(kind)?;
        let run = RunDir::new()?;
        let started = Self::assemble(kind, &artifacts, plan, &run).await;
        let mut nodes = started.map_err(|error| anyhow!("{error:#}\n{}", run.logs()))?;
        nodes.runs.push(run);
        Ok(nodes)
    }

    async fn assemble(
        kind: HostKind,
        artifacts: &Artifacts,
        plan: Plan,
        run: &RunDir,
    ) -> Result<Self> {
        let backend = Backend::start().await?;
        let issuer = Issuer::start(artifacts, run).await?;
        let store = match plan.store {
            Some(kind) => Some(SharedStore::start(kind, run).await?),
            None => None,
        };
        let installed = Installed::new(artifacts, run, issuer.url())?.with_store(store.as_ref());
        let exchange = Exchange::start(installed.clone(), run).await?;
        let (mut gateways, mut runs) = (Vec::new(), Vec::new());
        for _ in 0..plan.nodes {
            let ports = Ports::choose(None)?;
            let routes = routes(&backend, &issuer, &installed, ports, plan);
            let own = RunDir::new()?;
            let setup = Setup {
                routes: &routes,
                native: &[],
                workers: 2,
                http2: false,
                ports,
                trusted: None,
                proxied: false,
            };
            let gateway = Gateway::start(kind, artifacts, setup, &own).await;
            gateways.push(Some(gateway.map_err(|error| anyhow!("{error:#}\n{}", own.logs()))?));
            runs.push(own);
        }
        Ok(Self { gateways, exchange, store, issuer, _backend: backend, runs })
    }

    /// The URL of `path` at each gateway that runs.
    #[must_use]
    pub fn urls(&self, path: &str) -> Vec<String> {
        self.gateways.iter().flatten().map(|gateway| format!("{}{path}", gateway.url())).collect()
    }

    /// Ends the gateway `node` at once: what it holds on lease it cannot give back.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        let gateway = self.gateways.get_mut(node).and_then(Option::take);
        gateway.with_context(|| format!("there is no node {node}"))?.kill()
    }

    /// The store; an error where the exchange keeps shared limits itself.
    pub fn store(&mut self) -> Result<&mut SharedStore> {
        self.store.as_mut().context("the exchange keeps shared limits itself: choose a store")
    }

    /// The last lines of every part's log.
    #[must_use]
    pub fn logs(&self) -> String {
        self.runs.iter().map(RunDir::logs).collect()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Two routes with a rule each; JSON is YAML.
fn routes(
    backend: &Backend,
    issuer: &Issuer,
    exchange: &Installed,
    ports: Ports,
    plan: Plan,
) -> String {
    let route = |path: &str, on_error: &str| -> Value {
        let name = path.trim_start_matches('/');
        let config = json!({
            "name": name,
            "issuers": [{
                "issuer": issuer.url(),
                "audiences": [PROJECT],
                "project": PROJECT,
                "algorithms": ["RS256"],
            }],
            "keys": {"wait_at": format!("127.0.0.1:{}", ports.waiting_room)},
            "exchange": {"url": exchange.url(), "signing_key": exchange.signing_key()},
            "limits": [{
                "name": name,
                "key": "sub",
                "amount": plan.amount,
                "per": "day",
                "scope": "shared",
                "grace_s": plan.grace_s,
                "on_error": on_error,
            }],
        });
        json!({
            "name": name,
            "paths": [path],
            "strip_path": false,
            "plugins": [{"name": FILTER, "config": config}],
        })
    };
    let routes = [route(PATH, "deny"), route(TOLERANT_PATH, "allow")];
    json!({
        "_format_version": "3.0",
        "services": [{"name": "backend", "url": backend.url(), "routes": routes}],
    })
    .to_string()
}
