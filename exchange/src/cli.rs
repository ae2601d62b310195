//! The command line.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    backup::BackupError,
    command::{audit, backup, instance, keygen, serve, usage},
    config::{self, ConfigError},
    data_dir::DataDirError,
    registration::RegistrationError,
    registry::RegistryError,
    server::StartError,
    usage::{PLANS, PRICES},
};

/// What `--help` says about the environment; every variable is also a flag, except secrets.
const ENVIRONMENT: &str = "\
Environment (a flag, where there is one, wins):
  KOMBI_EXCHANGE_DATA                 directory for the database; made if it is not there [--data]
  KOMBI_EXCHANGE_SEAL_KEY             secret, 32 bytes in base64url: seals the keys of instances in
                                      the database; environment only, so that `ps` does not show it
  KOMBI_EXCHANGE_SUPERUSER_PASSWORD   secret, for `instance add --superuser` and `instance rotate-key
                                      --superuser`: that superuser's password; environment only
  KOMBI_EXCHANGE_ASSERTION_KEYS       the gate's Ed25519 public key `x` in base64url; two, separated
                                      by a comma, while they are rotated [--assertion-keys]
  KOMBI_EXCHANGE_LISTEN               address for the gateway, 127.0.0.1:8700 [--listen]
  KOMBI_EXCHANGE_OPS_LISTEN           address for /livez, /readyz and /metrics, 127.0.0.1:8701
                                      [--ops-listen]
  KOMBI_EXCHANGE_CLOCK_SKEW_S         how far the gateway's clock may differ, in seconds, 5
                                      [--clock-skew-s]
  KOMBI_EXCHANGE_INSTANCE_TIMEOUT_MS  how long an instance may take to answer, in milliseconds, 2000
                                      [--instance-timeout-ms]
  KOMBI_EXCHANGE_INTROSPECTION_ISSUER the issuer whose opaque tokens are introspected, exactly as it
                                      names itself; without it none are [--introspection-issuer]
  KOMBI_EXCHANGE_INTROSPECTION_CLIENT_ID
                                      the exchange's client at that issuer
                                      [--introspection-client-id]
  KOMBI_EXCHANGE_INTROSPECTION_CLIENT_SECRET
                                      secret, that client's; environment only
  KOMBI_EXCHANGE_INTROSPECTION_ENDPOINT
                                      where to ask, if not where the issuer's metadata says, which
                                      must be its own origin [--introspection-endpoint]
  KOMBI_EXCHANGE_INTROSPECTION_ALLOW_PRIVATE
                                      true lets the issuer be at a private address and without TLS,
                                      false [--introspection-allow-private]
  KOMBI_EXCHANGE_LOGOUT_ISSUER        the issuer whose back-channel logouts end sessions, exactly as it
                                      names itself; without it none do [--logout-issuer]
  KOMBI_EXCHANGE_LOGOUT_AUDIENCES     its clients whose logouts count, separated by commas
                                      [--logout-audiences]
  KOMBI_EXCHANGE_LOGOUT_ALLOW_PRIVATE true lets that issuer be at a private address and without TLS,
                                      false [--logout-allow-private]
  KOMBI_EXCHANGE_PLANS                file with plans and budgets of AI usage; without it no ledger is
                                      kept [--plans]
  KOMBI_EXCHANGE_PRICES               file with the prices of models, which billed plans need; both
                                      files are read again on SIGHUP [--prices]
  KOMBI_EXCHANGE_PROVIDER_<NAME>_KEY  secret, opens the AI provider of that name; environment only
  KOMBI_EXCHANGE_PROVIDER_<NAME>_KEYLESS
                                      true for a provider that needs no key; environment only
  KOMBI_EXCHANGE_USAGE_LONGEST_CALL_S how long an AI call can take, in seconds, 900; then it is
                                      closed with what was reserved [--usage-longest-call-s]
  KOMBI_EXCHANGE_BACKUP_DIR           folder for copies of the database; without it none are made
                                      [--backup-dir]
  KOMBI_EXCHANGE_BACKUP_EVERY_S       how old the newest copy may become, in seconds, 86400
                                      [--backup-every-s]
  KOMBI_EXCHANGE_BACKUP_KEEP          how many copies stay, 7 [--backup-keep]
  KOMBI_EXCHANGE_MAX_CONNECTIONS      connections from the gateway at once; more wait, 1024
                                      [--max-connections]
  KOMBI_EXCHANGE_SHARED_STORE         secret, where limits that nodes share are kept: the redis:// URL
                                      of a Valkey or Redis, for several exchanges; without it, in
                                      this process; environment only
  KOMBI_EXCHANGE_LOG                  what is logged, as level or target=level,…, info [--log]
  SSL_CERT_FILE                       root certificates for https instances and the issuer, if not
                                      the machine's

