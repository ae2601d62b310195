//! `kombi-exchange serve`.

use std::ffi::OsString;

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    address::Reach,
    command::{Failure, TermsArgs},
    config::{self, Config},
    database::Database,
    log,
    outbound::Outbound,
    server::{Server, StartError},
    traces::Traces,
};

/// Flags of `serve`. They are checked by [`config::Config::new`], whose errors name the variable.
#[derive(Debug, Args)]
#[command(next_line_help = true)]
pub struct ServeArgs {
    /// Address for the gateway
    #[arg(long, value_name = "ADDRESS", env = config::LISTEN, hide_env_values = true)]
    #[arg(default_value = "127.0.0.1:8700")]
    pub listen: String,
    /// Address for /livez, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", env = config::OPS_LISTEN, hide_env_values = true)]
    #[arg(default_value = config::DEFAULT_OPS_LISTEN)]
    pub ops_listen: String,
    /// The gate's Ed25519 public keys: one, or two separated by a comma
    #[arg(long, value_name = "KEYS", env = config::ASSERTION_KEYS, hide_env_values = true)]
    pub assertion_keys: Option<String>,
    /// How far the gateway's clock may differ, in seconds
    #[arg(long, value_name = "S", env = config::CLOCK_SKEW_S, hide_env_values = true)]
    #[arg(default_value = "5")]
    pub clock_skew_s: String,
    /// How long an instance may take to answer, in milliseconds
    #[arg(long, value_name = "MS", env = config::INSTANCE_TIMEOUT_MS, hide_env_values = true)]
    #[arg(default_value = "2000")]
    pub instance_timeout_ms: String,
    /// The issuer whose opaque tokens are introspected; its client's secret is in the environment
    #[arg(long, value_name = "URL", env = config::INTROSPECTION_ISSUER, hide_env_values = true)]
    pub introspection_issuer: Option<String>,
    /// The exchange's client at that issuer
    #[arg(long, value_name = "ID", env = config::INTROSPECTION_CLIENT_ID, hide_env_values = true)]
    pub introspection_client_id: Option<String>,
    /// Where to ask, if not where the issuer's metadata says
    #[arg(long, value_name = "URL", env = config::INTROSPECTION_ENDPOINT, hide_env_values = true)]
    pub introspection_endpoint: Option<String>,
    /// Whether the issuer may be at a private address and without TLS: true or false
    #[arg(long, value_name = "BOOL", env = config::INTROSPECTION_ALLOW_PRIVATE)]
    #[arg(hide_env_values = true, default_value = "false")]
    pub introspection_allow_private: String,
    /// The issuer whose back-channel logouts end sessions
    #[arg(long, value_name = "URL", env = config::LOGOUT_ISSUER, hide_env_values = true)]
    pub logout_issuer: Option<String>,
    /// Its clients whose logouts count, separated by commas
    #[arg(long, value_name = "IDS", env = config::LOGOUT_AUDIENCES, hide_env_values = true)]
    pub logout_audiences: Option<String>,
    /// Whether that issuer may be at a private address and without TLS: true or false
    #[arg(long, value_name = "BOOL", env = config::LOGOUT_ALLOW_PRIVATE)]
    #[arg(hide_env_values = true, default_value = "false")]
    pub logout_allow_private: String,
    /// Where the terms of AI usage are
    #[command(flatten)]
    pub terms: TermsArgs,
    /// How long an AI call can take, in seconds
    #[arg(long, value_name = "S", env = config::USAGE_LONGEST_CALL_S, hide_env_values = true)]
    #[arg(default_value = "900")]
    pub usage_longest_call_s: String,
    /// Folder for copies of the database
    #[arg(long, value_name = "DIR", env = config::BACKUP_DIR, hide_env_values = true)]
    pub backup_dir: Option<OsString>,
    /// How old the newest copy may become, in seconds
    #[arg(long, value_name = "S", env = config::BACKUP_EVERY_S, hide_env_values = true)]
    #[arg(default_value = "86400")]
    pub backup_every_s: String,
    /// How many copies stay
    #[arg(long, value_name = "N", env = config::BACKUP_KEEP, hide_env_values = true)]
    #[arg(default_value = "7")]
    pub backup_keep: String,
    /// Connections from the gateway at once; more wait
    #[arg(long, value_name = "N", env = config::MAX_CONNECTIONS, hide_env_values = true)]
    #[arg(default_value = "8192")]
    pub max_connections: String,
    /// What is logged: a level, or target=level,…
    #[arg(long, value_name = "FILTER", env = config::LOG, hide_env_values = true)]
    #[arg(default_value = "info")]
    pub log: String,
}

/// How many files are open besides connections from the gateway: those to instances, the database.
const BESIDES: u64 = 1024;

/// Serves until the process is told to stop.
pub async fn run(args: &ServeArgs, database: Database) -> Result<(), Failure> {
    let filter = config::log_filter(&args.log)?;
    let config = Config::new(args, database)?;
    let traces = match config::collector()? {
        None => None,
        Some(_) => {
            let client = Outbound::new(config.lookup).map_err(StartError::from)?;
            let started = Traces::start(client.client(Reach::Private).clone());
            Some(started.map_err(|error| Failure::Other(format!("no traces: {error}")))?)
        }
    };
    log::start(filter, traces.as_ref());
    make_room(config.max_connections);
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
    if let Some(traces) = traces {
        traces.end().await;
    }
    Ok(())
}

/// Lets this process open a file for each connection, and some besides, as far as the system lets it.
fn make_room(connections: u32) {
    let wanted = u64::from(connections) + BESIDES;
    let room = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(now, most)| {
        let room = wanted.clamp(now, most.max(now));
        setrlimit(Resource::RLIMIT_NOFILE, room, most).map(|()| room)
    });
    match room {
        Ok(room) if room >= wanted => {}
        Ok(room) => tracing::warn!(
            room,
            wanted,
            "the system lets this process open fewer files than there may be connections"
        ),
        Err(error) => tracing::warn!(%error, "how many files may be open is not known"),
    }
}
