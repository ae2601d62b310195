//! `kombi-exchange instance add` and `list`. Both work on the database, beside a running
//! exchange or without one.

use std::{collections::BTreeSet, path::Path};

use crate::{
    address::Reach,
    cli::{AddArgs, Failure},
    config,
    data_dir::DataDir,
    instance::{InstanceId, InstanceUrl, Subject, Unfit},
    registry::{self, Listed, NewInstance, Registry},
    server::StartError,
    store::Store,
    time::UnixTime,
};

/// Where an instance finds its own id.
const ID: &str = "KOMBISPHERE_INSTANCE_ID";

/// Where an instance finds the key for its hook.
const KEY: &str = "KOMBISPHERE_SSO_KEY";

/// Registers an instance.
pub async fn add(args: &AddArgs, data: &Path) -> Result<(), Failure> {
    let new = NewInstance::try_from(args)?;
    let (id, url) = (new.id.clone(), new.url.clone());
    let seal = config::seal_from_environment()?;
    let registry = Registry::open(store(data)?, seal).await?;
    let key = registry.add(new, UnixTime::now()).await?.to_text();
    if args.json {
        let added = serde_json::json!({
            "id": id.as_str(), "url": url.to_string(), "key": key,
        });
        println!("{added}");
        return Ok(());
    }
    println!("Registered {id} at {url}.");
    println!("Set these in the instance's environment; the key is not shown again:");
    println!("{ID}={id}");
    println!("{KEY}={key}");
    Ok(())
}

/// Lists the registered instances.
pub async fn list(json: bool, data: &Path) -> Result<(), Failure> {
    let instances = registry::list(&store(data)?).await?;
    if json {
        println!("{}", serde_json::json!(instances));
        return Ok(());
    }
    for Listed { id, url, allow_private, owner, members } in instances {
        let reach = if allow_private { " (may be private)" } else { "" };
        let members = members.into_iter().collect::<Vec<_>>().join(", ");
        println!("{id}  {url}{reach}  owner {owner}  members {members}");
    }
    Ok(())
}

fn store(data: &Path) -> Result<Store, Failure> {
    let database = DataDir::open(data)?.database();
    Ok(Store::open(&database).map_err(StartError::from)?)
}

impl TryFrom<&AddArgs> for NewInstance {
    type Error = Failure;

    fn try_from(args: &AddArgs) -> Result<Self, Failure> {
        let wrong =
            |flag: &'static str| move |unfit: Unfit| Failure::Other(format!("{flag}: {unfit}"));
        let reach = if args.allow_private { Reach::Private } else { Reach::Public };
        let members = args.members.iter().map(|member| Subject::parse(member));
        Ok(Self {
            id: InstanceId::parse(&args.id).map_err(wrong("--id"))?,
            url: InstanceUrl::parse(&args.url, reach).map_err(wrong("--url"))?,
            owner: Subject::parse(&args.owner).map_err(wrong("--owner"))?,
            members: members.collect::<Result<BTreeSet<_>, _>>().map_err(wrong("--member"))?,
        })
    }
}
