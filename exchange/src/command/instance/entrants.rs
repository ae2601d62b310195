//! `kombi-exchange instance admit` and `dismiss`: who may enter besides the owner.

use clap::Args;

use super::{id, registry};
use crate::{
    audit::Act,
    command::Failure,
    database::Database,
    entrant::{Entrant, EntryRole},
    instance::Subject,
    time::UnixTime,
};

/// Flags of `instance admit` and `instance dismiss`.
#[derive(Debug, Args)]
pub struct EntrantArgs {
    /// The instance's id
    #[arg(long)]
    pub id: String,
    /// Who
    #[command(flatten)]
    pub who: Who,
}

/// One of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Who {
    /// A person: the `sub` that Zitadel knows them by
    #[arg(long, value_name = "SUB")]
    pub member: Option<String>,
    /// Everybody to whom this organisation (by its id in Zitadel) has granted this role
    #[arg(long, value_name = "ROLE@ORGANISATION")]
    pub role: Option<String>,
}

impl Who {
    fn parse(&self) -> Result<Entrant, Failure> {
        // One of the two is there; clap sees to it.
        match (&self.member, &self.role) {
            (Some(member), _) => Subject::parse(member)
                .map(Entrant::Member)
                .map_err(|unfit| Failure::Other(format!("--member: {unfit}"))),
            (None, role) => EntryRole::parse(role.as_deref().unwrap_or_default())
                .map(Entrant::Role)
                .map_err(|unfit| Failure::Other(format!("--role: {unfit}"))),
        }
    }
}

/// Lets somebody into an instance.
pub(super) async fn admit(args: &EntrantArgs, database: &Database) -> Result<(), Failure> {
    let (id, entrant, act) = (id(&args.id)?, args.who.parse()?, Act::at_the_command_line());
    let said = entrant.to_string();
    let registry = registry(database).await?;
    if registry.admit(&id, entrant, &act, UnixTime::now()).await? {
        println!("The {said} may enter {id}.");
    } else {
        println!("The {said} could enter {id} already.");
    }
    Ok(())
}

/// Lets somebody into an instance no more.
pub(super) async fn dismiss(args: &EntrantArgs, database: &Database) -> Result<(), Failure> {
    let (id, entrant, act) = (id(&args.id)?, args.who.parse()?, Act::at_the_command_line());
    let said = entrant.to_string();
    let registry = registry(database).await?;
    if registry.dismiss(&id, entrant, &act, UnixTime::now()).await? {
        println!("The {said} may not enter {id}; a running exchange ends their sessions there.");
    } else {
        println!("The {said} could not enter {id}.");
    }
    Ok(())
}
