//! Faults that the exchange's own tests show already: they are run again by name.

use anyhow::{Context, Result, ensure};

use crate::artifacts;

/// Runs those tests of the exchange whose names contain one of `names`.
pub(super) fn run(names: &[&str]) -> Result<String> {
    let mut cargo = artifacts::cargo();
    cargo.args(["test", "--locked", "--quiet", "--workspace", "--test", "exchange", "--"]);
    cargo.args(names).current_dir(artifacts::source());
    let printed = artifacts::output(&mut cargo).context("a test fails")?;
    let passed = |line: &str| -> Option<u32> {
        line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok()
    };
    let passed: u32 = printed.lines().filter_map(passed).sum();
    ensure!(passed > 0, "no test has such a name: {}", names.join(", "));
    Ok(format!("{passed} tests of the exchange: {}", names.join(", ")))
}
