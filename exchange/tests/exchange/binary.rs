//! The real program, as a process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
};

use kombi_exchange::config;
use serde_json::Value;

use crate::{database, gate::Gate};

const SEAL_KEY: &str = "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk";

/// The program with a valid configuration on the directory `data`, on any free ports.
pub(crate) fn program(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kombi-exchange"));
    command
        .env(config::DATA, data)
        .env(config::LISTEN, "127.0.0.1:0")
        .env(config::OPS_LISTEN, "127.0.0.1:0")
        .env(config::ASSERTION_KEYS, Gate::new(1).public())
        .env(config::SEAL_KEY, SEAL_KEY)
        // A proxy of the machine's must never see a call to an instance.
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .env("http_proxy", "http://127.0.0.1:1");
    command.envs(database::url(data).map(|url| (config::DATABASE, url)));
    command
}

/// What `command` did, with its output as text.
pub(crate) fn run(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// A process that serves, and dies with this value.
pub(crate) struct Serving {
    child: Child,
    pub(crate) listen: SocketAddr,
    pub(crate) ops: SocketAddr,
    rest: Option<JoinHandle<Vec<String>>>,
}

impl Serving {
    pub(crate) fn start(data: &Path) -> Self {
        Self::start_with(program(data))
    }

    pub(crate) fn start_with(mut command: Command) -> Self {
        let mut child = command.arg("serve").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines
            .by_ref()
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .find(|line| line["message"] == "listening")
            .expect("it ended before it listened");
        // Somebody must read on, or the process would stop at a full pipe.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).collect());
        let address = |name: &str| listening[name].as_str().unwrap().parse().unwrap();
        Self { child, listen: address("listen"), ops: address("ops_listen"), rest: Some(rest) }
    }

    /// The process's id.
    pub(crate) fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Ends it as `kill -9` does; what it had logged since it began to listen.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.rest.take().unwrap().join().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
