//! A PostgreSQL of this machine, as a process that a test may kill and start again.

use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::unistd::{User, geteuid};
use tempfile::TempDir;

use crate::{port, process::Process};

/// What to say where there is none.
pub const MISSING: &str = "PostgreSQL is missing: on Debian, `apt-get install postgresql`";

/// Whose server it is.
const OWNER: &str = "kombi";

/// How long processes of a server that was killed may take to notice.
const OTHERS_END_WITHIN: Duration = Duration::from_secs(20);

/// How often it writes to disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// At every commit.
    Full,
    /// When it likes; for tests that lose nothing when the machine does.
    None,
}

/// Where Debian has the newest version's programs, if it is installed.
#[must_use]
pub fn find() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let newest = versions.flatten().filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let programs = version.path().join("bin");
        programs.join("initdb").is_file().then_some((number, programs))
    });
    newest.max().map(|(_, programs)| programs)
}

/// A running server. Everybody on this machine may do everything there.
pub struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    durability: Durability,
    process: Process,
}

impl Postgres {
    /// Starts one, with nothing in it.
    pub async fn start(durability: Durability) -> Result<Self> {
        let programs = find().context(MISSING)?;
        let folder = TempDir::new()?;
        // It refuses to run as root, and lets nobody else into its own directory.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711))?;
        let data = folder.path().join("data");
        fs::create_dir(&data)?;
        if let Some(user) = other_user()? {
            chown(&data, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let mut init = as_other_user(&programs.join("initdb"), folder.path())?;
        init.args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]);
        init.arg(format!("--username={OWNER}")).arg("--pgdata").arg(&data);
        let made = init.output().context("cannot start initdb")?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = port::free()?;
        let process = serve(&programs, folder.path(), port, durability).await?;
        Ok(Self { programs, folder, port, durability, process })
    }

    /// Its address, without a database.
    #[must_use]
    pub fn server(&self) -> String {
        format!("postgres://{OWNER}@127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a crash would, with every connection.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Ends it as an operator does who does not wait for whoever is connected.
    pub fn stop(&mut self) -> Result<()> {
        let mut command = as_other_user(&self.programs.join("pg_ctl"), self.folder.path())?;
        command.args(["stop", "--silent", "--mode=fast", "--pgdata"]);
        let stopped = command.arg(self.folder.path().join("data")).output()?;
        ensure!(stopped.status.success(), "pg_ctl: {}", String::from_utf8_lossy(&stopped.stderr));
        Ok(())
    }

    /// Starts it again on the same data.
    pub async fn start_again(&mut self) -> Result<()> {
        let deadline = Instant::now() + OTHERS_END_WITHIN;
        loop {
            let folder = self.folder.path();
            match serve(&self.programs, folder, self.port, self.durability).await {
                Ok(process) => {
                    self.process = process;
                    return Ok(());
                }
                // It refuses while processes of the one that was killed are still about to notice.
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// Makes a database; its URL.
    pub fn database(&self, name: &str) -> Result<String> {
        self.run(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(format!("{}/{name}", self.server()))
    }

    /// Where it has everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lets it, and nobody else, read `file`.
    pub fn give(&self, file: &Path) -> Result<()> {
        fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
        if let Some(user) = other_user()? {
            chown(file, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        Ok(())
    }

    /// What it has logged so far.
    pub fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(self.folder.path().join("postgres.log"))?)
            .into_owned())
    }

    /// Carries out what is written for `psql`.
    pub fn run(&self, script: &str) -> Result<String> {
        let mut command = Command::new(self.programs.join("psql"));
        command.args(["-XqAt", "-v", "ON_ERROR_STOP=1"]).arg(format!("{}/postgres", self.server()));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut psql = command.spawn().context("cannot start psql")?;
        psql.stdin.take().context("psql has an input")?.write_all(script.as_bytes())?;
        let said = psql.wait_with_output()?;
        ensure!(said.status.success(), "psql: {}", String::from_utf8_lossy(&said.stderr));
        Ok(String::from_utf8(said.stdout)?)
    }
}

/// Who runs it, if we are root.
fn other_user() -> Result<Option<User>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = User::from_name("postgres")?.context("Debian's package makes the user postgres")?;
    Ok(Some(user))
}

fn as_other_user(program: &Path, folder: &Path) -> Result<Command> {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if let Some(user) = other_user()? {
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
    }
    Ok(command)
}

async fn serve(
    programs: &Path,
    folder: &Path,
    port: u16,
    durability: Durability,
) -> Result<Process> {
    let mut command = as_other_user(&programs.join("postgres"), folder)?;
    command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
    let settings =
        ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=300"];
    let careless = ["fsync=off", "full_page_writes=off"];
    let careless = careless.into_iter().filter(|_| durability == Durability::None);
    settings.into_iter().chain(careless).for_each(|setting| {
        command.args(["-c", setting]);
    });
    let mut process = Process::spawn("postgres", command, folder)?;
    let ready = programs.join("pg_isready");
    process
        .wait_until(async || {
            let mut command = Command::new(&ready);
            command.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.status().is_ok_and(|status| status.success())
        })
        .await?;
    Ok(process)
}
