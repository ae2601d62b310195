//! The disk is full while the exchange writes: what cannot be stored is refused and never
//! acknowledged, `/readyz` says why, and it goes on by itself once there is space again.

use std::{fs, io::Write, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use kombi_spec::code::Code;

use super::{
    Lab,
    ledger::{Connections, Ledger, Outcome, all_there},
    until,
};
use crate::{
    answer::{self, Answer},
    artifacts,
    exchange::{Exchange, Installed},
    run_dir::RunDir,
};

/// How large the disk is.
const BYTES: &str = "size=8m";

/// How long it may take until it notices one or the other.
const WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn run(lab: &mut Lab<'_>) -> Result<String> {
    let run = RunDir::new()?;
    let disk = Disk::new(&run)?;
    let installed = Installed::new(lab.artifacts, &run, "http://127.0.0.1:1")?;
    let installed = installed.with_data(disk.folder.clone()).under(disk.started_by());
    let mut exchange = Exchange::start(installed, &run).await?;
    let mut book = Book { ledger: Ledger::of(&exchange)?, sent: 0, acknowledged: Vec::new() };
    for _ in 0..20 {
        ensure!(book.write().await?, "a write was refused while there was space");
    }
    disk.fill(&exchange)?;
    until(WITHIN, "a write is refused", async || Ok(!book.write().await?)).await?;
    let mut refused = 1;
    for _ in 0..lab.of(200, 40) {
        refused += u64::from(!book.write().await?);
    }
    login_is_refused(&exchange).await?;
    until(WITHIN, "/readyz says so", async || {
        let found = exchange.readiness().await?;
        let text = String::from_utf8_lossy(&found.body).into_owned();
        Ok(found.status == 503 && text.starts_with("database: "))
    })
    .await?;
    disk.free(&exchange)?;
    until(WITHIN, "it writes again", async || book.write().await).await?;
    until(WITHIN, "it is ready", async || Ok(exchange.readiness().await?.status == 200)).await?;
    exchange.crash_and_restart().await?;
    let known = book.acknowledged.len();
    all_there(&exchange, book.sent, &book.acknowledged).await?;
    Ok(format!(
        "{refused} writes were refused with 503 and Retry-After while {} was full, and it was not \
         ready; with space it went on; each of {known} that were acknowledged is there once",
        if disk.mounted { "its disk" } else { "what it may write (RLIMIT_FSIZE)" }
    ))
}

/// What was written, and acknowledged.
struct Book {
    ledger: Ledger,
    sent: u64,
    acknowledged: Vec<String>,
}

impl Book {
    /// Writes once more; whether that was acknowledged. An error if it was neither that nor refused
    /// as it should be.
    async fn write(&mut self) -> Result<bool> {
        let id = format!("{}", self.sent);
        self.sent += 1;
        match self.ledger.reserve(&id, Connections::Kept).await {
            Outcome::Acknowledged => {
                self.acknowledged.push(id);
                Ok(true)
            }
            Outcome::Refused(answer) => is_refused(&answer).map(|()| false),
            Outcome::Unreachable => bail!("nobody listens"),
            Outcome::Cut(error) => bail!("no answer: {error}"),
        }
    }
}

fn is_refused(answer: &Answer) -> Result<()> {
    ensure!(
        answer.code() == Some(Code::StorageUnavailable) && answer.header("retry-after").is_some(),
        "a write was answered with {} and retry-after {:?}",
        answer.summary(),
        answer.header("retry-after")
    );
    Ok(())
}

/// A login spends its assertion on disk before anything else.
async fn login_is_refused(exchange: &Exchange) -> Result<()> {
    let url = format!("{}/sso/instances/nowhere/session", exchange.url());
    let assertion = exchange.assertion("ada", &url)?;
    let post = answer::client()?.post(url).header(kombi_spec::header::ASSERTION, assertion);
    is_refused(&Answer::to(post).await?)
}

/// A disk that is soon full: a small one of its own where this user may mount one, or else a limit
/// on the size of the process's files.
struct Disk {
    folder: PathBuf,
    mounted: bool,
}

impl Disk {
    fn new(run: &RunDir) -> Result<Self> {
        let folder = run.path().join("disk");
        fs::create_dir(&folder)?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", BYTES, "none"]).arg(&folder);
        let mounted = artifacts::output(&mut mount).is_ok();
        Ok(Self { folder, mounted })
    }

    /// A limit must fail the write and not end the process.
    fn started_by(&self) -> Vec<String> {
        let ignoring = ["env", "--ignore-signal=XFSZ"].map(str::to_owned);
        if self.mounted { Vec::new() } else { ignoring.into() }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn fill(&self, exchange: &Exchange) -> Result<()> {
        if !self.mounted {
            return limit(exchange, "1");
        }
        let mut ballast = fs::File::create(self.ballast())?;
        while ballast.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    fn free(&self, exchange: &Exchange) -> Result<()> {
        if !self.mounted {
            return limit(exchange, "unlimited");
        }
        fs::remove_file(self.ballast()).context("the ballast is gone")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted {
            // The exchange may not have ended yet.
            let _ = artifacts::output(Command::new("umount").arg("--lazy").arg(&self.folder));
        }
    }
}

/// Lets no file of the exchange grow beyond `bytes`.
fn limit(exchange: &Exchange, bytes: &str) -> Result<()> {
    let mut limit = Command::new("prlimit");
    limit.arg(format!("--pid={}", exchange.id())).arg(format!("--fsize={bytes}:unlimited"));
    artifacts::output(&mut limit).context("prlimit (of util-linux) failed").map(drop)
}
