//! `cargo stack release`: what an operator installs, in one folder and one archive. Two builds of one
//! commit give the same bytes, wherever the tree and cargo's files lie.

mod bill;
mod build;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::artifacts::{self, FILTER};

/// When everything is said to have been made, in seconds since 1970, for all who look.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The exchange without any library of the system's.
const STATIC: &str = "kombi-exchange";

/// The exchange that needs the C library of a system as new as the one it was built on.
const DYNAMIC: &str = "kombi-exchange-glibc";

/// What to build.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// The folder, which is made anew
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Builds, and says what there is.
pub fn run(settings: &Settings) -> Result<()> {
    let folder = settings.output.clone();
    let folder = folder.unwrap_or_else(|| artifacts::source().join("target/release-archive"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let epoch = epoch()?;
    let filter = build::filter(&epoch)?;
    let (exchange, called) = match build::static_exchange(&epoch)? {
        Ok(built) => (built, STATIC),
        Err(missing) => {
            eprintln!("   No static exchange: {missing}");
            (build::exchange(&epoch)?, DYNAMIC)
        }
    };
    fs::copy(filter, folder.join(format!("{FILTER}.wasm")))?;
    fs::copy(exchange, folder.join(called))?;
    let meta = format!("{:#}\n", artifacts::meta()?);
    fs::write(folder.join(format!("{FILTER}.meta.json")), meta)?;
    fs::write(folder.join("sbom.cdx.json"), format!("{:#}\n", bill::of_materials(&epoch)?))?;
    for file in ["LICENSE", "kong/kong.conf", "kong/kong.yml", "kong/loopback.conf"] {
        let from = artifacts::source().join(file);
        let name = from.file_name().context("a file has a name")?;
        fs::copy(&from, folder.join(name))?;
    }
    let sums = sums(&folder)?;
    fs::write(folder.join("SHA256SUMS"), &sums)?;
    let archive = pack(&folder, &epoch)?;
    print!("{sums}{}", sum(&archive)?);
    println!("in {}", folder.display());
    Ok(())
}

/// When the commit was made, unless the environment says otherwise.
fn epoch() -> Result<String> {
    if let Ok(epoch) = std::env::var(EPOCH) {
        let digits = !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit());
        ensure!(digits, "{EPOCH}: expected seconds since 1970, found {epoch:?}");
        return Ok(epoch);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(artifacts::source());
    let committed = artifacts::output(&mut git)
        .with_context(|| format!("{EPOCH} is not set, and this is no clone"))?;
    Ok(committed.trim().to_owned())
}

/// A line for each file of `folder`, by name.
fn sums(folder: &Path) -> Result<String> {
    let mut command = Command::new("sha256sum");
    command.args(names(folder)?).current_dir(folder);
    artifacts::output(&mut command).context("sha256sum failed")
}

fn sum(file: &Path) -> Result<String> {
    let name = file.file_name().context("a file has a name")?;
    let folder = file.parent().context("a file is in a folder")?;
    let mut command = Command::new("sha256sum");
    command.arg(name).current_dir(folder);
    artifacts::output(&mut command).context("sha256sum failed")
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// All files of `folder` as one, beside them.
fn pack(folder: &Path, epoch: &str) -> Result<PathBuf> {
    let name = format!("kombisphere-gateway-{}", env!("CARGO_PKG_VERSION"));
    let archive = folder.join(format!("{name}-x86_64-linux.tar.gz"));
    let packed = folder.join("packed.tar");
    let mut tar = Command::new("tar");
    tar.args(["--create", "--format=ustar", "--owner=0", "--group=0", "--numeric-owner"])
        .args([format!("--mtime=@{epoch}"), "--mode=u+rwX,go+rX,go-w".to_owned()])
        .arg(format!("--transform=s,^,{name}/,"))
        .args(["--file", "packed.tar"])
        .args(names(folder)?)
        .current_dir(folder);
    artifacts::output(&mut tar).context("tar failed")?;
    let mut gzip = Command::new("gzip");
    gzip.args(["--no-name", "--best", "--stdout"]).stdin(File::open(&packed)?);
    gzip.stdout(File::create(&archive)?);
    ensure!(gzip.status().context("cannot start gzip")?.success(), "gzip failed");
    fs::remove_file(packed)?;
    Ok(archive)
}
