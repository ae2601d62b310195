//! The registry of instances, as the command line has it. Only the command line lets an instance
//! be at a private address: who may reach the portal is not who may open the operator's network.

use std::collections::BTreeSet;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

use super::{Admin, parse, place::Deed, reason, unfit};
use crate::{
    access::{Access, HookKey, Superuser},
    address::Reach,
    audit::{Act, Action},
    connector::Connector,
    entrant::{Entrant, EntryRole},
    instance::{InstanceId, InstanceUrl, PageUrl, Subject},
    refusal::Refusal,
    registration::{self, RegistrationError},
    registry::{self, NewInstance, RegistryError},
    reply,
    time::UnixTime,
};
use kombi_spec::code::Code;

/// A new instance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    id: String,
    url: String,
    owner: String,
    #[serde(default)]
    members: Vec<String>,
    /// Whoever has one of these may enter, too.
    #[serde(default)]
    roles: Vec<String>,
    /// Its own page, to which a login may be handed.
    page: Option<String>,
    /// Through the hook without one.
    superuser: Option<Superuser>,
    reason: String,
}

/// Something else opens an instance from now on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacement {
    superuser: Option<Superuser>,
    reason: String,
}

/// Somebody may enter from now on, or no more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    member: Option<String>,
    role: Option<String>,
    reason: String,
}

/// Why something is done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Why {
    pub(super) reason: String,
}

/// What opens an instance, to be set in its environment; told once.
#[derive(Serialize)]
struct Opened<'a> {
    id: &'a str,
    access: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl<C: Connector> Admin<C> {
    pub(super) async fn list(&self, act: &Act) -> Result<Response<Full<Bytes>>, Refusal> {
        let listed = registry::list(&self.store).await.map_err(Refusal::from)?;
        self.written(act.did(Action::InstanceList)).await?;
        reply::json(&listed)
    }

    pub(super) async fn add(
        &self,
        body: &[u8],
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let addition: Addition = parse(body)?;
        let act = act.because(reason(addition.reason)?);
        let page = addition.page.map(|page| PageUrl::parse(&page, Reach::Public));
        let members = addition.members.iter().map(|member| Subject::parse(member));
        let roles = addition.roles.iter().map(|role| EntryRole::parse(role));
        let new = NewInstance {
            id: InstanceId::parse(&addition.id).map_err(unfit("id"))?,
            url: InstanceUrl::parse(&addition.url, Reach::Public).map_err(unfit("url"))?,
            owner: Subject::parse(&addition.owner).map_err(unfit("owner"))?,
            members: members.collect::<Result<BTreeSet<_>, _>>().map_err(unfit("members"))?,
            roles: roles.collect::<Result<BTreeSet<_>, _>>().map_err(unfit("roles"))?,
            page: page.transpose().map_err(unfit("page"))?,
            access: access(addition.superuser)?,
        };
        let opened = opened(&new.id, &new.access)?;
        let Entered { registry, connector } = self.entered();
        registration::add(registry, connector, new, &act).await?;
        let mut response = opened;
        *response.status_mut() = StatusCode::CREATED;
        Ok(response)
    }

    pub(super) async fn about_instance(
        &self,
        id: &InstanceId,
        deed: Deed,
        body: &[u8],
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Entered { registry, connector } = self.entered();
        match deed {
            Deed::Check => {
                let findings = registration::check(registry, connector, id).await?;
                let wrong = findings.iter().find(|finding| !finding.ok);
                let detail = wrong.map_or("as it should be", |wrong| wrong.look.as_str());
                self.written(act.did(Action::InstanceCheck).at(id).with(detail)).await?;
                reply::json(&findings)
            }
            Deed::RotateKey => {
                let replacement: Replacement = parse(body)?;
                let act = act.because(reason(replacement.reason)?);
                let access = access(replacement.superuser)?;
                registration::replace_access(registry, connector, id, &access, &act).await?;
                opened(id, &access)
            }
            Deed::Admit => {
                let (entrant, act) = entrant(parse(body)?, act)?;
                let changed = registry.admit(id, entrant, &act, UnixTime::now()).await?;
                reply::json(&serde_json::json!({"id": id.as_str(), "changed": changed}))
            }
            Deed::Dismiss => {
                let (entrant, act) = entrant(parse(body)?, act)?;
                let changed = registry.dismiss(id, entrant, &act, UnixTime::now()).await?;
                self.news.tell();
                reply::json(&serde_json::json!({"id": id.as_str(), "changed": changed}))
            }
            Deed::Remove => {
                let why: Why = parse(body)?;
                let act = act.because(reason(why.reason)?);
                registry.remove(id, &act, UnixTime::now()).await?;
                reply::json(&serde_json::json!({"id": id.as_str()}))
            }
        }
    }

    fn entered(&self) -> Entered<'_, C> {
        Entered { registry: &self.entrance.registry, connector: &self.entrance.connector }
    }
}

/// What stands behind the entrance.
struct Entered<'a, C> {
    registry: &'a registry::Registry,
    connector: &'a C,
}

/// Who is meant, and `act` with its reason.
fn entrant(entry: Entry, act: Act) -> Result<(Entrant, Act), Refusal> {
    let act = act.because(reason(entry.reason)?);
    let entrant = match (entry.member, entry.role) {
        (Some(member), None) => Entrant::Member(Subject::parse(&member).map_err(unfit("member"))?),
        (None, Some(role)) => Entrant::Role(EntryRole::parse(&role).map_err(unfit("role"))?),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Refusal::new(Code::BodyMalformed, "expected either member or role"));
        }
    };
    Ok((entrant, act))
}

/// Access as this superuser, or else through the hook with a new key.
fn access(superuser: Option<Superuser>) -> Result<Access, Refusal> {
    match superuser {
        Some(superuser) => Ok(Access::Superuser(superuser)),
        None => HookKey::random().map(Access::Hook).map_err(Refusal::internal),
    }
}

fn opened(id: &InstanceId, access: &Access) -> Result<Response<Full<Bytes>>, Refusal> {
    let key = match access {
        Access::Hook(key) => Some(key.to_text()),
        Access::Superuser(_) => None,
    };
    reply::json(&Opened { id: id.as_str(), access: access.kind(), key })
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Exists(id) => {
                Self::new(Code::InstanceExists, format!("there is an instance {id}"))
            }
            RegistryError::Missing(id) => {
                Self::new(Code::InstanceUnknown, format!("there is no instance {id}"))
            }
            RegistryError::Store(error) => Self::from(error),
            other => Self::internal(other),
        }
    }
}

impl From<RegistrationError> for Refusal {
    fn from(error: RegistrationError) -> Self {
        match error {
            RegistrationError::Registry(error) => Self::from(error),
            RegistrationError::NotReady { error, .. } => Self::from(error),
        }
    }
}
