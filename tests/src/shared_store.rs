//! A Valkey or Redis of this machine, as a process that a test may kill and pause.

use std::{
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{port, process::Process, run_dir::RunDir};

/// What can keep shared limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StoreKind {
    /// `valkey-server`.
    Valkey,
    /// `redis-server`.
    Redis,
}

impl StoreKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Valkey, Self::Redis];

    /// The name of its program and of Debian's package.
    #[must_use]
    pub const fn program(self) -> &'static str {
        match self {
            Self::Valkey => "valkey-server",
            Self::Redis => "redis-server",
        }
    }

    /// The program, if it is installed.
    #[must_use]
    pub fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(self.program())).find(|p| p.is_file())
    }
}

/// A running store, with nothing in it. What it is told is gone with its process.
pub struct SharedStore {
    kind: StoreKind,
    port: u16,
    folder: PathBuf,
    process: Process,
}

impl SharedStore {
    /// Starts one.
    pub async fn start(kind: StoreKind, run: &RunDir) -> Result<Self> {
        let port = port::free()?;
        let folder = run.path().to_owned();
        let process = serve(kind, port, &folder).await?;
        Ok(Self { kind, port, folder, process })
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port that it listens on, on the loopback address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Starts it anew, without memory.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = serve(self.kind, self.port, &self.folder).await?;
        Ok(())
    }

    /// Stops it where it is (SIGSTOP): it keeps its connections and answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.process.pause()
    }

    /// Lets it go on.
    pub fn go_on(&self) -> Result<()> {
        self.process.go_on()
    }
}

async fn serve(kind: StoreKind, port: u16, folder: &Path) -> Result<Process> {
    let program = kind.find().with_context(|| {
        format!("{0} is missing: on Debian, `apt-get install {0}`", kind.program())
    })?;
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no", "--daemonize", "no"]).arg("--dir").arg(folder);
    let mut process = Process::spawn(kind.program(), command, folder)?;
    process.wait_until(async || TcpStream::connect(("127.0.0.1", port)).is_ok()).await?;
    Ok(process)
}
