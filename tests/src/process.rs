//! A process of the stack: started with its log in a file, awaited, and ended with its owner.

use std::{
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use reqwest::Client;

use crate::answer;

/// How long a process may take until it is ready.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// How long a process may take to end by itself.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running process. Dropped, it is ended.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts `command`; what it prints goes to `NAME.log` in `folder`.
    pub fn spawn(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        // A group of its own: Ctrl-C in the terminal reaches the stack alone, which then ends
        // its processes in order.
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
        end_with_parent(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        Ok(Self { name: name.to_owned(), child })
    }

    /// Waits until `ready` holds; an error if the process ends first or takes too long.
    pub async fn wait_until(&mut self, ready: impl AsyncFn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while !ready().await {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended early with {status}", self.name);
            }
            if Instant::now() >= deadline {
                bail!("{} is not ready after {} s", self.name, START_DEADLINE.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Ok(())
    }

    /// Waits until `GET url` answers 200.
    pub async fn wait_for(&mut self, url: &str) -> Result<()> {
        self.wait_for_as(&answer::client()?, url).await
    }

    /// Waits until `GET url` by this client answers 200.
    pub async fn wait_for_as(&mut self, client: &Client, url: &str) -> Result<()> {
        self.wait_until(async || {
            client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
        })
        .await
    }

    /// Ends the process at once, as a crash would (`kill -9`).
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the process to end (SIGTERM); an error unless it does so by itself within `time`, and
    /// with success.
    pub async fn stop(&mut self, time: Duration) -> Result<()> {
        kill(self.pid()?, Signal::SIGTERM)?;
        let deadline = Instant::now() + time;
        loop {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "{} ended with {status}", self.name);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not end", self.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops the process where it is (SIGSTOP): it keeps its connections and answers nothing.
    pub fn pause(&self) -> Result<()> {
        Ok(kill(self.pid()?, Signal::SIGSTOP)?)
    }

    /// Lets a paused process go on.
    pub fn go_on(&self) -> Result<()> {
        Ok(kill(self.pid()?, Signal::SIGCONT)?)
    }

    /// The system's number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.id())?))
    }

    fn terminate(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.go_on()?;
        kill(self.pid()?, Signal::SIGTERM)?;
        let deadline = Instant::now() + STOP_DEADLINE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.terminate().is_err() {
            // Last resort; if even this fails, the process is gone already.
            let _ = self.kill();
        }
    }
}

/// Has the system end the process when the stack itself is killed.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from)
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_command: &mut Command) {}
