//! Envoy from its Python package.

use std::process::Command;

use anyhow::{Context, Result};

use super::Setup;
use crate::{
    artifacts::Artifacts, envoy::bootstrap, process::Process, routes::Declaration, run_dir::RunDir,
};

pub(super) struct Envoy {
    process: Process,
}

impl Envoy {
    pub(super) async fn start(
        artifacts: &Artifacts,
        setup: Setup<'_>,
        run: &RunDir,
    ) -> Result<Self> {
        let binary = artifacts.envoy.as_ref().context("Envoy was not prepared")?;
        let declaration = Declaration::parse(setup.routes)?;
        let bootstrap = bootstrap(&declaration, &setup, &artifacts.filters)?;
        let config = run.write("envoy.json", format!("{bootstrap:#}"))?;
        let mut command = Command::new(binary);
        command.arg("--config-path").arg(&config).args([
            "--concurrency",
            &setup.workers.to_string(),
            "--use-dynamic-base-id",
            "--log-level",
            "warning",
        ]);
        let mut process = Process::spawn("envoy", command, run.path())?;
        process.wait_for(&format!("http://127.0.0.1:{}/ready", setup.ports.status)).await?;
        Ok(Self { process })
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }
}
