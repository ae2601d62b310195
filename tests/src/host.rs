//! The gateway's host: Kong from a local installation, Kong in a container, or Envoy.

use std::{fmt, path::Path, process::Command};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    artifacts::{self, Artifacts},
    envoy::NativeFilter,
    port,
    run_dir::RunDir,
};

mod docker;
mod envoy;
mod kong;

/// Names the command of a local Kong installation.
pub(crate) const KONG_BIN: &str = "KONG_BIN";

/// Chooses the host where nobody can give an option, as in the tests.
const STACK_HOST: &str = "STACK_HOST";

/// What can run the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostKind {
    /// The Kong that `KONG_BIN` names.
    Kong,
    /// Kong in a container.
    Docker,
    /// Envoy.
    Envoy,
}

impl HostKind {
    /// The host to use: the wanted one, else the one in `STACK_HOST`, else the best there is.
    pub fn choose(wanted: Option<Self>) -> Result<Self> {
        let wanted = match (wanted, std::env::var(STACK_HOST)) {
            (None, Ok(name)) => match Self::from_str(&name, true) {
                Ok(kind) => Some(kind),
                Err(_) => bail!("{STACK_HOST}: expected kong, docker or envoy, found {name:?}"),
            },
            (wanted, _) => wanted,
        };
        let kong = std::env::var_os(KONG_BIN).is_some();
        match wanted {
            Some(Self::Kong) if !kong => bail!(
                "{KONG_BIN} is not set: set it to the `kong` command of a Kong 3.9 installation, or \
                 choose --host envoy"
            ),
            Some(Self::Docker) if !docker_answers() => {
                bail!("no Docker engine answers: start one, or choose --host envoy")
            }
            Some(kind) => Ok(kind),
            None if kong => Ok(Self::Kong),
            None if docker_answers() => Ok(Self::Docker),
            None => Ok(Self::Envoy),
        }
    }
}

/// Whether a Docker engine answers.
#[must_use]
pub fn docker_answers() -> bool {
    artifacts::output(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]))
        .is_ok()
}

impl fmt::Display for HostKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kong => "Kong (KONG_BIN)",
            Self::Docker => "Kong 3.9 (Docker)",
            Self::Envoy => "Envoy",
        })
    }
}

/// What a gateway runs, and how.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The rendered routes, as Kong reads them.
    pub routes: &'a str,
    /// Filters of Envoy's own, where it is the gateway.
    pub native: &'a [NativeFilter],
    /// How many workers share the load.
    pub workers: u16,
    /// Whether clients speak HTTP/2 without TLS, as gRPC does here. Envoy finds out by itself.
    pub http2: bool,
    /// Where to listen.
    pub ports: Ports,
    /// Whose certificates are trusted, in PEM; the machine's own authorities by default.
    pub trusted: Option<&'a Path>,
    /// Whether there is a proxy before it on this machine, which says where requests come from.
    pub proxied: bool,
}

/// Where a gateway listens, on the loopback address.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// For clients.
    pub proxy: u16,
    /// To tell how it is.
    pub status: u16,
    /// Where requests wait for keys, on Kong.
    pub waiting_room: u16,
    /// For what is between the gateway's two passes, where calls of AI models go on from one provider
    /// to the next.
    pub fallback: u16,
    /// For the gateway's second pass, which leads calls of AI models to their providers.
    pub second_pass: u16,
}

impl Ports {
    /// Where clients reach a gateway that listens there.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy)
    }

    /// Free ports; for clients the wanted one, if it is free.
    pub fn choose(wanted: Option<u16>) -> Result<Self> {
        let proxy = wanted.map_or_else(port::free, port::preferably)?;
        Ok(Self {
            proxy,
            status: port::free()?,
            waiting_room: port::free()?,
            fallback: port::free()?,
            second_pass: port::free()?,
        })
    }
}

/// A running gateway. Dropped, it is stopped.
pub struct Gateway {
    kind: HostKind,
    ports: Ports,
    host: Host,
}

/// Held for its `Drop`.
enum Host {
    Kong(kong::Kong),
    Docker { _running: docker::Docker },
    Envoy(envoy::Envoy),
}

