//! The exchange on PostgreSQL: all its tests, by the same program that runs them on SQLite, once for
//! each test; and that both databases are the same. Without PostgreSQL, or where a test is about
//! SQLite's files, they are reported as ignored.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod schema;

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;
use stack::{
    artifacts,
    postgres::{self, Durability, Postgres},
};

/// Tests about files that only SQLite has.
const ABOUT_FILES: [&str; 3] = [
    "backup::",
    "command_line::a_wrong_configuration_is_one_sentence_that_names_the_variable",
    "durability::a_directory_is_served_once",
];

fn main() {
    let arguments = Arguments::from_args();
    if postgres::find().is_none() {
        eprintln!("SKIPPED: {}.", postgres::MISSING);
        let all = Trial::test("every_test_of_the_exchange", || Ok(())).with_ignored_flag(true);
        libtest_mimic::run(&arguments, vec![all]).exit();
    }
    let program = built();
    let listed = Command::new(&program).args(["--list", "--format=terse"]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names = listed.lines().filter_map(|line| line.strip_suffix(": test"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Arc::new(runtime.block_on(Postgres::start(Durability::None)).unwrap());
    let mut trials: Vec<_> = names
        .map(|name| {
            let (program, server, test) = (program.clone(), Arc::clone(&server), name.to_owned());
            let ignored = ABOUT_FILES.iter().any(|files| name.starts_with(files));
            Trial::test(name, move || run(&program, &server, &test)).with_ignored_flag(ignored)
        })
        .collect();
    let both = Arc::clone(&server);
    trials.push(Trial::test("both_databases_have_the_same_tables", move || schema::same(&both)));
    let conclusion = libtest_mimic::run(&arguments, trials);
    drop(server);
    conclusion.exit();
}

/// The program with the exchange's tests, built as Cargo builds this one.
fn built() -> PathBuf {
    let mut cargo = artifacts::cargo();
    cargo.args(["test", "--locked", "--workspace", "--test", "exchange", "--no-run"]);
    cargo.arg("--message-format=json").current_dir(artifacts::source()).stderr(Stdio::inherit());
    let built = cargo.output().unwrap();
    assert!(built.status.success(), "the tests of the exchange are not built");
    let built = String::from_utf8(built.stdout).unwrap();
    let messages = built.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut programs = messages.filter(|message| message["target"]["name"] == "exchange");
    let program = programs.find_map(|message| Some(message["executable"].as_str()?.into()));
    program.unwrap()
}

fn run(program: &Path, server: &Postgres, test: &str) -> Result<(), Failed> {
    let child = Command::new(program)
        .args(["--exact", test])
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
