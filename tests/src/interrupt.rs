//! Ctrl-C, for a command that would otherwise end by itself.

use std::future::Future;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

/// What `work` comes to; an error as soon as somebody interrupts it. Then it is dropped, and with it
/// every process that it started.
pub(crate) async fn unless_interrupted<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupted = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = interrupted.recv() => bail!("interrupted"),
        done = work => done,
    }
}
