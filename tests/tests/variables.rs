//! `kong/README.md` has every variable, and no others.

// A failure is what a test is for.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{collections::BTreeSet, fs};

use clap::CommandFactory;
use kombi_exchange::{cli::Cli, kong::template};
use stack::{artifacts, routes};

/// A row of the table.
struct Row {
    name: String,
    set_by: String,
    secret: bool,
}

fn read(path: &str) -> String {
    fs::read_to_string(artifacts::source().join(path)).unwrap()
}

fn table() -> Vec<Row> {
    let text = read("kong/README.md");
    let rows =
        text.lines().filter(|line| line.starts_with("| `") && line.matches('|').count() == 5);
    let rows = rows.map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(matches!(cells[3], "" | "yes"), "{line}");
        let name = cells[1].trim_matches('`').to_owned();
        Row { name, set_by: cells[2].to_owned(), secret: cells[3] == "yes" }
    });
    rows.collect()
}

/// Everything in `text` that is called like a variable of ours.
fn named(text: &str) -> BTreeSet<String> {
    let part = |byte: char| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == '_';
    let words = text.split(|byte| !part(byte));
    let ours = words.filter(|word| word.starts_with("KOMBI_") || word.starts_with("DECK_KOMBI_"));
    ours.map(general).collect()
}

/// The name, with a provider's own in it replaced.
fn general(name: &str) -> String {
    let provider = || {
        let (_, kind) = name.strip_prefix("KOMBI_EXCHANGE_PROVIDER_")?.rsplit_once('_')?;
        Some(format!("KOMBI_EXCHANGE_PROVIDER_<NAME>_{kind}"))
    };
    provider().unwrap_or_else(|| name.to_owned())
}

/// What the exchange's help explains: the first words of its lines.
fn of_the_exchange() -> BTreeSet<String> {
    let help = Cli::command().render_long_help().to_string();
    let first = help.lines().filter_map(|line| line.split_whitespace().next());
    first.filter(|word| word.starts_with("KOMBI_EXCHANGE_")).map(str::to_owned).collect()
}

/// Lines like `NAME=value` of the example, also those that are commented out.
fn example() -> Vec<(String, String)> {
    let text = read("kong/.env.example");
    let lines = text.lines().map(|line| line.strip_prefix('#').unwrap_or(line));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(name, _)| !name.is_empty() && !name.contains(' '));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn the_table_has_every_variable_that_anything_reads_and_no_other() {
    let kong = read("kong/kong.yml");
    let asked = template::variables(&kong).unwrap();
    let mut read_somewhere: BTreeSet<String> = asked.iter().map(ToString::to_string).collect();
    let exchange = of_the_exchange();
    assert!(exchange.len() > 20, "the help was read: {exchange:?}");
    read_somewhere.extend(exchange);
    for file in ["compose.yaml", "start.sh", "health.sh", "Dockerfile"] {
        read_somewhere.extend(named(&read(&format!("kong/{file}"))));
    }
    let table: Vec<String> = table().into_iter().map(|row| row.name).collect();
    let listed: BTreeSet<String> = table.iter().cloned().collect();
    assert_eq!(listed.len(), table.len(), "a variable is there twice");
    assert_eq!(listed, read_somewhere);
    assert!(routes::template().ends_with("kong/kong.yml"));
}

#[test]
fn compose_gives_kong_all_that_its_routes_ask_for() {
    let (kong, compose) = (read("kong/kong.yml"), named(&read("kong/compose.yaml")));
    for name in template::variables(&kong).unwrap() {
        assert!(compose.contains(name), "{name}");
    }
}

#[test]
fn the_example_has_what_somebody_has_to_set_and_no_secret() {
    let (table, example) = (table(), example());
    for row in &table {
        let there = example.iter().any(|(name, _)| general(name) == row.name);
        let must = row.set_by.starts_with("you");
        assert!(there || !must, "{} is to be set by people", row.name);
        assert!(!(there && row.set_by == "compose"), "{} is set already", row.name);
    }
    for (name, value) in example {
        let row = table.iter().find(|row| row.name == general(&name));
        let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
        assert!(!row.secret || value.is_empty(), "{name} has a value");
    }
}
