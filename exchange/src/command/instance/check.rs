//! `kombi-exchange instance check`: whether an instance can be entered.

use clap::Args;

use super::{doors, id, registry};
use crate::{command::Failure, connector::Finding, database::Database, registration};

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

/// Looks whether an instance can be entered; an error if not.
pub(super) async fn check(args: &CheckArgs, database: &Database) -> Result<(), Failure> {
    let id = id(&args.id)?;
    let findings = registration::check(&registry(database).await?, &doors()?, &id).await?;
    if args.json {
        println!("{}", serde_json::json!(findings));
    }
    for Finding { look, ok, found, mend } in &findings {
        if !args.json && *ok {
            println!("ok    {}", look.as_str());
        } else if !args.json {
            let (found, mend) = (found.as_deref().unwrap_or_default(), mend.unwrap_or_default());
            println!("WRONG {}: {found}; {mend}", look.as_str());
        }
    }
    if findings.iter().all(|finding| finding.ok) {
        return Ok(());
    }
    Err(Failure::Other(format!("{id} cannot be entered")))
}
