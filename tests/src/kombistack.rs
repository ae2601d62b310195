//! A `KombiStack` instance: a real `PocketBase`, with the hook that the exchange ships for it or
//! with nothing of ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{
    artifacts::{self, Artifacts, Node},
    exchange::Registered,
    port, portal,
    process::Process,
    run_dir::RunDir,
};

/// A running instance.
pub struct KombiStack {
    process: Process,
    start: Start,
}

/// The path of the page where a handed login becomes a session.
pub const PAGE: &str = "/kombisphere/";

/// The superuser of an instance without a hook.
pub const SUPERUSER: &str = "exchange@kombistack.example";

/// Its password.
pub const SUPERUSER_PASSWORD: &str = "only-for-this-test";

/// What it takes to start the instance.
struct Start {
    id: String,
    binary: PathBuf,
    folder: PathBuf,
    address: Address,
    hook: Option<Hook>,
}

/// What the hook of an instance knows.
struct Hook {
    key: String,
    /// Where the gateway is, and the portal behind it.
    gateway: String,
}

/// Where an instance will listen; it is registered before it runs.
#[derive(Debug, Clone)]
pub struct Address(String);

impl Address {
    /// A free one.
    pub fn free() -> Result<Self> {
        Ok(Self(format!("127.0.0.1:{}", port::free()?)))
    }

    /// As a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

impl KombiStack {
    /// Starts the instance that `registered` speaks of.
    pub async fn with_hook(
        artifacts: &Artifacts,
        run: &RunDir,
        address: Address,
        registered: Registered,
        gateway: &str,
    ) -> Result<Self> {
        let hook = Hook { key: registered.key, gateway: gateway.to_owned() };
        let start = Start::new(artifacts, run, address, &registered.id, Some(hook))?;
        let process = start.process(run.path()).await?;
        Ok(Self { process, start })
    }

    /// Starts an instance that knows nothing of us but a superuser.
    pub async fn bare(
        artifacts: &Artifacts,
        run: &RunDir,
        address: Address,
        id: &str,
    ) -> Result<Self> {
        let start = Start::new(artifacts, run, address, id, None)?;
        let mut command = Command::new(&start.binary);
        command.args(["superuser", "upsert", SUPERUSER, SUPERUSER_PASSWORD]);
        command.arg("--dir").arg(start.folder.join("pb_data"));
        artifacts::output(&mut command).context("PocketBase made no superuser")?;
        let process = start.process(run.path()).await?;
        Ok(Self { process, start })
    }

    /// The instance's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.start.id
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        self.start.address.url()
    }

    /// Ends the instance at once.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops the instance where it is: it takes connections and answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets a paused instance go on.
    pub fn go_on(&self) -> Result<()> {
        self.process.go_on()
    }
}

impl KombiStack {
    /// Gives the instance a front page, which shows who is signed in.
    pub fn with_front_page(self) -> Result<Self> {
        let sdk = "node_modules/pocketbase/dist/pocketbase.es.mjs";
        let sdk = Node::install(portal::SOURCE)?.folder.join(sdk);
        fs::copy(sdk, self.start.public().join("pocketbase.es.mjs"))?;
        let page = artifacts::source().join("tests/kombistack/homelab.html");
        fs::copy(page, self.start.public().join("index.html"))?;
        Ok(self)
    }
}

impl Start {
    /// Where the files are that it serves.
    fn public(&self) -> PathBuf {
        self.folder.join("pb_public")
    }

    fn new(
        artifacts: &Artifacts,
        run: &RunDir,
        address: Address,
        id: &str,
        hook: Option<Hook>,
    ) -> Result<Self> {
        let folder = run.path().join(id);
        fs::create_dir_all(folder.join("pb_public"))?;
        Ok(Self { id: id.to_owned(), binary: artifacts.kombistack.clone(), folder, address, hook })
    }

    async fn process(&self, logs: &Path) -> Result<Process> {
        let mut command = Command::new(&self.binary);
        command
            // PocketBase takes a binary below a temporary folder for one in development.
            .args(["serve", "--dev=false", "--http", &self.address.0])
            .arg("--dir")
            .arg(self.folder.join("pb_data"))
            .arg("--publicDir")
            .arg(self.public());
        if let Some(Hook { key, gateway }) = &self.hook {
            let shipped = artifacts::source().join("exchange/kombistack");
            command
                .arg("--hooksDir")
                .arg(shipped.join("pb_hooks"))
                .arg("--migrationsDir")
                .arg(shipped.join("pb_migrations"))
                .env("KOMBISPHERE_INSTANCE_ID", &self.id)
                .env("KOMBISPHERE_SSO_KEY", key)
                .env("KOMBISPHERE_PORTAL_URL", format!("{gateway}{}", portal::PATH))
                .env("KOMBISPHERE_GATEWAY_URL", format!("{gateway}/"));
        }
        let mut process = Process::spawn(&format!("kombistack-{}", self.id), command, logs)?;
        process.wait_for(&format!("{}/api/health", self.address.url())).await?;
        Ok(process)
    }
}
