//! Envoy from its Python package.

use std::process::Command;

use anyhow::{Context, Result};

use super::Ports;
use crate::{
    artifacts::{Artifacts, FILTER},
    envoy::bootstrap,
    process::Process,
    routes::Declaration,
    run_dir::RunDir,
};

pub(super) struct Envoy {
    _process: Process,
}

impl Envoy {
    pub(super) async fn start(
        artifacts: &Artifacts,
        routes: &str,
        run: &RunDir,
        ports: Ports,
    ) -> Result<Self> {
        let binary = artifacts.envoy.as_ref().context("Envoy was not prepared")?;
        let wasm = artifacts.filters.join(format!("{FILTER}.wasm"));
        let bootstrap = bootstrap(&Declaration::parse(routes)?, &wasm, ports)?;
        let config = run.write("envoy.json", format!("{bootstrap:#}"))?;
        let mut command = Command::new(binary);
        command.arg("--config-path").arg(&config).args([
            "--concurrency",
            "2",
            "--use-dynamic-base-id",
            "--log-level",
            "warning",
        ]);
        let mut process = Process::spawn("envoy", command, run.path())?;
        process.wait_for(&format!("http://127.0.0.1:{}/ready", ports.status)).await?;
        Ok(Self { _process: process })
    }
}
