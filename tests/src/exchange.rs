//! The exchange as a process, and its command line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};
use kombi_gate_core::{
    assertion::Signer,
    identity::Identity,
    request::{Fields, Head},
    time::UnixTime,
};
use kombi_spec::assertion::EXCHANGE_AUDIENCE;
use reqwest::Url;
use serde::Deserialize;

use crate::{
    ai,
    answer::{self, Answer},
    artifacts::{self, Artifacts},
    issuer::{INTROSPECTOR, PROJECT},
    kombistack::{PAGE, SUPERUSER, SUPERUSER_PASSWORD},
    port,
    process::Process,
    run_dir::RunDir,
    shared_store::SharedStore,
};

/// Where the ids of assertions made here begin; the gateway's own are longer.
static NEXT_ID: AtomicU64 = AtomicU64::new(0x1000_0000);

/// Where its operators' listener says whether requests will be served.
const READY: &str = "/readyz";

/// A running exchange.
pub struct Exchange {
    process: Process,
    installed: Installed,
    logs: PathBuf,
}

/// An exchange with its keys and data, running or not.
#[derive(Debug, Clone)]
pub struct Installed {
    binary: PathBuf,
    data: PathBuf,
    listen: String,
    ops_listen: String,
    keys: Keys,
    /// Whose assertions it accepts: the gate's public keys.
    trusted: Vec<String>,
    /// Whose opaque tokens it introspects.
    issuer: String,
    instance_timeout_ms: &'static str,
    store: Option<String>,
    /// The PostgreSQL that it is on, if it is.
    database: Option<String>,
    /// What it is started by, where it is watched or held back.
    under: Vec<String>,
    /// Where traces are sent.
    collector: Option<String>,
}

/// What `kombi-exchange keygen --json` makes.
#[derive(Debug, Clone, Deserialize)]
struct Keys {
    /// Signs assertions; for the gate.
    signing_key: String,
    /// Verifies them; for the exchange.
    assertion_key: String,
    /// Seals the instances' keys.
    seal_key: String,
}

/// What `kombi-exchange instance add --json` tells of the new instance.
#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    /// The instance's id.
    pub id: String,
    /// The key that the instance must be given.
    pub key: String,
}

/// What `kombi-exchange usage replay --json` tells.
#[derive(Debug, Deserialize)]
struct Replayed {
    accepted: u64,
    replaced: u64,
    malformed: u64,
    refused: u64,
}

impl Installed {
    /// An exchange with fresh keys and an empty registry.
    pub fn new(artifacts: &Artifacts, run: &RunDir, issuer: &str) -> Result<Self> {
        let keys = artifacts::output(Command::new(&artifacts.exchange).args(["keygen", "--json"]))
            .context("kombi-exchange keygen failed")?;
        let keys: Keys = serde_json::from_str(&keys).context("kombi-exchange keygen")?;
        Ok(Self {
            binary: artifacts.exchange.clone(),
            data: run.path().join("exchange"),
            listen: format!("127.0.0.1:{}", port::free()?),
            ops_listen: format!("127.0.0.1:{}", port::free()?),
            trusted: vec![keys.assertion_key.clone()],
            keys,
            issuer: issuer.to_owned(),
            instance_timeout_ms: "2000",
            store: None,
            database: None,
            under: Vec::new(),
            collector: None,
        })
    }

    /// The same, with its data in `folder`.
    #[must_use]
    pub fn with_data(self, folder: PathBuf) -> Self {
        Self { data: folder, ..self }
    }

    /// The same, started by a program that starts it.
    #[must_use]
    pub fn under(self, program: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { under: program.into_iter().map(Into::into).collect(), ..self }
    }

    /// The same, on the PostgreSQL at `url`.
    #[must_use]
    pub fn on_postgres(self, url: String) -> Self {
        Self { database: Some(url), ..self }
    }

    /// The same, keeping shared limits in `store` if there is one.
    #[must_use]
    pub fn with_store(self, store: Option<&SharedStore>) -> Self {
        Self { store: store.map(SharedStore::url), ..self }
    }

    /// The same, sending traces to `collector` if there is one.
    #[must_use]
    pub fn with_collector(self, collector: Option<u16>) -> Self {
        Self { collector: collector.map(|port| format!("http://127.0.0.1:{port}")), ..self }
    }

    /// Registers an instance. One on the loopback address is only allowed because we say so.
    pub fn add_instance(
        &self,
        id: &str,
        url: &str,
        owner: &str,
        members: &[String],
    ) -> Result<Registered> {
        let mut command = self.adding(id, url, owner, members);
        command.args(["--page", &format!("{url}{PAGE}")]);
        let added =
            artifacts::output(&mut command).context("kombi-exchange instance add failed")?;
        serde_json::from_str(&added).context("kombi-exchange instance add")
    }

