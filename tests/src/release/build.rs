//! The two programs, as they are released.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::artifacts::{self, FILTER};

/// Where the filter runs.
const WASM: &str = "wasm32-wasip1";

/// Where a program without any library of the system's runs.
const MUSL: &str = "x86_64-unknown-linux-musl";

/// The C compiler for it, with which SQLite and ring are built.
const MUSL_GCC: &str = "musl-gcc";

/// The filter.
pub(super) fn filter(epoch: &str) -> Result<PathBuf> {
    Ok(cargo(FILTER, &["--target", WASM], epoch)?.join(WASM).join("release/kombi_gate.wasm"))
}

/// The exchange for systems like this one.
pub(super) fn exchange(epoch: &str) -> Result<PathBuf> {
    Ok(cargo("kombi-exchange", &[], epoch)?.join("release/kombi-exchange"))
}

/// The exchange for every Linux, or what is missing for it.
pub(super) fn static_exchange(epoch: &str) -> Result<Result<PathBuf, String>> {
    if artifacts::output(Command::new(MUSL_GCC).arg("--version")).is_err() {
        return Ok(Err(format!("{MUSL_GCC} is missing (on Debian, `apt-get install musl-tools`)")));
    }
    if !artifacts::has_target(MUSL) {
        return Ok(Err(format!("Rust's target {MUSL} is missing (`rustup target add {MUSL}`)")));
    }
    let built = cargo("kombi-exchange", &["--target", MUSL], epoch)?;
    Ok(Ok(built.join(MUSL).join("release/kombi-exchange")))
}

/// Builds a package; returns the folder with what came of it. No path of this machine gets into
/// that: the compilers write others in their place.
fn cargo(package: &str, args: &[&str], epoch: &str) -> Result<PathBuf> {
    let folder = artifacts::target().join("release");
    let paths = paths()?;
    let remapped = |(from, to): &(PathBuf, &str)| format!("{}={to}", from.display());
    let rust: Vec<String> =
        paths.iter().map(|path| format!("--remap-path-prefix={}", remapped(path))).collect();
    let c: Vec<String> =
        paths.iter().map(|path| format!("-ffile-prefix-map={}", remapped(path))).collect();
    let mut cargo = artifacts::cargo();
    cargo
        .args(["build", "--release", "--locked", "--package", package])
        .args(args)
        .env("CARGO_TARGET_DIR", &folder)
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_ENCODED_RUSTFLAGS", rust.join("\u{1f}"))
        .env("CFLAGS", c.join(" "))
        .env(super::EPOCH, epoch)
        .current_dir(artifacts::source());
    eprintln!("   Building {package} {}", args.join(" "));
    ensure!(cargo.status().context("cannot start cargo")?.success(), "{package} was not built");
    Ok(folder)
}

/// What would tell where this machine keeps things, and what is written in its place. The last that
/// fits a path counts.
fn paths() -> Result<Vec<(PathBuf, &'static str)>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    let home = home.context("neither CARGO_HOME nor HOME is set")?;
    let mut paths = vec![(artifacts::source().to_owned(), "."), (home.clone(), "cargo")];
    // Each registry has a folder with a name of its own.
    let registries = home.join("registry/src");
    let mut names: Vec<OsString> = match fs::read_dir(&registries) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect(),
        Err(_) => Vec::new(),
    };
    names.sort();
    paths.extend(names.into_iter().map(|name| (registries.join(name), "crates")));
    Ok(paths)
}
