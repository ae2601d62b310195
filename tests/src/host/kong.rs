//! Kong from a local installation, by nothing but its own command line.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};

use super::{KONG_BIN, Setup, kong_conf, loopback, proxied, proxy_listen, text};
use crate::{
    answer,
    artifacts::{self, Artifacts},
    run_dir::RunDir,
};

/// How long Kong may take to answer after `kong start` came back.
const READY: Duration = Duration::from_secs(30);

pub(super) struct Kong {
    command: OsString,
    prefix: PathBuf,
    conf: PathBuf,
    killed: bool,
}

impl Kong {
    pub(super) async fn start(
        artifacts: &Artifacts,
        setup: Setup<'_>,
        run: &RunDir,
    ) -> Result<Self> {
        let command = std::env::var_os(KONG_BIN).context("KONG_BIN is not set")?;
        let prefix = run.path().join("kong");
        fs::create_dir_all(&prefix)?;
        let declaration = run.write("kong.yml", setup.routes)?;
        let loopback = run.write("loopback.conf", loopback(setup.ports)?)?;
        let mut overrides = vec![
            ("prefix", text(&prefix)),
            ("declarative_config", text(&declaration)),
            ("wasm_filters_path", text(&artifacts.filters)),
            ("nginx_http_include", text(&loopback)),
            ("proxy_listen", proxy_listen(setup)),
            ("status_listen", format!("127.0.0.1:{}", setup.ports.status)),
            ("nginx_worker_processes", setup.workers.to_string()),
        ];
        if let Some(trusted) = setup.trusted {
            overrides.push(("lua_ssl_trusted_certificate", text(trusted)));
        }
        overrides.extend(proxied(setup));
        if nix::unistd::geteuid().is_root() {
            // Started by root, the workers would become somebody who may not enter the private
            // directory of this run.
            overrides.push(("nginx_user", "root root".to_owned()));
        }
        let conf = run.write("kong.conf", kong_conf(&overrides)?)?;
        let kong = Self { command, prefix, conf, killed: false };
        kong.run(&["start".as_ref(), "-c".as_ref(), kong.conf.as_os_str()])?;
        let status = format!("http://127.0.0.1:{}/status/ready", setup.ports.status);
        kong.wait_until_ready(&status).await?;
        Ok(kong)
    }

    /// The master's process.
    pub(super) fn pid(&self) -> Result<u32> {
        let file = self.prefix.join("pids/nginx.pid");
        let text =
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        text.trim().parse().with_context(|| format!("{}: no process id", file.display()))
    }

    /// Ends the master and its workers at once. They are one process group: the master is a daemon.
    pub(super) fn kill(mut self) -> Result<()> {
        killpg(Pid::from_raw(i32::try_from(self.pid()?)?), Signal::SIGKILL)?;
        self.killed = true;
        Ok(())
    }

    /// `kong reload`, without keeping this thread from what else it does.
    pub(super) async fn reload(&self) -> Result<()> {
        let mut command = Command::new(&self.command);
        command.arg("reload").arg("-c").arg(&self.conf).arg("-p").arg(&self.prefix);
        tokio::task::spawn_blocking(move || artifacts::output(&mut command)).await??;
        Ok(())
    }

    /// Ends a worker at once.
    pub(super) fn kill_worker(&self) -> Result<()> {
        let master = self.pid()?;
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        let is_worker = |pid: &&str| {
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.contains("worker process") && !title.contains("shutting down")
        };
        let worker = children.split_ascii_whitespace().find(is_worker);
        let worker = worker.context("Kong has no worker")?.parse()?;
        Ok(kill(Pid::from_raw(worker), Signal::SIGKILL)?)
    }

    fn run(&self, arguments: &[&std::ffi::OsStr]) -> Result<()> {
        let output = Command::new(&self.command)
            .args(arguments)
            .output()
            .with_context(|| format!("cannot start {KONG_BIN} {:?}", self.command))?;
        if !output.status.success() {
            bail!(
                "{:?} {} failed\n{}{}",
                self.command,
                arguments.first().copied().unwrap_or_default().to_string_lossy(),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            );
        }
        Ok(())
    }

    async fn wait_until_ready(&self, url: &str) -> Result<()> {
        let client = answer::client()?;
        let deadline = Instant::now() + READY;
        while !client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            if Instant::now() >= deadline {
                bail!("Kong is not ready after {} s", READY.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }
}

impl Drop for Kong {
    fn drop(&mut self) {
        if self.killed {
            return;
        }
        if let Err(error) = self.run(&["stop".as_ref(), "-p".as_ref(), self.prefix.as_os_str()]) {
            eprintln!("Kong could not be stopped: {error:#}");
        }
    }
}
