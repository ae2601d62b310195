//! `kombi-exchange usage`. All of it works on the database, beside a running exchange or without
//! one.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    path::Path,
};

use crate::{
    cli::{Failure, OutboxArgs, ReplayArgs, ReportArgs, ReportForm},
    config,
    data_dir::DataDir,
    server::StartError,
    store::Store,
    time::UnixTime,
    usage::{Question, outbox, replay, report},
};

/// Settles what a gateway's log has and the ledger has not.
pub async fn replay(args: &ReplayArgs, data: &Path) -> Result<(), Failure> {
    let keys = config::gate_keys(args.assertion_keys.as_deref())?;
    let settings = config::ledger(&args.terms)?;
    let store = store(data)?;
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
pub async fn report(args: &ReportArgs, data: &Path) -> Result<(), Failure> {
    let question = Question::new(UnixTime::now())
        .with(args.pairs())
        .map_err(|unclear| Failure::Other(format!("--{unclear}")))?;
    let answer = store(data)?.read_long(move |connection| question.answer(connection)).await;
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
pub async fn outbox(args: &OutboxArgs, data: &Path) -> Result<(), Failure> {
    let (after, most) = (args.after, args.limit);
    let store = store(data)?;
    let read = store.read_long(move |connection| outbox::events(connection, after, most));
    let events = read.await.map_err(StartError::from)?;
    let mut output = io::stdout().lock();
    for event in events {
        let written = writeln!(output, "{}", serde_json::json!(event));
        written.map_err(|error| Failure::Other(format!("nothing can be printed: {error}")))?;
    }
    Ok(())
}

fn store(data: &Path) -> Result<Store, Failure> {
    let database = DataDir::open(data)?.database();
    Ok(Store::open(&database).map_err(StartError::from)?)
}
