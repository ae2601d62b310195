//! Registering an instance and replacing what opens it, at the command line or by an admin: a
//! superuser is tried first, and adds to the instance what it needs there.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    access::Access,
    audit::Act,
    connector::{Connector, ConnectorError, Finding, Prepared},
    instance::{Instance, InstanceId, InstanceUrl},
    random,
    registry::{NewInstance, Registry, RegistryError},
    time::UnixTime,
};

/// How long an instance may take to be made ready, or to be looked at.
const PATIENCE: Duration = Duration::from_secs(8);

/// Nothing was changed in the registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistrationError {
    /// The registry says why.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The instance is not ready.
    #[error("nothing was changed here: {url}: {error}")]
    NotReady {
        /// Where it is.
        url: InstanceUrl,
        /// Why not.
        error: ConnectorError,
    },
}

/// Registers an instance, once it is ready.
pub async fn add(
    registry: &Registry,
    connector: &impl Connector,
    new: NewInstance,
    act: &Act,
) -> Result<Option<Prepared>, RegistrationError> {
    let prepared = prepare(connector, &new.url, &new.access).await?;
    registry.add(new, act, UnixTime::now()).await?;
    Ok(prepared)
}

/// Replaces what opens the instance `id`, once that does.
pub async fn replace_access(
    registry: &Registry,
    connector: &impl Connector,
    id: &InstanceId,
    access: &Access,
    act: &Act,
) -> Result<Option<Prepared>, RegistrationError> {
    let instance = find(registry, id).await?;
    let prepared = prepare(connector, &instance.url, access).await?;
    registry.replace_access(id, access, act, UnixTime::now()).await?;
    Ok(prepared)
}

/// Looks whether the instance `id` can be entered.
pub async fn check(
    registry: &Registry,
    connector: &impl Connector,
    id: &InstanceId,
) -> Result<Vec<Finding>, RegistryError> {
    let instance = find(registry, id).await?;
    let deadline = Instant::now() + PATIENCE;
    Ok(connector.check(&instance, &random::request_id(), deadline).await)
}

/// The instance `id`, which must be there.
pub async fn find(registry: &Registry, id: &InstanceId) -> Result<Instance, RegistryError> {
    let found = registry.find(id).await?;
    found.ok_or_else(|| RegistryError::Missing(id.clone()))
}

async fn prepare(
    connector: &impl Connector,
    url: &InstanceUrl,
    access: &Access,
) -> Result<Option<Prepared>, RegistrationError> {
    let Access::Superuser(superuser) = access else { return Ok(None) };
    let deadline = Instant::now() + PATIENCE;
    match connector.prepare(url, superuser, deadline).await {
        Ok(prepared) => Ok(Some(prepared)),
        Err(error) => Err(RegistrationError::NotReady { url: url.clone(), error }),
    }
}
