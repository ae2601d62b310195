//! The JSON Schema that Kong checks a configuration with, and the parser that every other host
//! relies on, must think the same of it.

use std::{fs, path::PathBuf};

use jsonschema::{Draft, Validator};
use kombi_gate_core::config::Policy;
use serde_json::Value;

fn spec(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../spec").join(path)
}

fn schema() -> Validator {
    let text = fs::read_to_string(spec("kombi_gate.schema.json")).unwrap();
    let schema: Value = serde_json::from_str(&text).unwrap();
    jsonschema::draft4::meta::validate(&schema).unwrap();
    jsonschema::options().with_draft(Draft::Draft4).build(&schema).unwrap()
}

/// What schema and parser think of every example in `folder`: (name, schema, parser).
fn verdicts(folder: &str) -> Vec<(String, bool, bool)> {
    let schema = schema();
    fs::read_dir(spec("examples/kombi_gate").join(folder))
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path()).unwrap();
            let example: Value = serde_json::from_str(&text).unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, schema.is_valid(&example), Policy::parse(text.as_bytes()).is_ok())
        })
        .collect()
}

#[test]
fn schema_and_parser_accept_every_valid_example() {
    let verdicts = verdicts("valid");
    assert!(verdicts.len() >= 15);
    for (name, schema, parser) in verdicts {
        assert!(schema && parser, "{name}: schema {schema}, parser {parser}");
    }
}

#[test]
fn schema_and_parser_refuse_every_invalid_example() {
    let verdicts = verdicts("invalid");
    assert!(verdicts.len() >= 60);
    for (name, schema, parser) in verdicts {
        assert!(!schema && !parser, "{name}: schema {schema}, parser {parser}");
    }
}
