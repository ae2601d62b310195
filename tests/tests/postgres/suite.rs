//! All tests of the exchange, each by the program that runs them on SQLite.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use libtest_mimic::{Failed, Trial};
use serde_json::Value;
use stack::{artifacts, postgres::Postgres};

/// Tests about files that only SQLite has.
const ABOUT_FILES: [&str; 3] = [
    "backup::",
    "command_line::a_wrong_configuration_is_one_sentence_that_names_the_variable",
    "durability::a_directory_is_served_once",
];

/// What Cargo has built.
pub(crate) struct Programs {
    /// The exchange.
    pub(crate) exchange: PathBuf,
    tests: PathBuf,
}

impl Programs {
    /// The exchange and its tests, built as Cargo builds this program.
    pub(crate) fn build() -> Self {
        let mut cargo = artifacts::cargo();
        cargo.args(["test", "--locked", "--workspace", "--test", "exchange", "--no-run"]);
        cargo.arg("--message-format=json").current_dir(artifacts::source());
        let built = cargo.stderr(Stdio::inherit()).output().unwrap();
        assert!(built.status.success(), "the tests of the exchange are not built");
        let built = String::from_utf8(built.stdout).unwrap();
        let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let messages: Vec<_> = messages.collect();
        let program = |name: &str| -> PathBuf {
            let mut of_it = messages.iter().filter(|message| message["target"]["name"] == name);
            of_it.find_map(|message| Some(message["executable"].as_str()?.into())).unwrap()
        };
        Self { exchange: program("kombi-exchange"), tests: program("exchange") }
    }

    /// Each test, in a database of its own on `server`.
    pub(crate) fn trials(&self, server: &Arc<Postgres>) -> Vec<Trial> {
        let listed = Command::new(&self.tests).args(["--list", "--format=terse"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
        let trials = names.map(|name| {
            let (program, server, test) = (self.tests.clone(), Arc::clone(server), name.to_owned());
            let ignored = ABOUT_FILES.iter().any(|files| name.starts_with(files));
            Trial::test(name, move || run(&program, &server, &test)).with_ignored_flag(ignored)
        });
        trials.collect()
    }
}

fn run(program: &Path, server: &Postgres, test: &str) -> Result<(), Failed> {
    let child = Command::new(program)
        .args(["--exact", "--include-ignored", test])
        .env("KOMBI_TEST_POSTGRES", server.server())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let id = child.id();
    let said = child.wait_with_output().unwrap();
    // A database takes megabytes.
    let drop = format!(
        "SELECT format('DROP DATABASE %I WITH (FORCE)', datname) FROM pg_database
         WHERE datname LIKE 't{id}\\_%' \\gexec"
    );
    server.run(&drop)?;
    if said.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Err(format!("{}\n{}", text(&said.stdout), text(&said.stderr)).into())
}
