//! `SECURITY.md` names tests; they must be there.

// A failure is what a test is for.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The folders with tests.
const TESTED: [&str; 4] = ["spec", "plugin", "exchange", "tests"];

/// The names of all test functions below `folder`.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                tests_below(&path, names);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(tests_in(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The names of the functions in `source` that follow a test's attribute, or are listed as trials.
fn tests_in(source: &str) -> Vec<String> {
    let lists = source.split("trials![").skip(1).filter_map(|rest| rest.split_once(']'));
    let listed = lists.flat_map(|(list, _)| list.split(',')).map(|name| name.trim().to_owned());
    let named = source.split("Trial::test(\"").skip(1);
    let trials = named.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()));
    let faults = source.split("(\"").skip(1).filter_map(|rest| rest.split_once("\", Fault::"));
    let faults = faults.map(|(name, _)| name.to_owned());
    let after_attribute = source.split("#[test]").skip(1);
    let after_attribute = after_attribute.chain(source.split("#[tokio::test").skip(1));
    after_attribute
        .filter_map(|rest| {
            let (_, named) = rest.split_once("fn ")?;
            let (name, _) = named.split_once('(')?;
            Some(name.to_owned())
        })
        .chain(listed)
        .chain(trials)
        .chain(faults)
        .collect()
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
    let mut there = BTreeSet::new();
    for folder in TESTED {
        tests_below(&root.join(folder), &mut there);
    }
    let document = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let rows: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with('|') && line.matches('|').count() == 5)
        .skip(2)
        .collect();
    assert!(rows.len() >= 20, "the table has {} rows", rows.len());
    for row in rows {
        let shown = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let named: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(there.contains(name), "there is no test {name}");
        }
    }
}