impl Gateway {
    /// Starts the gateway and waits until it answers.
    pub async fn start(
        kind: HostKind,
        artifacts: &Artifacts,
        setup: Setup<'_>,
        run: &RunDir,
    ) -> Result<Self> {
        let host = match kind {
            HostKind::Kong => Host::Kong(kong::Kong::start(artifacts, setup, run).await?),
            HostKind::Docker => {
                let docker = docker::Docker::start(artifacts, setup, run).await?;
                Host::Docker { _running: docker }
            }
            HostKind::Envoy => Host::Envoy(envoy::Envoy::start(artifacts, setup, run).await?),
        };
        Ok(Self { kind, ports: setup.ports, host })
    }

    /// The gateway's first process; the others are its children.
    pub fn pid(&self) -> Result<u32> {
        match &self.host {
            Host::Kong(kong) => kong.pid(),
            Host::Envoy(envoy) => Ok(envoy.pid()),
            Host::Docker { .. } => bail!("the processes in a container cannot be seen from here"),
        }
    }

    /// Ends it at once with all its workers, as a crash of the machine would (`kill -9`).
    pub fn kill(self) -> Result<()> {
        match self.host {
            Host::Kong(kong) => kong.kill(),
            Host::Envoy(mut envoy) => envoy.kill(),
            Host::Docker { .. } => bail!("the processes in a container cannot be seen from here"),
        }
    }

    /// Reads its configuration anew, with new workers (`kong reload`). Returns whether this host
    /// can.
    pub async fn reload(&self) -> Result<bool> {
        match &self.host {
            Host::Kong(kong) => kong.reload().await.map(|()| true),
            Host::Docker { .. } | Host::Envoy(_) => Ok(false),
        }
    }

    /// Ends one of its workers at once (`kill -9`). Returns whether this host has any that are
    /// processes.
    pub fn kill_worker(&self) -> Result<bool> {
        match &self.host {
            Host::Kong(kong) => kong.kill_worker().map(|()| true),
            Host::Docker { .. } | Host::Envoy(_) => Ok(false),
        }
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.proxy
    }

    /// What it runs on.
    #[must_use]
    pub fn kind(&self) -> HostKind {
        self.kind
    }

    /// The URL for clients, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.proxy)
    }

    /// The URL of its second pass, without a slash at its end.
    #[must_use]
    pub fn second_pass_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.second_pass)
    }

    /// Where its metrics are, in the text format that Prometheus reads.
    #[must_use]
    pub fn metrics_url(&self) -> String {
        let path = match self.kind {
            HostKind::Kong | HostKind::Docker => "metrics",
            HostKind::Envoy => "stats/prometheus",
        };
        format!("http://127.0.0.1:{}/{path}", self.ports.status)
    }
}

/// How Kong hears from a proxy before it where requests come from.
fn proxied(setup: Setup<'_>) -> Vec<(&'static str, String)> {
    if !setup.proxied {
        return Vec::new();
    }
    vec![
        ("trusted_ips", "127.0.0.0/8".to_owned()),
        ("real_ip_header", "X-Forwarded-For".to_owned()),
    ]
}

/// Kong's `proxy_listen`.
fn proxy_listen(setup: Setup<'_>) -> String {
    let http2 = if setup.http2 { " http2" } else { "" };
    format!("127.0.0.1:{}{http2}, 127.0.0.1:{}", setup.ports.proxy, setup.ports.second_pass)
}

/// `kong/kong.conf` and what differs from run to run. Later lines win.
fn kong_conf(overrides: &[(&str, String)]) -> Result<String> {
    let mut conf = std::fs::read_to_string(artifacts::source().join("kong/kong.conf"))?;
    for (name, value) in overrides {
        conf.push_str(&format!("{name} = {value}\n"));
    }
    Ok(conf)
}

/// `kong/loopback.conf` on the ports of this run.
fn loopback(ports: Ports) -> Result<String> {
    let mut conf = std::fs::read_to_string(artifacts::source().join("kong/loopback.conf"))?;
    for (shipped, port) in
        [(8009, ports.waiting_room), (8020, ports.second_pass), (8021, ports.fallback)]
    {
        conf = conf.replace(&format!("127.0.0.1:{shipped};"), &format!("127.0.0.1:{port};"));
    }
    Ok(conf)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