    /// Registers an instance without a hook, which is running. A first login there is a bcrypt or
    /// two, on a machine that may be doing much else, so the exchange waits longer from here on.
    pub fn add_bare_instance(
        &mut self,
        id: &str,
        url: &str,
        owner: &str,
        members: &[String],
    ) -> Result<()> {
        self.instance_timeout_ms = "4000";
        let mut command = self.adding(id, url, owner, members);
        command.args(["--superuser", SUPERUSER]);
        command.env("KOMBI_EXCHANGE_SUPERUSER_PASSWORD", SUPERUSER_PASSWORD);
        artifacts::output(&mut command).context("kombi-exchange instance add failed")?;
        Ok(())
    }

    fn adding(&self, id: &str, url: &str, owner: &str, members: &[String]) -> Command {
        let mut command = self.command();
        command.args(["instance", "add", "--json", "--allow-private"]);
        command.args(["--id", id, "--url", url, "--owner", owner]);
        for member in members {
            command.args(["--member", member]);
        }
        command
    }

    /// What the gate signs assertions with.
    #[must_use]
    pub fn signing_key(&self) -> &str {
        &self.keys.signing_key
    }

    /// Where it will listen, or listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.listen)
    }

    /// Its program, which is yet to be told what to do.
    pub(crate) fn program(&self) -> Command {
        Command::new(&self.binary)
    }

    /// Starts it, and waits until `GET path` of its operators' listener says that all is well.
    async fn serve(&self, logs: &Path, path: &str) -> Result<Process> {
        let mut command = self.command();
        if let [program, arguments @ ..] = self.under.as_slice() {
            let mut watched = Command::new(program);
            watched
                .args(arguments)
                .arg(&self.binary)
                .envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command = watched;
        }
        command.arg("serve");
        let mut process = Process::spawn("exchange", command, logs)?;
        process.wait_for(&format!("http://{}{path}", self.ops_listen)).await?;
        Ok(process)
    }

    fn command(&self) -> Command {
        let mut command = self.program();
        command
            .env("KOMBI_EXCHANGE_DATA", &self.data)
            .env("KOMBI_EXCHANGE_LISTEN", &self.listen)
            .env("KOMBI_EXCHANGE_OPS_LISTEN", &self.ops_listen)
            .env("KOMBI_EXCHANGE_ASSERTION_KEYS", self.trusted.join(","))
            .env("KOMBI_EXCHANGE_SEAL_KEY", &self.keys.seal_key)
            .env("KOMBI_EXCHANGE_INTROSPECTION_ISSUER", &self.issuer)
            .env("KOMBI_EXCHANGE_INTROSPECTION_CLIENT_ID", INTROSPECTOR.0)
            .env("KOMBI_EXCHANGE_INTROSPECTION_CLIENT_SECRET", INTROSPECTOR.1)
            .env("KOMBI_EXCHANGE_INTROSPECTION_ALLOW_PRIVATE", "true")
            .env("KOMBI_EXCHANGE_LOGOUT_ISSUER", &self.issuer)
            .env("KOMBI_EXCHANGE_LOGOUT_AUDIENCES", PROJECT)
            .env("KOMBI_EXCHANGE_LOGOUT_ALLOW_PRIVATE", "true")
            .env("KOMBI_EXCHANGE_INSTANCE_TIMEOUT_MS", self.instance_timeout_ms)
            // No call here takes longer; then the reaper comes.
            .env("KOMBI_EXCHANGE_USAGE_LONGEST_CALL_S", "75")
            .env("KOMBI_EXCHANGE_PLANS", artifacts::source().join("tests/ai/plans.toml"));
        for provider in ai::PROVIDERS {
            let variable = format!("KOMBI_EXCHANGE_PROVIDER_{}_KEY", provider.to_uppercase());
            command.env(variable, ai::provider_key(provider));
        }
        if let Some(url) = &self.database {
            command.env("KOMBI_EXCHANGE_DATABASE", url);
        }
        if let Some(url) = &self.collector {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", url).env("OTEL_BSP_SCHEDULE_DELAY", "200");
        }
        if let Some(url) = &self.store {
            command.env("KOMBI_EXCHANGE_SHARED_STORE", url);
        }
        command
    }
}

impl Exchange {
    /// Starts the installed exchange.
    pub async fn start(installed: Installed, run: &RunDir) -> Result<Self> {
        let logs = run.path().to_owned();
        let process = installed.serve(&logs, READY).await?;
        Ok(Self { process, installed, logs })
    }

    /// Ends it.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Its database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.installed.data.join("exchange.db")
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        let log = self.logs.join("exchange.log");
        let text = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Whether requests will be served, and why not.
    pub async fn readiness(&self) -> Result<Answer> {
        Answer::to(answer::client()?.get(format!("{}{READY}", self.ops_url()))).await
    }

    /// Asks it to end; an error unless it does so within `time`.
    pub async fn stop(&mut self, time: Duration) -> Result<()> {
        self.process.stop(time).await
    }

