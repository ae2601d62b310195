//! The command line.

mod environment;

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};

use crate::{
    command::{
        Failure, audit, backup, doctor, instance, keygen, kong, ready, rotate_keys, serve, usage,
    },
    config,
};
use environment::ENVIRONMENT;

/// The sidecar of the KombiSphere gateway: logs people into KombiStack instances, introspects
/// opaque tokens, and keeps the ledger of AI usage.
#[derive(Debug, Parser)]
#[command(name = "kombi-exchange", version, after_help = ENVIRONMENT)]
pub struct Cli {
    /// Directory for the database; made if it is not there
    #[arg(long, value_name = "DIR", global = true, env = config::DATA, hide_env_values = true)]
    data: Option<OsString>,
    /// A PostgreSQL instead of the directory, for several exchanges: postgres://USER@HOST/DATABASE;
    /// its password is in the environment
    #[arg(long, value_name = "URL", global = true)]
    database: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT
    #[command(after_help = ENVIRONMENT)]
    Serve(Box<serve::ServeArgs>),
    /// Register and list instances; takes effect on a running exchange at once
    #[command(subcommand)]
    Instance(instance::Command),
    /// Read the ledger of AI usage, or bring it up to date
    #[command(subcommand)]
    Usage(usage::Command),
    /// Read the audit: who did what, on whom, why and with what outcome
    #[command(subcommand)]
    Audit(audit::Command),
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
    /// Seal everything in the database with another key; nobody must be serving
    RotateKeys,
    /// Look whether everything is in place, and say what would mend what is not
    Doctor(Box<doctor::DoctorArgs>),
    /// Make new keys and print them: the gate's key pair, and a seal key
    Keygen(keygen::KeygenArgs),
    /// Prepare what Kong is given
    #[command(subcommand)]
    Kong(kong::Command),
    /// Say whether the exchange that serves on this machine is ready, by the exit code
    Ready(ready::ReadyArgs),
}

impl Cli {
    /// Does what the command line says.
    pub async fn run(self) -> Result<(), Failure> {
        let Self { data, database: server, command } = self;
        let database = || config::database(server.clone(), data.clone());
        match command {
            Command::Serve(args) => serve::run(&args, database()?).await,
            Command::Instance(command) => instance::run(&command, &database()?).await,
            Command::Usage(command) => usage::run(&command, &database()?).await,
            Command::Audit(command) => audit::run(&command, &database()?).await,
            Command::Backup { to } => backup::write(&to, &config::data_directory(database()?)?),
            Command::Restore { from } => {
                backup::restore(&from, &config::data_directory(database()?)?).await
            }
            Command::RotateKeys => rotate_keys::run(&database()?).await,
            // It says itself what it did not look at.
            Command::Doctor(args) => {
                doctor::run(*args, config::known_database(server, data)?).await
            }
            Command::Keygen(args) => keygen::run(&args),
            Command::Kong(command) => kong::run(&command),
            Command::Ready(args) => ready::run(&args).await,
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
}
