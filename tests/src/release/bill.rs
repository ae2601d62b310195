//! The bill of materials: what is in the two programs, in CycloneDX's JSON (1.5).

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::artifacts::{self, FILTER};

/// The parts, and what each is built for. The C library makes no difference to what is in it.
const PARTS: [(&str, &str); 2] =
    [(FILTER, "wasm32-wasip1"), ("kombi-exchange", "x86_64-unknown-linux-gnu")];

/// A package, by what is told of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: String,
    license: String,
}

impl Package {
    fn purl(&self) -> String {
        // A + in a version is one in a purl only if it is encoded.
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

/// Packages, and which need which, by purl.
#[derive(Debug, Default)]
struct Graph {
    packages: BTreeSet<Package>,
    needs: BTreeMap<String, BTreeSet<String>>,
}

/// The bill for what is built from this tree.
pub(super) fn of_materials(epoch: &str) -> Result<Value> {
    let mut graph = Graph::default();
    for (part, target) in PARTS {
        let mut cargo = artifacts::cargo();
        cargo
            .args(["tree", "--locked", "--package", part, "--target", target])
            .args(["--edges", "normal", "--prefix", "depth", "--format", "\t{p}\t{l}"])
            .current_dir(artifacts::source());
        let tree = artifacts::output(&mut cargo).context("cargo tree failed")?;
        graph.read(&tree).with_context(|| format!("cargo tree of {part} was not understood"))?;
    }
    let lock = std::fs::read_to_string(artifacts::source().join("Cargo.lock"))?;
    Ok(graph.bill(epoch, &checksums(&lock)))
}

impl Graph {
    /// Adds what `cargo tree` printed: a line for each package with how deep it is below the first.
    fn read(&mut self, tree: &str) -> Option<()> {
        let mut above: Vec<String> = Vec::new();
        for line in tree.lines() {
            let mut cells = line.split('\t');
            let depth: usize = cells.next()?.parse().ok()?;
            let mut words = cells.next()?.split(' ');
            let (name, version) = (words.next()?.to_owned(), words.next()?.strip_prefix('v')?);
            // A star says that what is below it was printed before.
            let license = cells.next()?.trim_end_matches("(*)").trim().to_owned();
            let package = Package { name, version: version.to_owned(), license };
            above.truncate(depth);
            let purl = package.purl();
            if let Some(parent) = above.last() {
                self.needs.entry(parent.clone()).or_default().insert(purl.clone());
            }
            above.push(purl);
            self.packages.insert(package);
        }
        Some(())
    }

    fn bill(&self, epoch: &str, checksums: &BTreeMap<(&str, &str), &str>) -> Value {
        let components = self.packages.iter().map(|package| {
            let mut component = json!({
                "type": "library",
                "bom-ref": package.purl(),
                "name": package.name,
                "version": package.version,
                "purl": package.purl(),
                "licenses": [{"expression": package.license.replace('/', " OR ")}],
            });
            if let Some(sum) = checksums.get(&(package.name.as_str(), package.version.as_str())) {
                component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
            }
            component
        });
        let needs = self.needs.iter().map(|(purl, needs)| json!({"ref": purl, "dependsOn": needs}));
        let version = env!("CARGO_PKG_VERSION");
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": "kombisphere-gateway",
                    "name": "kombisphere-gateway",
                    "version": version,
                },
                // One of CycloneDX's own fields would want a date, which is this for machines.
                "properties": [{"name": "kombisphere:source-date-epoch", "value": epoch}],
            },
            "components": components.collect::<Vec<_>>(),
            "dependencies": needs.collect::<Vec<_>>(),
        })
    }
}

/// What `Cargo.lock` says of packages from a registry.
fn checksums(lock: &str) -> BTreeMap<(&str, &str), &str> {
    let packages = lock.split("[[package]]").filter_map(|package| {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name));
            line?.strip_prefix(" = \"")?.strip_suffix('"')
        };
        Some(((field("name")?, field("version")?), field("checksum")?))
    });
    packages.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0\ta v0.1.0 (/somewhere)\tApache-2.0\n\
                        1\tb v1.0.0+x\tMIT/Apache-2.0\n\
                        2\tc v2.0.0 (proc-macro)\tMIT\n\
                        1\tc v2.0.0 (proc-macro)\tMIT (*)\n";
    const LOCK: &str = "[[package]]\nname = \"b\"\nversion = \"1.0.0+x\"\nchecksum = \"5e\"\n\
                        dependencies = [\n \"c\",\n]\n\n[[package]]\nname = \"a\"\nversion = \"0.1.0\"\n";

    #[test]
    fn a_bill_has_each_package_once_with_its_needs_and_no_path() {
        let mut graph = Graph::default();
        graph.read(TREE).unwrap();
        let bill = graph.bill("7", &checksums(LOCK));
        let components = bill["components"].as_array().unwrap();
        let purls: Vec<_> = components.iter().map(|c| c["purl"].as_str().unwrap()).collect();
        assert_eq!(purls, ["pkg:cargo/a@0.1.0", "pkg:cargo/b@1.0.0%2Bx", "pkg:cargo/c@2.0.0"]);
        assert_eq!(components[1]["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(components[1]["hashes"][0]["content"], "5e");
        assert!(components[0]["hashes"].is_null());
        assert_eq!(
            bill["dependencies"],
            json!([
                {"ref": "pkg:cargo/a@0.1.0", "dependsOn": ["pkg:cargo/b@1.0.0%2Bx", "pkg:cargo/c@2.0.0"]},
                {"ref": "pkg:cargo/b@1.0.0%2Bx", "dependsOn": ["pkg:cargo/c@2.0.0"]},
            ])
        );
        assert!(!bill.to_string().contains("somewhere"), "{bill}");
        assert_eq!(Graph::default().read("not a tree"), None);
    }

    #[test]
    fn the_bill_of_this_tree_has_both_parts_and_what_the_filter_must_not_have_is_not_its() {
        let bill = of_materials("7").unwrap();
        let purls: Vec<_> =
            bill["components"].as_array().unwrap().iter().map(|c| c["name"].clone()).collect();
        for name in [FILTER, "kombi-exchange", "proxy-wasm", "rusqlite"] {
            assert!(purls.contains(&name.into()), "{name}");
        }
        assert!(!purls.contains(&"libtest-mimic".into()), "what only tests need is not shipped");
    }
}
