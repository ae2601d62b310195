//! An exchange in this process, with a gate in front of it.

use std::{sync::Arc, time::Duration};

use kombi_exchange::{
    access::{Access, HookKey},
    address::Reach,
    assertion::GateKey,
    audit::Act,
    config::{Config, Limits},
    database::Database,
    entrant::EntryRole,
    instance::{InstanceId, InstanceUrl, PageUrl, Subject},
    leases::store::Local,
    outbound::system_lookup,
    registry::{NewInstance, Registry},
    seal::Seal,
    server::{Addresses, Server},
    time::UnixTime,
};
use kombi_spec::{code::Code, header, problem::Problem};
use reqwest::{Client, RequestBuilder, Response};
use tempfile::TempDir;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{database, gate::Gate};

const SEAL: [u8; 32] = [9; 32];

pub(crate) struct Exchange {
    pub(crate) gate: Gate,
    pub(crate) addresses: Addresses,
    pub(crate) data: Arc<TempDir>,
    pub(crate) database: Database,
    pub(crate) client: Client,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl Exchange {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let data = Arc::new(tempfile::tempdir().unwrap());
        let database = database::of(data.path());
        Self::start_on(data, database, change).await
    }

    /// Another one, on the same database.
    pub(crate) async fn beside(&self, change: impl FnOnce(&mut Config)) -> Self {
        Self::start_on(Arc::clone(&self.data), self.database.clone(), change).await
    }

    /// One whose database is `database`, and whose files are in `data`.
    pub(crate) async fn start_on(
        data: Arc<TempDir>,
        database: Database,
        change: impl FnOnce(&mut Config),
    ) -> Self {
        let (gate, client) = (Gate::new(1), client());
        let mut config = config(&gate, database.clone());
        change(&mut config);
        let (addresses, stop, served) = serve(config).await;
        let (stop, served) = (Some(stop), Some(served));
        Self { gate, addresses, data, database, client, stop, served }
    }

    /// Starts it again on the same data, once it has stopped.
    pub(crate) async fn start_again(&mut self) {
        let (addresses, stop, served) = serve(config(&self.gate, self.database.clone())).await;
        self.addresses = addresses;
        (self.stop, self.served) = (Some(stop), Some(served));
    }

    /// Registers an instance of the person `owner`, beside the running exchange as the command
    /// line does.
    pub(crate) async fn register(&self, id: &str, url: &str, reach: Reach) -> HookKey {
        let key = HookKey::random().unwrap();
        let new = NewInstance {
            id: InstanceId::parse(id).unwrap(),
            url: InstanceUrl::parse(url, reach).unwrap(),
            owner: Subject::parse("owner").unwrap(),
            members: ["member"].map(|sub| Subject::parse(sub).unwrap()).into(),
            roles: [EntryRole::parse("keeper@7").unwrap()].into(),
            page: (reach == Reach::Private).then(|| PageUrl::parse(&page_of(id), reach).unwrap()),
            access: Access::Hook(key.clone()),
        };
        self.add(new).await;
        key
    }

    /// Registers any instance, in the same way.
    pub(crate) async fn add(&self, new: NewInstance) {
        let act = Act::at_the_command_line();
        self.registry().await.add(new, &act, UnixTime::now()).await.unwrap();
    }

    /// The registry, as the command line opens it.
    pub(crate) async fn registry(&self) -> Registry {
        let store = self.database.open().unwrap();
        Registry::open(store, Seal::new(&SEAL).unwrap()).await.unwrap()
    }

    /// Removes an instance, in the same way.
    pub(crate) async fn unregister(&self, id: &str) {
        let (id, act) = (InstanceId::parse(id).unwrap(), Act::at_the_command_line());
        self.registry().await.remove(&id, &act, UnixTime::now()).await.unwrap();
    }

    pub(crate) fn url(&self, instance: &str) -> String {
        format!("http://{}/sso/instances/{instance}/session", self.addresses.public)
    }

    /// Logs `sub` into `instance` with an assertion made for that.
    pub(crate) async fn login(&self, sub: &str, instance: &str) -> Response {
        self.present(&self.gate.assertion(sub, instance), instance).await
    }

    /// A login of `sub` into `instance`, yet to be sent.
    pub(crate) fn session(&self, sub: &str, instance: &str) -> RequestBuilder {
        let assertion = self.gate.assertion(sub, instance);
        self.client.post(self.url(instance)).header(header::ASSERTION, assertion)
    }

    /// Asks for a session in `instance` with this assertion.
    pub(crate) async fn present(&self, assertion: &str, instance: &str) -> Response {
        let request = self.client.post(self.url(instance)).header(header::ASSERTION, assertion);
        request.send().await.unwrap()
    }

    /// What the operator's listener says under `path`.
    pub(crate) async fn ops(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.addresses.ops);
        let response = self.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// Tells it to stop; the future ends when it has.
    pub(crate) fn stop(&mut self) -> JoinHandle<()> {
        drop(self.stop.take());
        self.served.take().unwrap()
    }
}

fn config(gate: &Gate, database: Database) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        ops_listen: "127.0.0.1:0".parse().unwrap(),
        database,
        gate_keys: vec![GateKey::parse(&gate.public()).unwrap()],
        seal: Seal::new(&SEAL).unwrap(),
        clock_skew: Duration::from_secs(5),
        instance_timeout: Duration::from_secs(2),
        introspection: None,
        logout: None,
        backup: None,
        leases: Arc::new(Local::new()),
        usage: None,
        max_connections: 1024,
        limits: Limits::default(),
        lookup: system_lookup,
    }
}

async fn serve(config: Config) -> (Addresses, oneshot::Sender<()>, JoinHandle<()>) {
    let server = Server::bind(config).await.unwrap();
    let addresses = server.addresses();
    let (stop, stopped) = oneshot::channel();
    (addresses, stop, tokio::spawn(server.serve(async { drop(stopped.await) })))
}

/// The page that the instance `id` is registered with.
pub(crate) fn page_of(id: &str) -> String {
    format!("https://{id}.example/kombisphere/")
}

/// A client like the gateway: it follows nothing and asks nobody.
pub(crate) fn client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// The problem document in `response`, after a look at what every refusal must have.
pub(crate) async fn refusal(response: Response) -> Problem {
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers.contains_key("www-authenticate"), status == 401);
    assert_eq!(headers.contains_key("retry-after"), status == 503);
    let problem: Problem = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(problem.status, status);
    problem
}

/// The code of the refusal in `response`.
pub(crate) async fn code(response: Response) -> Code {
    refusal(response).await.code
}