The seal key is needed by `serve`, by `instance` but for `list`, by `audit` and `restore`, the data directory by
every command but `keygen`, the keys of the gate, plans and prices also by `usage replay`,
everything else by `serve` alone. Exit codes: 0 done, 1 failed, 2 configured wrongly.";

/// The sidecar of the KombiSphere gateway: logs people into KombiStack instances, introspects
/// opaque tokens, and keeps the ledger of AI usage.
#[derive(Debug, Parser)]
#[command(name = "kombi-exchange", version, after_help = ENVIRONMENT)]
pub struct Cli {
    /// Directory for the database; made if it is not there
    #[arg(long, value_name = "DIR", global = true, env = config::DATA, hide_env_values = true)]
    data: Option<OsString>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    #[command(after_help = ENVIRONMENT)]
    Serve(Box<ServeArgs>),
    /// Register and list instances; takes effect on a running exchange at once
    #[command(subcommand)]
    Instance(InstanceCommand),
    /// Read the ledger of AI usage, or bring it up to date
    #[command(subcommand)]
    Usage(UsageCommand),
    /// Read the audit: who did what, on whom, why and with what outcome
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Copy the database to a file, beside a running exchange or without one
    Backup {
        /// The file; one that is there is replaced
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
    /// Put a copy in the place of the database, which is kept beside it; nobody must be serving
    Restore {
        /// The copy
        #[arg(long, value_name = "FILE")]
        from: PathBuf,
    },
    /// Make new keys and print them: the gate's key pair, and a seal key
    Keygen(KeygenArgs),
}

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
    #[arg(default_value = "127.0.0.1:8701")]
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
    #[arg(default_value = "1024")]
    pub max_connections: String,
    /// What is logged: a level, or target=level,…
    #[arg(long, value_name = "FILTER", env = config::LOG, hide_env_values = true)]
    #[arg(default_value = "info")]
    pub log: String,
}

/// Where the terms of AI usage are written.
#[derive(Debug, Args)]
pub struct TermsArgs {
    /// File with plans and budgets of AI usage
    #[arg(long, value_name = "FILE", env = PLANS, hide_env_values = true)]
    pub plans: Option<OsString>,
    /// File with the prices of models
    #[arg(long, value_name = "FILE", env = PRICES, hide_env_values = true)]
    pub prices: Option<OsString>,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Say whether every record is there as it was written, or which is the first that is not
    Verify(AuditVerifyArgs),
    /// Print the records, with pseudonyms for people
    Export(AuditExportArgs),
}

/// Flags of `audit verify`.
#[derive(Debug, Args)]
pub struct AuditVerifyArgs {
    /// Where the audit ended once, as this command or the log of `serve` told it: NUMBER:HASH
    #[arg(long, value_name = "ANCHOR")]
    pub anchor: Option<String>,
}

/// Flags of `audit export`.
#[derive(Debug, Args)]
pub struct AuditExportArgs {
    /// Only records after the one with this number
    #[arg(long, value_name = "N", default_value = "0")]
    pub after: i64,
    /// What to print
    #[arg(long, value_enum, default_value = "csv")]
    pub form: AuditForm,
}

/// What an export looks like.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum AuditForm {
    /// A line for each record
    Csv,
    /// A JSON object a line for each record
    Jsonl,
}

