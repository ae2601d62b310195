//! Providers of AI models: a mock that speaks their formats, and the official clients.

use std::{path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    answer,
    artifacts::{self, Node},
    port,
    process::Process,
    run_dir::RunDir,
};

/// The folder with what is needed from npm.
const SOURCE: &str = "tests/ai";

/// What calls of models are tested with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accounting {
    /// Every call is reserved and settled in the exchange's ledger.
    Ledger,
    /// Nobody counts: what who hosts himself has.
    Off,
}

/// The providers that the routes lead to.
pub const PROVIDERS: [&str; 3] = ["openai", "gemini", "ollama"];

/// How the key of every provider here begins. It must appear nowhere but at the provider.
pub const PROVIDER_KEY: &str = "sk-canary-5e1f9c04d7b2";

/// The key of a provider.
#[must_use]
pub fn provider_key(provider: &str) -> String {
    format!("{PROVIDER_KEY}-{provider}")
}

/// All providers in one: a mock of their wire formats (`@copilotkit/aimock`), which answers what
/// `tests/ai/fixtures.json` says.
pub struct Providers {
    _process: Process,
    url: String,
}

impl Providers {
    /// Starts them on a free port. Whoever calls needs a provider's key, unless nobody counts.
    pub async fn start(accounting: Accounting, run: &RunDir) -> Result<Self> {
        let node = Node::install(SOURCE)?;
        let port = port::free()?;
        let mut command = node.command();
        command
            .arg(node.folder.join("node_modules/@copilotkit/aimock/dist/cli.js"))
            .args(["--port", &port.to_string(), "--log-level", "warn", "--fixtures"])
            .arg(artifacts::source().join("tests/ai/fixtures.json"));
        if accounting == Accounting::Ledger {
            let keys = PROVIDERS.map(provider_key).join(",");
            command.env("AIMOCK_API_KEYS", format!("{PROVIDER_KEY},{keys}"));
        }
        let mut process = Process::spawn("providers", command, run.path())?;
        let url = format!("http://127.0.0.1:{port}");
        process.wait_for(&format!("{url}/health")).await?;
        Ok(Self { _process: process, url })
    }

    /// Where they listen.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The requests that arrived, the oldest first, as the mock noted them.
    pub async fn requests(&self) -> Result<Vec<Value>> {
        let url = format!("{}/__aimock/journal", self.url);
        let request = answer::client()?.get(url).bearer_auth(PROVIDER_KEY);
        let journal = answer::Answer::to(request).await?.json();
        let entries = journal.as_array().or_else(|| journal["entries"].as_array());
        Ok(entries.with_context(|| format!("no journal: {journal}"))?.clone())
    }
}

/// OpenAI's client for Python, running `tests/ai/sdk.py` against `url`. Returns whether every step
/// was right, and what it printed.
pub async fn python_client(url: &str, token: &str) -> Result<(bool, String)> {
    let packages = artifacts::python_for_ai()?;
    let mut command = Command::new("python3");
    command.arg(script("sdk.py")).env("PYTHONPATH", packages);
    client(command, url, token).await
}

/// A client for JavaScript, running `tests/ai/SCRIPT`; as [`python_client`].
pub async fn javascript_client(name: &str, url: &str, token: &str) -> Result<(bool, String)> {
    let node = Node::install(SOURCE)?;
    // A module is looked for beside the script that imports it.
    for script_name in [name, "steps.mjs"] {
        std::fs::copy(script(script_name), node.folder.join(script_name))?;
    }
    let mut command = node.command();
    command.arg(node.folder.join(name));
    client(command, url, token).await
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(artifacts::source()).join("tests/ai").join(name)
}

/// Waits for the client beside everything else that runs on this thread.
async fn client(mut command: Command, url: &str, token: &str) -> Result<(bool, String)> {
    command.env("AI_URL", url).env("AI_TOKEN", token).env("NO_PROXY", "*");
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let mut printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), printed))
}
