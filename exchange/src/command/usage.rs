//! `kombi-exchange usage`. All of it works on the database, beside a running exchange or without
//! one.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
};

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    command::{Failure, TermsArgs},
    config,
    database::Database,
    server::StartError,
    store::Store,
    time::UnixTime,
    usage::{Question, outbox, replay, report},
};

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
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

/// Does what `command` says.
pub async fn run(command: &Command, database: &Database) -> Result<(), Failure> {
    match command {
        Command::Replay(args) => replay(args, database).await,
        Command::Report(args) => report(args, database).await,
        Command::Outbox(args) => outbox(args, database).await,
    }
}

/// Settles what a gateway's log has and the ledger has not.
async fn replay(args: &ReplayArgs, database: &Database) -> Result<(), Failure> {
    let keys = config::gate_keys(args.assertion_keys.as_deref())?;
    let settings = config::ledger(&args.terms)?;
    let store = store(database)?;
    let log: Box<dyn BufRead> = if args.log.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let unreadable = |error| {
            Failure::Other(format!("the log {} cannot be read: {error}", args.log.display()))
        };
        Box::new(BufReader::new(File::open(&args.log).map_err(unreadable)?))
    };
    let replayed = replay::replay(log, &keys, store, settings).await;
    let replayed = replayed.map_err(|error| Failure::Other(error.to_string()))?;
    if args.json {
        println!("{}", serde_json::json!(replayed));
        return Ok(());
    }
    let replay::Replayed { lines, accepted, replaced, duplicate, malformed, refused } = replayed;
    println!(
        "{lines} lines: {accepted} settled, {replaced} replaced, {duplicate} known already, \
         {malformed} malformed, {refused} not signed by the gate"
    );
    Ok(())
}

/// Prints what was used.
async fn report(args: &ReportArgs, database: &Database) -> Result<(), Failure> {
    let question = Question::new(UnixTime::now())
        .with(args.pairs())
        .map_err(|unclear| Failure::Other(format!("--{unclear}")))?;
    let answer = store(database)?.read_long(move |connection| question.answer(connection)).await;
    let report = answer.map_err(StartError::from)?.ok_or_else(|| {
        Failure::Other("the report would have too many rows; tell less apart".to_owned())
    })?;
    match args.form {
        ReportForm::Json => println!("{}", serde_json::json!(report)),
        ReportForm::Csv => print!("{}", report::csv::write(&report)),
    }
    Ok(())
}

/// Prints what is to be sent to the billing provider.
async fn outbox(args: &OutboxArgs, database: &Database) -> Result<(), Failure> {
    let (after, most) = (args.after, args.limit);
    let store = store(database)?;
    let read = store.read_long(move |connection| outbox::events(connection, after, most));
    let events = read.await.map_err(StartError::from)?;
    let mut output = io::stdout().lock();
    for event in events {
        let written = writeln!(output, "{}", serde_json::json!(event));
        written.map_err(|error| Failure::Other(format!("nothing can be printed: {error}")))?;
    }
    Ok(())
}

fn store(database: &Database) -> Result<Store, Failure> {
    Ok(database.open()?)
}
