//! The whole stack, started in order and ended in order.

mod places;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::future::try_join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use crate::{
    ai::{Accounting, Providers},
    answer::{self, Answer},
    artifacts::Artifacts,
    backend::Backend,
    exchange::{Exchange, Installed},
    host::{Gateway, HostKind, Ports, Setup},
    issuer::Issuer,
    kombistack::{Address, KombiStack, PAGE},
    portal::{self, Portal},
    process::Process,
    run_dir::RunDir,
};
use places::Places;

pub use places::{HOMELAB_HOST, STRIPE};

/// An instance to register and start.
#[derive(Debug, Clone, Copy)]
pub struct Instance {
    /// Its id.
    pub id: &'static str,
    /// The person who owns it.
    pub owner: &'static str,
    /// The people who may enter it, too.
    pub members: &'static [&'static str],
    /// How the exchange gets in.
    pub way_in: WayIn,
}

/// How the exchange gets into an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayIn {
    /// Through the hook.
    Hook,
    /// Over PocketBase's own API; the instance has nothing of ours.
    Superuser,
}

/// The instance of the demo.
pub const HOMELAB: Instance =
    Instance { id: "homelab", owner: "ada", members: &["grace"], way_in: WayIn::Hook };

/// How an issuer with TLS stands with the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// The gateway trusts the authority that signed its certificate.
    Trusted,
    /// Nobody knows that authority.
    Unknown,
}

/// What to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// The gateway's host; `None` for the best there is.
    pub host: Option<HostKind>,
    /// The gateway's port, if it is free; `None` for any.
    pub gateway_port: Option<u16>,
    /// Whether the issuer is reached over TLS, and with what.
    pub issuer_tls: Option<Certificate>,
    /// The instances. Without any, the exchange is not started either.
    pub instances: &'static [Instance],
    /// Whether they have the oldest `PocketBase` that is supported inside.
    pub oldest_pocketbase: bool,
    /// Changes the routes of `kong/kong.yml`, for a test that needs others.
    pub amend: Option<fn(&mut Value)>,
    /// Whether AI models can be called, and who counts.
    pub ai: Option<Accounting>,
    /// The port of a provider to call, in place of the mock.
    pub provider: Option<u16>,
    /// Whether there is a proxy before the gateway, which says where requests come from.
    pub proxied: bool,
    /// Whether there is a portal, and a front page in each instance with a hook.
    pub portal: bool,
    /// Whether there is a gRPC server for workers, and clients that speak HTTP/2 without TLS.
    pub workers: bool,
    /// The port of a collector of traces.
    pub collector: Option<u16>,
}

/// The running parts, in the order in which they are ended.
pub struct Stack {
    /// The gateway.
    pub gateway: Gateway,
    exchange: Option<Exchange>,
    providers: Option<Providers>,
    /// The instances, as they were asked for.
    pub instances: Vec<KombiStack>,
    /// The issuer.
    pub issuer: Issuer,
    portal: Option<Portal>,
    _workers: Option<Process>,
    _backend: Backend,
    client: Client,
    run: Arc<RunDir>,
}

impl Stack {
    /// Builds what is missing and starts everything.
    pub async fn start(options: Options) -> Result<Self> {
        let kind = HostKind::choose(options.host)?;
        let artifacts = Artifacts::build(kind)?;
        let artifacts = match options.oldest_pocketbase {
            false => artifacts,
            true => artifacts.with_oldest_pocketbase()?,
        };
        let run = Arc::new(RunDir::new()?);
        let started = Self::assemble(kind, &artifacts, options, Arc::clone(&run)).await;
        started.map_err(|error| anyhow!("{error:#}\n{}", run.logs()))
    }

    /// A stack of issuer, gateway and backend, for tests of the gate.
    pub async fn gate() -> Result<Self> {
        Self::start(Options::default()).await
    }

    /// A stack with these instances.
    pub async fn with(instances: &'static [Instance]) -> Result<Self> {
        Self::start(Options { instances, ..Options::default() }).await
    }

