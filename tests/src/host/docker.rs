//! Kong in a container.

use std::{
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Result, bail};

use super::{KONG_BIN, Setup, kong_conf, loopback, proxied, proxy_listen};
use crate::{
    artifacts::{self, Artifacts},
    process::Process,
    run_dir::RunDir,
};

/// The image under test.
const IMAGE: &str = "kong:3.9";

pub(super) struct Docker {
    name: String,
    /// `docker run` in the foreground: its output is Kong's log.
    _process: Process,
}

impl Docker {
    pub(super) async fn start(
        artifacts: &Artifacts,
        setup: Setup<'_>,
        run: &RunDir,
    ) -> Result<Self> {
        if artifacts::output(Command::new("docker").args(["image", "inspect", IMAGE])).is_err() {
            eprintln!("   Pulling {IMAGE}");
            if !Command::new("docker").args(["pull", IMAGE]).status()?.success() {
                bail!("the image {IMAGE} could not be pulled");
            }
        }
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kombisphere-stack-{}-{next}", process::id());
        // Kong runs as another user in the container and must be able to read both.
        let shared = run.path().join("kong-docker");
        std::fs::create_dir_all(&shared)?;
        std::fs::write(shared.join("kong.yml"), setup.routes)?;
        std::fs::write(shared.join("loopback.conf"), loopback(setup.ports)?)?;
        let mut overrides = vec![
            ("declarative_config", "/etc/kong/kong.yml".to_owned()),
            ("wasm_filters_path", "/filters".to_owned()),
            ("nginx_http_include", "/etc/kong/loopback.conf".to_owned()),
            ("proxy_listen", proxy_listen(setup)),
            ("status_listen", format!("127.0.0.1:{}", setup.ports.status)),
            ("nginx_worker_processes", setup.workers.to_string()),
            ("proxy_error_log", "/dev/stderr".to_owned()),
        ];
        if let Some(trusted) = setup.trusted {
            std::fs::copy(trusted, shared.join("trusted.pem"))?;
            overrides.push(("lua_ssl_trusted_certificate", "/etc/kong/trusted.pem".to_owned()));
        }
        overrides.extend(proxied(setup));
        std::fs::write(shared.join("kong.conf"), kong_conf(&overrides)?)?;
        let mut command = Command::new("docker");
        command
            .args(["run", "--rm", "--name", &name, "--network", "host"])
            .arg("--volume")
            .arg(format!("{}:/etc/kong:ro", shared.display()))
            .arg("--volume")
            .arg(format!("{}:/filters:ro", artifacts.filters.display()))
            // Kong's own settings stay overridable, as outside a container.
            .args(std::env::vars().map(|(name, _)| name).filter(is_setting).flat_map(env_option))
            .arg(IMAGE);
        let mut process = Process::spawn("kong", command, run.path())?;
        process.wait_for(&format!("http://127.0.0.1:{}/status/ready", setup.ports.status)).await?;
        Ok(Self { name, _process: process })
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // `--rm` removes it; one that is gone already is as good.
        let _ = artifacts::output(Command::new("docker").args(["stop", "--time", "5", &self.name]));
    }
}

fn is_setting(name: &String) -> bool {
    name.starts_with("KONG_") && name != KONG_BIN
}

fn env_option(name: String) -> [String; 2] {
    ["--env".to_owned(), name]
}
