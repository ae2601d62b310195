//! `kombi-exchange instance …`: all of it works on the database, beside a running exchange or
//! without one.

mod check;
mod entrants;

use std::collections::BTreeSet;

use clap::{Args, Subcommand};

use crate::{
    access::{Access, HookKey, Superuser},
    address::Reach,
    audit::Act,
    command::Failure,
    config,
    connector::{Doors, Prepared},
    database::Database,
    entrant::EntryRole,
    instance::{InstanceId, InstanceUrl, PageUrl, Subject, Unfit},
    outbound::{Outbound, system_lookup},
    registration,
    registry::{self, Listed, NewInstance, Registry, RegistryError},
    server::StartError,
    store::Store,
    time::UnixTime,
};

pub use check::CheckArgs;
pub use entrants::EntrantArgs;

/// What there is to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Register an instance and print the key for its hook, once
    Add(AddArgs),
    /// Look whether an instance can be entered, and say what would mend it
    Check(CheckArgs),
    /// Replace what opens an instance: a new key for its hook, or another superuser
    RotateKey(RotateArgs),
    /// Say which page of an instance a login may be handed to
    Page(PageArgs),
    /// Let somebody into an instance: a member, or everybody with a role of an organisation
    Admit(EntrantArgs),
    /// Let somebody into an instance no more, and end their sessions there
    Dismiss(EntrantArgs),
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
    /// Everybody to whom this organisation has granted this role may enter, too; may be given more
    /// than once
    #[arg(long = "role", value_name = "ROLE@ORGANISATION")]
    pub roles: Vec<String>,
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

/// Does what `command` says.
pub async fn run(command: &Command, database: &Database) -> Result<(), Failure> {
    match command {
        Command::Add(args) => add(args, database).await,
        Command::Check(args) => check::check(args, database).await,
        Command::RotateKey(args) => rotate_key(args, database).await,
        Command::Page(args) => page(args, database).await,
        Command::Admit(args) => entrants::admit(args, database).await,
        Command::Dismiss(args) => entrants::dismiss(args, database).await,
        Command::Remove { id } => remove(id, database).await,
        Command::List { json } => list(*json, database).await,
    }
}

/// Where an instance finds its own id.
const ID: &str = "KOMBISPHERE_INSTANCE_ID";

/// Where an instance finds the key for its hook.
const KEY: &str = "KOMBISPHERE_SSO_KEY";

/// Registers an instance.
async fn add(args: &AddArgs, database: &Database) -> Result<(), Failure> {
    let id = id(&args.id)?;
    let wrong = |flag: &'static str| move |unfit: Unfit| Failure::Other(format!("{flag}: {unfit}"));
    let reach = if args.allow_private { Reach::Private } else { Reach::Public };
    let members = args.members.iter().map(|member| Subject::parse(member));
    let roles = args.roles.iter().map(|role| EntryRole::parse(role));
    let page = args.page.as_deref().map(|page| PageUrl::parse(page, reach)).transpose();
    let access = access(args.superuser.as_deref())?;
    let new = NewInstance {
        id: id.clone(),
        url: InstanceUrl::parse(&args.url, reach).map_err(wrong("--url"))?,
        owner: Subject::parse(&args.owner).map_err(wrong("--owner"))?,
        members: members.collect::<Result<BTreeSet<_>, _>>().map_err(wrong("--member"))?,
        roles: roles.collect::<Result<BTreeSet<_>, _>>().map_err(wrong("--role"))?,
        page: page.map_err(wrong("--page"))?,
        access: access.clone(),
    };
    let url = new.url.to_string();
    let (registry, act) = (registry(database).await?, Act::at_the_command_line());
    tell(registration::add(&registry, &doors()?, new, &act).await?);
    if args.json {
        println!("{}", shown(&id, &access, Some(&url)));
    } else {
        println!("Registered {id} at {url}.");
        explain(&id, &access);
    }
    Ok(())
}

/// Tells what was added to an instance for a superuser.
fn tell(prepared: Option<Prepared>) {
    if prepared == Some(Prepared::Added) {
        eprintln!(
            "Added to users what was missing of zitadel_sub, its index, feature_flags, and the \
             rules that keep users from setting their flags."
        );
    }
}

