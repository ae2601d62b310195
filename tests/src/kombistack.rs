//! A `KombiStack` instance: a real `PocketBase` with the hook that the exchange ships for it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{
    artifacts::{self, Artifacts},
    exchange::Registered,
    port,
    process::Process,
    run_dir::RunDir,
};

/// A running instance.
pub struct KombiStack {
    process: Process,
    start: Start,
}

/// What it takes to start the instance, again and again.
struct Start {
    binary: PathBuf,
    folder: PathBuf,
    address: Address,
    registered: Registered,
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
    pub async fn start(
        artifacts: &Artifacts,
        run: &RunDir,
        address: Address,
        registered: Registered,
    ) -> Result<Self> {
        let folder = run.path().join(&registered.id);
        fs::create_dir_all(&folder)?;
        let start = Start { binary: artifacts.kombistack.clone(), folder, address, registered };
        let process = start.process(run.path()).await?;
        Ok(Self { process, start })
    }

    /// The instance's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.start.registered.id
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

impl Start {
    async fn process(&self, logs: &Path) -> Result<Process> {
        let shipped = artifacts::source().join("exchange/kombistack");
        let mut command = Command::new(&self.binary);
        command
            // PocketBase takes a binary below a temporary folder for one in development.
            .args(["serve", "--dev=false", "--http", &self.address.0])
            .arg("--dir")
            .arg(self.folder.join("pb_data"))
            .arg("--hooksDir")
            .arg(shipped.join("pb_hooks"))
            .arg("--migrationsDir")
            .arg(shipped.join("pb_migrations"))
            .env("KOMBISPHERE_INSTANCE_ID", &self.registered.id)
            .env("KOMBISPHERE_SSO_KEY", &self.registered.key);
        let mut process =
            Process::spawn(&format!("kombistack-{}", self.registered.id), command, logs)?;
        process.wait_for(&format!("{}/api/health", self.address.url())).await?;
        Ok(process)
    }
}