    /// Starts it again, once it has ended.
    pub async fn start_again(&mut self) -> Result<()> {
        self.process = self.installed.serve(&self.logs, READY).await?;
        Ok(())
    }

    /// Starts it again, ready or not: something of it may be damaged.
    pub async fn start_again_damaged(&mut self) -> Result<()> {
        self.process = self.installed.serve(&self.logs, "/livez").await?;
        Ok(())
    }

    /// Ends it at once, as a crash would, and starts it on the same data.
    pub async fn crash_and_restart(&mut self) -> Result<()> {
        self.process.kill()?;
        self.start_again().await
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// The public half of what the gate was given to sign with.
    #[must_use]
    pub fn assertion_key(&self) -> String {
        self.installed.keys.assertion_key.clone()
    }

    /// Ends it and starts it again, so that it accepts the assertions of these keys and no others.
    pub async fn restart_trusting(&mut self, keys: Vec<String>) -> Result<()> {
        self.installed.trusted = keys;
        self.crash_and_restart().await
    }

    /// Where it listens; the gateway alone should call it.
    #[must_use]
    pub fn url(&self) -> String {
        self.installed.url()
    }

    /// An assertion for `POST url` in the name of `sub`, as the gate would make it.
    pub fn assertion(&self, sub: &str, url: &str) -> Result<String> {
        self.assertion_as(&Identity { subject: sub.to_owned(), ..Identity::default() }, "POST", url)
    }

    /// An assertion for `method url` in the name of `identity`.
    pub fn assertion_as(&self, identity: &Identity, method: &str, url: &str) -> Result<String> {
        let url: Url = url.parse()?;
        let fields = Fields::new(&[(":method", method), (":path", url.path())]);
        let request_id = format!("{:x}", NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let head = Head::read(fields, Some(request_id)).context("a request has an id")?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Signer::new(self.installed.signing_key(), EXCHANGE_AUDIENCE.to_owned(), true)?
            .sign(identity, &head, UnixTime::from_secs(now))
            .context("the assertion could not be signed")
    }

    /// What its ledger has, by model: `kombi-exchange usage report`.
    pub fn usage_by_model(&self) -> Result<serde_json::Value> {
        let mut command = self.installed.command();
        command.args(["usage", "report", "--by", "provider,model", "--form", "json"]);
        let printed =
            artifacts::output(&mut command).context("kombi-exchange usage report failed")?;
        serde_json::from_str(&printed).context("kombi-exchange usage report")
    }

    /// Settles what a gateway's log has and the ledger has not, beside the running exchange:
    /// `kombi-exchange usage replay`. Returns how many calls that were.
    pub fn replay(&self, log: &Path) -> Result<u64> {
        let mut command = self.installed.command();
        command.args(["usage", "replay", "--json"]).arg(log);
        let printed =
            artifacts::output(&mut command).context("kombi-exchange usage replay failed")?;
        let replayed: Replayed =
            serde_json::from_str(&printed).context("kombi-exchange usage replay")?;
        ensure!(replayed.malformed + replayed.refused == 0, "not all could be read: {replayed:?}");
        Ok(replayed.accepted + replayed.replaced)
    }

    /// Makes its database one file, with nothing beside it; while it is not running.
    pub fn move_log_into_database(&self) -> Result<()> {
        let copy = self.logs.join("copy.db");
        for (what, file) in [("backup", "--to"), ("restore", "--from")] {
            let mut command = self.installed.command();
            command.args([what, file]).arg(&copy);
            artifacts::output(&mut command)
                .with_context(|| format!("kombi-exchange {what} failed"))?;
        }
        Ok(())
    }

    /// The records of its audit: `kombi-exchange audit export`.
    pub fn audit(&self) -> Result<Vec<serde_json::Value>> {
        let mut command = self.installed.command();
        command.args(["audit", "export", "--form", "jsonl"]);
        let printed =
            artifacts::output(&mut command).context("kombi-exchange audit export failed")?;
        let records = printed.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().context("kombi-exchange audit export")
    }

    /// An error unless its audit is whole: `kombi-exchange audit verify`.
    pub fn verify_audit(&self) -> Result<()> {
        let mut command = self.installed.command();
        command.args(["audit", "verify"]);
        artifacts::output(&mut command).context("kombi-exchange audit verify failed").map(drop)
    }

    /// `kombi-exchange doctor`, with what this exchange is configured with.
    #[must_use]
    pub fn doctor(&self) -> Command {
        let mut command = self.installed.command();
        command.args(["doctor", "--json", "--exchange", &self.ops_url()]);
        command
    }

    /// What nobody may be shown: the gate's signing key, and what seals the instances' keys.
    #[must_use]
    pub fn secrets(&self) -> [&str; 2] {
        [&self.installed.keys.signing_key, &self.installed.keys.seal_key]
    }

    /// Where it tells how it is.
    #[must_use]
    pub fn ops_url(&self) -> String {
        format!("http://{}", self.installed.ops_listen)
    }
}