/// Replaces what opens an instance.
async fn rotate_key(args: &RotateArgs, database: &Database) -> Result<(), Failure> {
    let id = id(&args.id)?;
    let access = access(args.superuser.as_deref())?;
    let (registry, act) = (registry(database).await?, Act::at_the_command_line());
    tell(registration::replace_access(&registry, &doors()?, &id, &access, &act).await?);
    if args.json {
        println!("{}", shown(&id, &access, None));
    } else {
        println!("What opened {id} until now opens it no more.");
        explain(&id, &access);
    }
    Ok(())
}

/// Says which page of an instance a login may be handed to.
async fn page(args: &PageArgs, database: &Database) -> Result<(), Failure> {
    let id = id(&args.id)?;
    let act = Act::at_the_command_line();
    registry(database).await?.set_page(&id, args.page.clone(), &act, UnixTime::now()).await?;
    match &args.page {
        Some(page) => println!("Logins may be handed to {page} of {id}."),
        None => println!("Logins are handed to no page of {id}."),
    }
    Ok(())
}

fn doors() -> Result<Doors, Failure> {
    Ok(Doors::new(Outbound::new(system_lookup).map_err(StartError::from)?))
}

/// Removes an instance from the registry.
async fn remove(id_text: &str, database: &Database) -> Result<(), Failure> {
    let id = id(id_text)?;
    let act = Act::at_the_command_line();
    registry(database).await?.remove(&id, &act, UnixTime::now()).await?;
    println!("Removed {id}. The instance itself and its users are as they were.");
    Ok(())
}

fn id(text: &str) -> Result<InstanceId, Failure> {
    InstanceId::parse(text).map_err(|unfit| Failure::Other(format!("--id: {unfit}")))
}

/// Access as the superuser with this e-mail address, or else through the hook with a new key.
fn access(superuser: Option<&str>) -> Result<Access, Failure> {
    let Some(email) = superuser else {
        let key = HookKey::random().map_err(RegistryError::from)?;
        return Ok(Access::Hook(key));
    };
    let password = config::superuser_password()?;
    Ok(Access::Superuser(Superuser { email: email.to_owned(), password }))
}

fn shown(id: &InstanceId, access: &Access, url: Option<&str>) -> serde_json::Value {
    let mut shown = serde_json::json!({"id": id.as_str(), "access": access.kind()});
    if let Some(fields) = shown.as_object_mut() {
        fields.extend(url.map(|url| ("url".to_owned(), url.into())));
        if let Access::Hook(key) = access {
            fields.insert("key".to_owned(), key.to_text().into());
        }
    }
    shown
}

fn explain(id: &InstanceId, access: &Access) {
    match access {
        Access::Hook(key) => {
            println!("Set these in the instance's environment; the key is not shown again:");
            println!("{ID}={id}");
            println!("{KEY}={}", key.to_text());
        }
        Access::Superuser(superuser) => {
            println!("The exchange signs in there as {}.", superuser.email);
        }
    }
}

/// Lists the registered instances.
async fn list(json: bool, database: &Database) -> Result<(), Failure> {
    let instances = registry::list(&store(database)?).await?;
    if json {
        println!("{}", serde_json::json!(instances));
        return Ok(());
    }
    for Listed { id, url, allow_private, access, owner, members, roles, page } in instances {
        let reach = if allow_private { " (may be private)" } else { "" };
        let members = members.into_iter().collect::<Vec<_>>().join(", ");
        let roles = roles.into_iter().map(|role| format!("  role {role}")).collect::<String>();
        let page = page.map(|page| format!("  page {page}")).unwrap_or_default();
        println!("{id}  {url}{reach}  by {access}  owner {owner}  members {members}{roles}{page}");
    }
    Ok(())
}

fn store(database: &Database) -> Result<Store, Failure> {
    Ok(database.open()?)
}

async fn registry(database: &Database) -> Result<Registry, Failure> {
    Ok(Registry::open(store(database)?, config::seal_from_environment()?).await?)
}