    async fn assemble(
        kind: HostKind,
        artifacts: &Artifacts,
        options: Options,
        run: Arc<RunDir>,
    ) -> Result<Self> {
        let backend = Backend::start().await?;
        let ports = Ports::choose(options.gateway_port)?;
        let gateway = ports.url();
        let authority = run.path().join("authority.pem");
        let issuer = match options.issuer_tls {
            None => {
                let portal = format!("{gateway}{}", portal::PATH);
                Issuer::start_for(artifacts, &run, &portal).await?
            }
            Some(_) => Issuer::start_with_tls(artifacts, &run, &authority).await?,
        };
        let trusted = (options.issuer_tls == Some(Certificate::Trusted)).then_some(&*authority);
        let mut installed =
            Installed::new(artifacts, &run, issuer.url())?.with_collector(options.collector);
        let mut instances = Vec::new();
        for instance in options.instances {
            let address = Address::free()?;
            let owner = issuer.subject(instance.owner).await?;
            let mut members = Vec::new();
            for person in instance.members {
                members.push(issuer.subject(person).await?);
            }
            let url = address.url();
            instances.push(match instance.way_in {
                WayIn::Hook => {
                    let added = installed.add_instance(instance.id, &url, &owner, &members)?;
                    let hooked =
                        KombiStack::with_hook(artifacts, &run, address, added, &gateway).await?;
                    if options.portal { hooked.with_front_page()? } else { hooked }
                }
                WayIn::Superuser => {
                    let bare = KombiStack::bare(artifacts, &run, address, instance.id).await?;
                    installed.add_bare_instance(instance.id, &url, &owner, &members)?;
                    bare
                }
            });
        }
        let providers = match (options.ai, options.provider) {
            (Some(accounting), None) => Some(Providers::start(accounting, &run).await?),
            _ => None,
        };
        let models = match (options.provider, &providers) {
            (Some(port), _) => format!("http://127.0.0.1:{port}"),
            (None, Some(providers)) => providers.url().to_owned(),
            // Where there are none, the backend's address is as good.
            (None, None) => backend.url().to_owned(),
        };
        let portal = match options.portal {
            false => None,
            true => Some(Portal::start(issuer.url(), &pages(&instances)).await?),
        };
        let (workers, workers_url) = places::workers(options.workers, &backend, &run).await?;
        let homelab = instances.iter().find(|instance| instance.id() == HOMELAB.id);
        let places = Places {
            cloud: backend.url(),
            workers: workers_url,
            // Without a portal or an instance, the backend's address is as good.
            portal: portal.as_ref().map_or_else(|| backend.url(), Portal::url),
            homelab: homelab.map_or_else(|| backend.url(), KombiStack::url),
            issuer: issuer.url(),
            exchange: &installed,
            models: &models,
            ports,
        };
        let routes = places.render(&run)?;
        let routes = match options.ai {
            Some(Accounting::Off) => {
                routes.replace("path: /ai/v1", "path: /ai/v1\n                ledger: false")
            }
            _ => routes,
        };
        let routes = match options.amend {
            None => routes,
            Some(amend) => {
                let mut amended = serde_yaml_ng::from_str(&routes)?;
                amend(&mut amended);
                // JSON is YAML.
                amended.to_string()
            }
        };
        run.write("declaration.yml", &routes)?;
        let needed = !instances.is_empty() || options.ai == Some(Accounting::Ledger);
        let exchange = match needed {
            false => None,
            true => Some(Exchange::start(installed, &run).await?),
        };
        let setup = Setup {
            routes: &routes,
            native: &[],
            workers: 2,
            http2: options.workers,
            ports,
            trusted,
            proxied: options.proxied,
        };
        let gateway = Gateway::start(kind, artifacts, setup, &run).await?;
        let client = answer::client()?;
        Ok(Self {
            gateway,
            exchange,
            providers,
            instances,
            issuer,
            portal,
            _workers: workers,
            _backend: backend,
            client,
            run,
        })
    }

    /// The exchange; an error in a stack without instances.
    pub fn exchange(&mut self) -> Result<&mut Exchange> {
        self.exchange.as_mut().context("this stack has no instances, so no exchange")
    }