#[derive(Debug, Subcommand)]
enum UsageCommand {
    /// Settle what a gateway's error log has and the ledger has not; may be repeated
    Replay(ReplayArgs),
    /// Print what was used, for this month or other days
    Report(ReportArgs),
    /// Print the events for the billing provider, one JSON object a line
    Outbox(OutboxArgs),
}

/// Flags of `usage replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// The log; - is standard input
    #[arg(value_name = "LOG")]
    pub log: PathBuf,
    /// The gate's Ed25519 public keys: one, or two separated by a comma
    #[arg(long, value_name = "KEYS", env = config::ASSERTION_KEYS, hide_env_values = true)]
    pub assertion_keys: Option<String>,
    /// Where the terms of AI usage are
    #[command(flatten)]
    pub terms: TermsArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `usage report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The first day, like 2026-11-01
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// The day after the last
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// What to tell apart: day, subject, org, plan, provider, model, with commas
    #[arg(long, value_name = "LIST")]
    by: Option<String>,
    /// Only this person
    #[arg(long, value_name = "SUB")]
    subject: Option<String>,
    /// Only this organisation
    #[arg(long, value_name = "ID")]
    org: Option<String>,
    /// Only this plan
    #[arg(long, value_name = "NAME")]
    plan: Option<String>,
    /// Only this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Only this model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// What to print
    #[arg(long, value_enum, default_value = "csv")]
    pub form: ReportForm,
}

/// What a report looks like.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ReportForm {
    /// A line for each row
    Csv,
    /// As `GET /admin/usage` answers
    Json,
}

/// Flags of `usage outbox`.
#[derive(Debug, Args)]
pub struct OutboxArgs {
    /// Only events after the one with this id
    #[arg(long, value_name = "ID", default_value = "0")]
    pub after: i64,
    /// At most so many
    #[arg(long, value_name = "N", default_value = "1000")]
    pub limit: u32,
}

impl ReportArgs {
    /// The flags as the query of `GET /admin/usage` has them.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let Self { from, to, by, subject, org, plan, provider, model, .. } = self;
        [
            ("from", from),
            ("to", to),
            ("by", by),
            ("subject", subject),
            ("org", org),
            ("plan", plan),
            ("provider", provider),
            ("model", model),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

#[derive(Debug, Subcommand)]
enum InstanceCommand {
    /// Register an instance and print the key for its hook, once
    Add(AddArgs),
    /// Look whether an instance can be entered, and say what would mend it
    Check(CheckArgs),
    /// Replace what opens an instance: a new key for its hook, or another superuser
    RotateKey(RotateArgs),
    /// Say which page of an instance a login may be handed to
    Page(PageArgs),
    /// Remove an instance from the registry; the instance itself stays as it is
    Remove {
        /// The instance's id
        #[arg(long)]
        id: String,
    },
    /// List the registered instances
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Flags of `instance add`.
#[derive(Debug, Args)]
pub struct AddArgs {
    /// The instance's id: 1 to 63 of a-z, 0-9 and -
    #[arg(long)]
    pub id: String,
    /// Where it is: an http or https URL
    #[arg(long)]
    pub url: String,
    /// Who owns it: the `sub` that Zitadel knows them by
    #[arg(long, value_name = "SUB")]
    pub owner: String,
    /// Who else may enter; may be given more than once
    #[arg(long = "member", value_name = "SUB")]
    pub members: Vec<String>,
    /// Its own page, to which a login may be handed
    #[arg(long, value_name = "URL")]
    pub page: Option<String>,
    /// Let it be at a loopback or private address
    #[arg(long)]
    pub allow_private: bool,
    /// Enter as this superuser and not through the hook; the password is in the environment
    #[arg(long, value_name = "EMAIL")]
    pub superuser: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `instance check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The instance's id
    #[arg(long)]
    pub id: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Flags of `instance page`.
#[derive(Debug, Args)]
pub struct PageArgs {
    /// The instance's id
    #[arg(long)]
    pub id: String,
    /// The page; without it, logins are handed to none
    #[arg(long, value_name = "URL")]
    pub page: Option<String>,
}

/// Flags of `instance rotate-key`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// The instance's id
    #[arg(long)]
    pub id: String,
    /// Enter as this superuser from now on; the password is in the environment
    #[arg(long, value_name = "EMAIL")]
    pub superuser: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
