//! Where the routes of `kong/kong.yml` lead to in a stack.

use std::{collections::BTreeMap, fs, process::Command};

use anyhow::{Context, Result};
use tokio::net::TcpStream;

use crate::{
    artifacts, backend::Backend, exchange::Installed, host::Ports, issuer::PROJECT, port,
    process::Process, routes, run_dir::RunDir,
};

/// The name by which the gateway serves the instance `homelab`.
pub const HOMELAB_HOST: &str = "homelab.kombisphere.test";

/// An address besides this machine's that Stripe's events come from.
pub const STRIPE: &str = "203.0.113.7";

/// Everything that the routes ask for.
pub(super) struct Places<'a> {
    pub(super) cloud: String,
    pub(super) workers: String,
    pub(super) portal: String,
    pub(super) homelab: String,
    pub(super) issuer: &'a str,
    pub(super) exchange: &'a Installed,
    /// The provider of all models.
    pub(super) models: &'a str,
    pub(super) ports: Ports,
}

impl Places<'_> {
    /// The routes, rendered as an operator does it.
    pub(super) fn render(&self, run: &RunDir) -> Result<String> {
        let rendered = run.path().join("rendered.yml");
        let mut command = self.exchange.program();
        command.args(["kong", "render"]).arg(routes::template());
        command.arg("--output").arg(&rendered).envs(self.variables());
        artifacts::output(&mut command).context("kombi-exchange kong render failed")?;
        fs::read_to_string(&rendered).with_context(|| format!("cannot read {}", rendered.display()))
    }

    fn variables(&self) -> BTreeMap<&'static str, String> {
        let Self { cloud, workers, portal, homelab, issuer, exchange, models, ports } = self;
        BTreeMap::from([
            ("DECK_KOMBI_CLOUD_URL", cloud.clone()),
            ("DECK_KOMBI_WORKERS_URL", workers.clone()),
            ("DECK_KOMBI_PORTAL_URL", portal.clone()),
            ("DECK_KOMBI_HOMELAB_URL", homelab.clone()),
            ("DECK_KOMBI_HOMELAB_HOST", HOMELAB_HOST.to_owned()),
            ("DECK_KOMBI_STRIPE_ADDRESSES", format!("127.0.0.1,{STRIPE}")),
            ("DECK_KOMBI_EXCHANGE_URL", exchange.url()),
            ("DECK_KOMBI_ISSUER", (*issuer).to_owned()),
            ("DECK_KOMBI_AUDIENCE", PROJECT.to_owned()),
            ("DECK_KOMBI_ASSERTION_KEY", exchange.signing_key().to_owned()),
            ("DECK_KOMBI_WAIT_AT", format!("127.0.0.1:{}", ports.waiting_room)),
            ("DECK_KOMBI_AI_FALLBACK_PORT", ports.fallback.to_string()),
            ("DECK_KOMBI_AI_PORT", ports.second_pass.to_string()),
            ("DECK_KOMBI_AI_OPENAI_URL", format!("{models}/v1")),
            ("DECK_KOMBI_AI_GEMINI_URL", format!("{models}/v1beta/openai")),
            ("DECK_KOMBI_AI_OLLAMA_URL", format!("{models}/v1")),
        ])
    }
}

/// A gRPC server, if there is to be one, and where workers are led to.
pub(super) async fn workers(
    wanted: bool,
    backend: &Backend,
    run: &RunDir,
) -> Result<(Option<Process>, String)> {
    if !wanted {
        return Ok((None, backend.url().replace("http:", "grpc:")));
    }
    let address = format!("127.0.0.1:{}", port::free()?);
    let mut command = Command::new(artifacts::grpc()?);
    command.args(["--serve", &address]);
    let mut server = Process::spawn("workers", command, run.path())?;
    server.wait_until(async || TcpStream::connect(&address).await.is_ok()).await?;
    Ok((Some(server), format!("grpc://{address}")))
}
