//! What `kombi-exchange doctor` says of a PostgreSQL.

use std::{path::Path, process::Command};

use libtest_mimic::Failed;
use serde_json::Value;
use stack::postgres::Postgres;

/// Outcome and subject of each line about the database at `url`.
fn said(program: &Path, url: &str) -> Result<Vec<String>, Failed> {
    let mut command = Command::new(program);
    command.env_clear().env("KOMBI_EXCHANGE_DATABASE", url);
    let printed = command.args(["doctor", "--json", "--exchange=http://127.0.0.1:1"]).output()?;
    let lines: Vec<Value> = serde_json::from_slice(&printed.stdout)?;
    let lines = lines.iter().filter(|line| line["part"] == "database");
    Ok(lines.map(|line| format!("{} {}", line["outcome"], line["look"]).replace('"', "")).collect())
}

pub(crate) fn looks(program: &Path, server: &Postgres) -> Result<(), Failed> {
    let url = server.database("for_the_doctor")?;
    for _ in 0..2 {
        assert_eq!(said(program, &url)?, ["ok server", "warn schema", "ok writable"]);
    }
    // Whatever works on it makes the tables.
    let mut list = Command::new(program);
    list.env_clear().env("KOMBI_EXCHANGE_DATABASE", &url).args(["instance", "list"]);
    assert!(list.status()?.success());
    assert_eq!(said(program, &url)?, ["ok server", "ok schema", "ok writable"]);
    let nowhere = format!("{url}_that_is_not_there");
    assert_eq!(said(program, &nowhere)?, ["fail server"]);
    Ok(())
}
