//! `kombi-exchange audit`. It works on the database, beside a running exchange or without one.

use std::io;

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    audit::{self, Anchor, Verdict, export},
    command::Failure,
    config,
    database::Database,
    registry::Registry,
    server::StartError,
    store::Store,
};

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say whether every record is there as it was written, or which is the first that is not
    Verify(VerifyArgs),
    /// Print the records, with pseudonyms for people
    Export(ExportArgs),
}

/// Flags of `audit verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Where the audit ended once, as this command or the log of `serve` told it: NUMBER:HASH
    #[arg(long, value_name = "ANCHOR")]
    pub anchor: Option<String>,
}

/// Flags of `audit export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Only records after the one with this number
    #[arg(long, value_name = "N", default_value = "0")]
    pub after: i64,
    /// What to print
    #[arg(long, value_enum, default_value = "csv")]
    pub form: Form,
}

/// What an export looks like.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Form {
    /// A line for each record
    Csv,
    /// A JSON object a line for each record
    Jsonl,
}

/// Does what `command` says.
pub async fn run(command: &Command, database: &Database) -> Result<(), Failure> {
    match command {
        Command::Verify(args) => verify(args, database).await,
        Command::Export(args) => export(args, database).await,
    }
}

/// Says whether the audit is what was written.
async fn verify(args: &VerifyArgs, database: &Database) -> Result<(), Failure> {
    let unfit = |error: audit::NotAnAnchor| Failure::Other(format!("--anchor: {error}"));
    let anchor = args.anchor.as_deref().map(str::parse::<Anchor>).transpose().map_err(unfit)?;
    let (store, registry) = open(database).await?;
    let verdict = audit::verify(&store, registry.audit(), anchor).await;
    match verdict.map_err(StartError::from)? {
        Verdict::Whole(end) => {
            println!("{} records, each as it was written. The audit ends with {end}", end.seq);
            Ok(())
        }
        Verdict::Broken { seq, problem } => {
            Err(Failure::Other(format!("the audit is broken at record {seq}: {problem}")))
        }
    }
}

/// Prints the audit, with pseudonyms for people.
async fn export(args: &ExportArgs, database: &Database) -> Result<(), Failure> {
    let form = match args.form {
        Form::Csv => export::Form::Csv,
        Form::Jsonl => export::Form::JsonLines,
    };
    let (store, registry) = open(database).await?;
    let output = io::BufWriter::new(io::stdout());
    let exported = export::export(&store, registry.audit(), args.after, form, output).await;
    exported.map(drop).map_err(|error| Failure::Other(error.to_string()))
}

async fn open(database: &Database) -> Result<(Store, Registry), Failure> {
    let seal = config::seal_from_environment()?;
    let store = database.open()?;
    let registry = Registry::open(store.clone(), seal).await?;
    Ok((store, registry))
}