    /// Where people sign in, if there is a portal.
    #[must_use]
    pub fn portal_url(&self) -> Option<String> {
        self.portal.as_ref().map(|_| format!("{}{}", self.gateway.url(), portal::PATH))
    }

    /// A stack whose AI models can be called.
    pub async fn with_models(accounting: Accounting) -> Result<Self> {
        Self::start(Options { ai: Some(accounting), ..Options::default() }).await
    }

    /// Waits until every worker has the issuer's keys: a call's body cannot wait for them.
    pub async fn wait_for_models(&self, token: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut good = 0;
        while good < 20 {
            let answer = self.get_as(token, "/ai/v1/models").await?;
            good = if answer.status == 200 { good + 1 } else { 0 };
            if Instant::now() >= deadline {
                bail!("the models are never listed: {answer:?}");
            }
        }
        Ok(())
    }

    /// The providers; an error in a stack without models.
    pub fn providers(&self) -> Result<&Providers> {
        self.providers.as_ref().context("this stack has no models")
    }

    /// A request to anywhere.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `GET path` at the gateway.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.gateway.url()))
    }

    /// `POST path` at the gateway.
    pub fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.gateway.url()))
    }

    /// `GET path` at the gateway with this token.
    pub async fn get_as(&self, token: &str, path: &str) -> Result<Answer> {
        Answer::to(self.get(path).bearer_auth(token)).await
    }

    /// Logs the bearer of `token` into an instance.
    pub async fn log_in(&self, token: &str, instance: &str) -> Result<Answer> {
        let path = format!("/sso/instances/{instance}/session");
        Answer::to(self.post(&path).bearer_auth(token)).await
    }

    /// Logs the bearer of `token` into an instance `times` times at once: the ids of the users that
    /// this comes to. An error if a login is refused.
    pub async fn log_in_at_once(
        &self,
        token: &str,
        instance: &str,
        times: usize,
    ) -> Result<BTreeSet<String>> {
        let user = async || {
            let answer = self.log_in(token, instance).await?;
            ensure!(answer.status == 200, "{}", answer.summary());
            let id = answer.json()["record"]["id"].as_str().map(str::to_owned);
            id.context("a session has a record with an id")
        };
        try_join_all((0..times).map(|_| user())).await.map(|users| users.into_iter().collect())
    }

    /// The last lines of every part's log.
    #[must_use]
    pub fn logs(&self) -> String {
        self.run.logs()
    }

    /// Where this run keeps its data.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.run.path()
    }

    /// The rendered routes, as Kong reads them.
    #[must_use]
    pub fn declaration(&self) -> PathBuf {
        self.run.path().join("declaration.yml")
    }

    /// The gateway's own log.
    #[must_use]
    pub fn gateway_log(&self) -> PathBuf {
        let name = match self.gateway.kind() {
            HostKind::Kong => "kong/logs/error.log",
            HostKind::Docker => "kong.log",
            HostKind::Envoy => "envoy.log",
        };
        self.run.path().join(name)
    }

    /// Everything that any part has logged so far.
    pub fn whole_logs(&self) -> Result<String> {
        let mut whole = String::new();
        for file in self.run.log_files() {
            let content =
                std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            whole.push_str(&String::from_utf8_lossy(&content));
        }
        Ok(whole)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Each instance with the page that a login may be handed to.
fn pages(instances: &[KombiStack]) -> Vec<(String, String)> {
    let page = |instance: &KombiStack| format!("{}{PAGE}", instance.url());
    instances.iter().map(|instance| (instance.id().to_owned(), page(instance))).collect()
}

/// The value of the header `name` that the echo server received, if it was there once.
#[must_use]
pub fn received_header(answer: &Answer, name: &str) -> Option<String> {
    let echoed = answer.json();
    let mut values = echoed["headers"].as_array()?.iter().filter(|header| header[0] == name);
    let value = values.next()?[1].as_str()?.to_owned();
    values.next().is_none().then_some(value)
}
