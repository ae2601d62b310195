//! What the filter is made of.

use std::{collections::BTreeSet, process::Command};

use stack::{
    artifacts::{self, Artifacts, FILTER},
    host::HostKind,
};

#[test]
fn no_wasm_bindgen_is_in_the_filters_tree() {
    let tree = artifacts::output(
        Command::new(env!("CARGO"))
            .args(["tree", "--package", FILTER, "--target", "wasm32-wasip1"])
            .args(["--edges", "normal", "--prefix", "none"])
            .current_dir(artifacts::source()),
    )
    .unwrap();
    assert!(tree.contains("proxy-wasm v"), "the tree was read: {tree}");
    for line in tree.lines() {
        let name = line.split(' ').next().unwrap();
        assert!(!name.starts_with("wasm-bindgen") && name != "web-sys", "{line}");
        // The one that is empty and lies in this tree.
        assert!(name != "js-sys" || line.contains("plugin/no-js"), "{line}");
    }
}

#[test]
fn the_module_imports_nothing_but_proxy_wasm_and_wasi() {
    let artifacts = Artifacts::build(HostKind::choose(None).unwrap()).unwrap();
    let module = std::fs::read(artifacts.filters.join(format!("{FILTER}.wasm"))).unwrap();
    let mut modules = BTreeSet::new();
    for payload in wasmparser::Parser::new(0).parse_all(&module) {
        if let wasmparser::Payload::ImportSection(imports) = payload.unwrap() {
            for import in imports.into_imports() {
                let import = import.unwrap();
                match import.module {
                    "env" => assert!(import.name.starts_with("proxy_"), "{}", import.name),
                    _ => assert_eq!(import.module, "wasi_snapshot_preview1", "{}", import.name),
                }
                modules.insert(import.module.to_owned());
            }
        }
    }
    assert!(modules.contains("env"), "the imports were read");
}

#[test]
fn the_module_is_smaller_than_one_and_a_half_megabytes() {
    let artifacts = Artifacts::build(HostKind::choose(None).unwrap()).unwrap();
    let size = artifacts.filters.join(format!("{FILTER}.wasm")).metadata().unwrap().len();
    assert!(size < 1_500_000, "{size} bytes");
}
