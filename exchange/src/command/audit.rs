//! `kombi-exchange audit`. It works on the database, beside a running exchange or without one.

use std::{io, path::Path};

use crate::{
    audit::{self, Anchor, Verdict, export},
    cli::{AuditExportArgs, AuditForm, AuditVerifyArgs, Failure},
    config,
    data_dir::DataDir,
    registry::Registry,
    server::StartError,
    store::Store,
};

/// Says whether the audit is what was written.
pub async fn verify(args: &AuditVerifyArgs, data: &Path) -> Result<(), Failure> {
    let unfit = |error: audit::NotAnAnchor| Failure::Other(format!("--anchor: {error}"));
    let anchor = args.anchor.as_deref().map(str::parse::<Anchor>).transpose().map_err(unfit)?;
    let (store, registry) = open(data).await?;
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
pub async fn export(args: &AuditExportArgs, data: &Path) -> Result<(), Failure> {
    let form = match args.form {
        AuditForm::Csv => export::Form::Csv,
        AuditForm::Jsonl => export::Form::JsonLines,
    };
    let (store, registry) = open(data).await?;
    let output = io::BufWriter::new(io::stdout());
    let exported = export::export(&store, registry.audit(), args.after, form, output).await;
    exported.map(drop).map_err(|error| Failure::Other(error.to_string()))
}

async fn open(data: &Path) -> Result<(Store, Registry), Failure> {
    let seal = config::seal_from_environment()?;
    let database = DataDir::open(data)?.database();
    let store = Store::open(&database).map_err(StartError::from)?;
    let registry = Registry::open(store.clone(), seal).await?;
    Ok((store, registry))
}
