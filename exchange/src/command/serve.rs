//! `kombi-exchange serve`.

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::{Failure, ServeArgs},
    config::{self, Config},
    log,
    server::Server,
};

/// Serves until the process is told to stop.
pub async fn run(args: &ServeArgs, data: PathBuf) -> Result<(), Failure> {
    let filter = config::log_filter(&args.log)?;
    let config = Config::new(args, data)?;
    log::start(filter);
    // Before the listeners: a signal must not find the process without an answer to it.
    let no_signals = |error| Failure::Other(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(no_signals)?;
    let server = Server::bind(config).await?;
    let usage = server.usage();
    let reloading = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            usage.reload();
        }
    });
    let told_to_stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.serve(told_to_stop).await;
    reloading.abort();
    Ok(())
}
