//! The module under test: found or built, and compiled to native code once.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine, Module, Result, bail, error::Context as _};

/// Names the module to test; without it the filter of this tree is built.
pub const MODULE_VARIABLE: &str = "KOMBI_GATE_WASM";

/// The filter's package and file.
const FILTER: &str = "kombi_gate";

/// The target the filter is built for.
const WASM_TARGET: &str = "wasm32-wasip1";

/// A filter, ready to be instantiated.
#[derive(Clone)]
pub struct Filter {
    pub(crate) name: String,
    pub(crate) module: Module,
}

impl Filter {
    /// The gate: the module that [`MODULE_VARIABLE`] names, or the one built from this tree.
    ///
    /// # Panics
    /// If it cannot be built or loaded.
    #[must_use]
    pub fn gate() -> Self {
        static GATE: OnceLock<Filter> = OnceLock::new();
        let load = || match std::env::var_os(MODULE_VARIABLE) {
            Some(path) => Self::load(Path::new(&path)),
            None => build("cargo", &[]).and_then(|path| Self::load(&path)),
        };
        GATE.get_or_init(|| load().unwrap_or_else(|error| panic!("no filter to test: {error:#}")))
            .clone()
    }

    /// Builds the gate with these arguments of cargo, apart from the one that is tested. Returns the
    /// module's path, where it lies until the next one is built.
    pub fn build_with(arguments: &[&str]) -> Result<PathBuf> {
        build("builds", arguments)
    }

    /// The module in the file `path`. Its native code is kept below `target/strict`.
    pub fn load(path: &Path) -> Result<Self> {
        let wasm = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let engine = engine()?;
        let folder = target().join("strict");
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
        let mut digest = String::new();
        for byte in Sha256::digest(&wasm) {
            // Writing to a String cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        let native = folder.join(format!("{digest}.cwasm"));
        if native.is_file()
            // SAFETY: the file is what `serialize` wrote below, in this user's target directory;
            // Wasmtime refuses one of another version or configuration.
            && let Ok(module) = {
                #[allow(unsafe_code)]
                unsafe { Module::deserialize_file(&engine, &native) }
            }
        {
            return Ok(Self { name, module });
        }
        let module = Module::new(&engine, &wasm)?;
        // Written beside and moved, so that no other test reads half a file.
        let unfinished = folder.join(format!("{digest}.{}", std::process::id()));
        fs::write(&unfinished, module.serialize()?)
            .and_then(|()| fs::rename(&unfinished, &native))
            .with_context(|| format!("cannot write {}", native.display()))?;
        Ok(Self { name, module })
    }

    /// A module from its bytes or its text, as if its file were called `name`.
    pub fn from_wasm(name: &str, wasm: &[u8]) -> Result<Self> {
        Ok(Self { name: name.to_owned(), module: Module::new(&engine()?, wasm)? })
    }
}

/// One engine for all: modules of different engines cannot be compared, and it is costly.
fn engine() -> Result<Engine> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine.clone());
    }
    let mut config = Config::new();
    // Instructions are counted, so that a loop without end is found and costs can be compared.
    config.consume_fuel(true);
    let engine = Engine::new(&config)?;
    Ok(ENGINE.get_or_init(|| engine).clone())
}

/// The folder for everything that can be made again.
fn target() -> PathBuf {
    source().join("target")
}

fn source() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Builds the filter as the stack does, into the same folder and under the same lock, so that
/// neither builds it twice; or into the folder `place` with more `arguments`.
fn build(place: &str, arguments: &[&str]) -> Result<PathBuf> {
    let folder = target().join("stack");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let lock = File::create(folder.join("build.lock"))?;
    lock.lock()?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--locked", "--package", FILTER])
        .args(["--target", WASM_TARGET])
        .args(arguments)
        .env("CARGO_TARGET_DIR", folder.join(place))
        .current_dir(source())
        .stdin(Stdio::null())
        .status()
        .context("cannot start cargo")?;
    if !status.success() {
        bail!("the filter could not be built: cargo ended with {status}");
    }
    let built = folder.join(place).join(WASM_TARGET).join("release");
    Ok(built.join(format!("{FILTER}.wasm")))
}