struct KeygenArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A command did not do what it was asked to do. Its text is one sentence for a person.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is at fault.
    #[error("{0}")]
    Config(String),
    /// Something else is.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) => ExitCode::from(2),
            Self::Other(_) => ExitCode::FAILURE,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let text = error.to_string();
        match error {
            StartError::Config(_)
            | StartError::Terms(_)
            | StartError::DataDir(DataDirError::Unusable { .. })
            | StartError::Registry(RegistryError::OtherSeal) => Self::Config(text),
            _ => Self::Other(text),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::from(StartError::from(error))
    }
}

impl From<DataDirError> for Failure {
    fn from(error: DataDirError) -> Self {
        Self::from(StartError::from(error))
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        Self::from(StartError::from(error))
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::DataDir(error) => Self::from(error),
            error => Self::Other(error.to_string()),
        }
    }
}

impl From<RegistrationError> for Failure {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Registry(error) => Self::from(error),
            error @ RegistrationError::NotReady { .. } => Self::Other(error.to_string()),
        }
    }
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> Result<(), Failure> {
        let data = self.data;
        match self.command {
            Command::Serve(args) => serve::run(&args, config::data(data)?).await,
            Command::Instance(InstanceCommand::Add(args)) => {
                instance::add(&args, &config::data(data)?).await
            }
            Command::Instance(InstanceCommand::Check(args)) => {
                instance::check(&args, &config::data(data)?).await
            }
            Command::Instance(InstanceCommand::Page(args)) => {
                instance::page(&args, &config::data(data)?).await
            }
            Command::Instance(InstanceCommand::RotateKey(args)) => {
                instance::rotate_key(&args, &config::data(data)?).await
            }
            Command::Instance(InstanceCommand::Remove { id }) => {
                instance::remove(&id, &config::data(data)?).await
            }
            Command::Instance(InstanceCommand::List { json }) => {
                instance::list(json, &config::data(data)?).await
            }
            Command::Usage(UsageCommand::Replay(args)) => {
                usage::replay(&args, &config::data(data)?).await
            }
            Command::Usage(UsageCommand::Report(args)) => {
                usage::report(&args, &config::data(data)?).await
            }
            Command::Usage(UsageCommand::Outbox(args)) => {
                usage::outbox(&args, &config::data(data)?).await
            }
            Command::Audit(AuditCommand::Verify(args)) => {
                audit::verify(&args, &config::data(data)?).await
            }
            Command::Audit(AuditCommand::Export(args)) => {
                audit::export(&args, &config::data(data)?).await
            }
            Command::Backup { to } => backup::write(&to, &config::data(data)?),
            Command::Restore { from } => backup::restore(&from, &config::data(data)?).await,
            Command::Keygen(KeygenArgs { json }) => keygen::run(json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense_to_clap() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_explains_every_variable() {
        for variable in [
            config::DATA,
            config::SEAL_KEY,
            config::SUPERUSER_PASSWORD,
            config::ASSERTION_KEYS,
            config::LISTEN,
            config::OPS_LISTEN,
            config::CLOCK_SKEW_S,
            config::INSTANCE_TIMEOUT_MS,
            config::INTROSPECTION_ISSUER,
            config::INTROSPECTION_CLIENT_ID,
            config::INTROSPECTION_CLIENT_SECRET,
            config::INTROSPECTION_ENDPOINT,
            config::INTROSPECTION_ALLOW_PRIVATE,
            config::LOGOUT_ISSUER,
            config::LOGOUT_AUDIENCES,
            config::LOGOUT_ALLOW_PRIVATE,
            config::USAGE_LONGEST_CALL_S,
            PLANS,
            PRICES,
            config::BACKUP_DIR,
            config::BACKUP_EVERY_S,
            config::BACKUP_KEEP,
            config::MAX_CONNECTIONS,
            config::SHARED_STORE,
            config::LOG,
        ] {
            let named = |line: &str| line.split_whitespace().next() == Some(variable);
            let explained = ENVIRONMENT.lines().any(named);
            assert!(explained, "{variable}");
        }
    }
}
