//! The registry: which instances there are and who may enter each.

mod entrants;
mod listed;
mod reseal;

use std::collections::BTreeSet;

use crate::{
    access::Access,
    address::Reach,
    audit::{Act, Action, Audit, AuditError},
    entrant::{Entrant, EntryRole},
    instance::{Instance, InstanceId, InstanceUrl, PageUrl, Subject, Unfit},
    random::NoRandomness,
    seal::Seal,
    store::{Connection, Store, StoreError, params},
    time::UnixTime,
};

pub use listed::{Listed, count, list};
pub use reseal::{Resealed, reseal};

/// The registry cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// There is an instance with this id.
    #[error("the instance {0} is already registered")]
    Exists(InstanceId),
    /// There is none.
    #[error("no instance {0} is registered")]
    Missing(InstanceId),
    /// Its row cannot be read.
    #[error("registry: the row of the instance {id} cannot be read: {problem}")]
    Unreadable {
        /// The instance.
        id: String,
        /// What is wrong with it.
        problem: String,
    },
    /// This is not the key that the secrets in the database are sealed with.
    #[error(
        "KOMBI_EXCHANGE_SEAL_KEY: expected the key that the secrets in this data directory are \
         sealed with, found another"
    )]
    OtherSeal,
    /// Somebody works on the database who must not.
    #[error("the database is in use by another `kombi-exchange serve`, or another command")]
    InUse,
    /// The database is a new one.
    #[error("expected the database of an exchange, found that nothing in it is sealed yet")]
    NothingSealed,
    /// The audit cannot be kept, so nothing is changed.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// No key could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The page is not one that a login can be handed to.
    #[error("--page: {0}")]
    Page(#[from] Unfit),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an operator says of a new instance.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Its name.
    pub id: InstanceId,
    /// Where it is.
    pub url: InstanceUrl,
    /// Who owns it.
    pub owner: Subject,
    /// Who else may enter.
    pub members: BTreeSet<Subject>,
    /// And whoever has one of these.
    pub roles: BTreeSet<EntryRole>,
    /// Its own page, to which a login may be handed.
    pub page: Option<PageUrl>,
    /// How the exchange gets in.
    pub access: Access,
}

/// The registry.
pub struct Registry {
    store: Store,
    seal: Seal,
    /// Of that seal, as the database had it when this was opened.
    proof: Vec<u8>,
    audit: Audit,
}

impl Registry {
    /// The registry in `store`, whose keys `seal` opens.
    pub async fn open(store: Store, seal: Seal) -> Result<Self, RegistryError> {
        let fresh = seal.proof()?;
        let proof = store.write(|connection| first_proof(connection, fresh)).await?;
        if !seal.recognises(&proof) {
            return Err(RegistryError::OtherSeal);
        }
        let audit = Audit::open(&store, &seal).await?;
        Ok(Self { store, seal, proof, audit })
    }

    /// The audit that every change is in.
    #[must_use]
    pub const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Registers an instance.
    pub async fn add(
        &self,
        new: NewInstance,
        act: &Act,
        now: UnixTime,
    ) -> Result<(), RegistryError> {
        let sealed = self.seal.close(&new.id, &new.access)?;
        let about = format!("{} by {}", new.url, new.access.kind());
        let record = act.did(Action::InstanceAdd).at(&new.id).on(new.owner.as_str()).with(about);
        let (audit, ours) = (self.audit.clone(), self.proof.clone());
        let add = move |connection: &Connection| {
            must_be_sealed_as(connection, &ours)?;
            insert(connection, new, &sealed, now)?;
            Ok(audit.record(connection, &record, now)?)
        };
        self.store.write(add).await
    }

    /// Replaces how the exchange gets into an instance. Logins under way may still use the old
    /// way.
    pub async fn replace_access(
        &self,
        id: &InstanceId,
        access: &Access,
        act: &Act,
        now: UnixTime,
    ) -> Result<(), RegistryError> {
        let sealed = self.seal.close(id, access)?;
        let record = act.did(Action::InstanceRotateKey).at(id).with(access.kind());
        let (audit, ours) = (self.audit.clone(), self.proof.clone());
        let (id, kind) = (id.clone(), access.kind());
        let update = "UPDATE instances SET access = ?2, sealed_key = ?3 WHERE id = ?1";
        self.store
            .write(move |connection| {
                must_be_sealed_as(connection, &ours)?;
                let rows = connection.execute(update, params![id.as_str(), kind, sealed])?;
                changed(id.clone(), rows)?;
                Ok(audit.record(connection, &record, now)?)
            })
            .await
    }

    /// Changes the page of an instance to which a login may be handed.
    pub async fn set_page(
        &self,
        id: &InstanceId,
        page: Option<String>,
        act: &Act,
        now: UnixTime,
    ) -> Result<(), RegistryError> {
        let (id, audit) = (id.clone(), self.audit.clone());
        let record = act.did(Action::InstancePage).at(&id).with(page.as_deref().unwrap_or("none"));
        let find = "SELECT allow_private FROM instances WHERE id = ?1";
        let update = "UPDATE instances SET page = ?2 WHERE id = ?1";
        let change = move |connection: &Connection| {
            let private =
                connection.query_optional(find, params![id.as_str()], |row| row.get(0))?;
            let reach = match private {
                None => return Err(RegistryError::Missing(id)),
                Some(true) => Reach::Private,
                Some(false) => Reach::Public,
            };
            let page = page.as_deref().map(|page| PageUrl::parse(page, reach)).transpose()?;
            let page = page.as_ref().map(ToString::to_string);
            connection.execute(update, params![id.as_str(), page])?;
            Ok(audit.record(connection, &record, now)?)
        };
        self.store.write(change).await
    }

    /// Removes an instance with all that is known of who may enter and who they are there.
    /// Nothing is changed in the instance itself.
    pub async fn remove(
        &self,
        id: &InstanceId,
        act: &Act,
        now: UnixTime,
    ) -> Result<(), RegistryError> {
        let (id, audit) = (id.clone(), self.audit.clone());
        let record = act.did(Action::InstanceRemove).at(&id);
        let delete = "DELETE FROM instances WHERE id = ?1";
        let gone = move |connection: &Connection| {
            let removed = connection.execute(delete, params![id.as_str()])?;
            changed(id, removed)?;
            Ok(audit.record(connection, &record, now)?)
        };
        self.store.write(gone).await
    }

    /// The instance with this id, if there is one.
    pub async fn find(&self, id: &InstanceId) -> Result<Option<Instance>, RegistryError> {
        let wanted = id.clone();
        let found = self.store.read(move |connection| listed::select(connection, &wanted)).await?;
        let Some((row, sealed)) = found else { return Ok(None) };
        let reach = if row.allow_private { Reach::Private } else { Reach::Public };
        let (members, roles) = entrants::parsed(&row.id, &row.members, &row.roles)?;
        let page = row.page.as_deref().map(|page| PageUrl::parse(page, reach)).transpose();
        Ok(Some(Instance {
            id: id.clone(),
            url: InstanceUrl::parse(&row.url, reach).map_err(|e| unreadable(&row.id, e))?,
            owner: Subject::parse(&row.owner).map_err(|e| unreadable(&row.id, e))?,
            members,
            roles,
            page: page.map_err(|e| unreadable(&row.id, e))?,
            access: self.seal.open(id, &row.access, &sealed).map_err(|e| unreadable(&row.id, e))?,
        }))
    }
}

/// The proof of the seal that this database was first used with: `fresh` if that is now.
fn first_proof(connection: &Connection, fresh: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    connection.execute(
        "INSERT INTO seal_proof (one, sealed) VALUES (1, ?1) ON CONFLICT DO NOTHING",
        params![fresh],
    )?;
    proof(connection)?.ok_or(StoreError::NoRow)
}

/// The proof of the seal that the database is sealed with, if there is one.
fn proof(connection: &Connection) -> Result<Option<Vec<u8>>, StoreError> {
    connection.query_optional("SELECT sealed FROM seal_proof", &[], |row| row.get(0))
}

/// What was sealed by whoever saw the proof `ours` still opens: nobody has rotated keys since.
fn must_be_sealed_as(connection: &Connection, ours: &[u8]) -> Result<(), RegistryError> {
    if proof(connection)?.as_deref() == Some(ours) { Ok(()) } else { Err(RegistryError::OtherSeal) }
}

fn insert(
    connection: &Connection,
    new: NewInstance,
    sealed: &[u8],
    now: UnixTime,
) -> Result<(), RegistryError> {
    let url = new.url.to_string();
    let private = new.url.reach() == Reach::Private;
    let id = new.id.as_str();
    let inserted = connection.execute(
        "INSERT INTO instances (id, url, allow_private, owner, access, sealed_key, added_at, page)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (id) DO NOTHING",
        params![
            id,
            url,
            private,
            new.owner.as_str(),
            new.access.kind(),
            sealed,
            now.as_sql(),
            new.page.as_ref().map(ToString::to_string),
        ],
    )?;
    if inserted == 0 {
        return Err(RegistryError::Exists(new.id));
    }
    let members = new.members.into_iter().map(Entrant::Member);
    for entrant in members.chain(new.roles.into_iter().map(Entrant::Role)) {
        entrants::insert(connection, id, &entrant)?;
    }
    Ok(())
}

/// Whether a change of the row of `id` found one.
fn changed(id: InstanceId, rows: usize) -> Result<(), RegistryError> {
    if rows == 0 { Err(RegistryError::Missing(id)) } else { Ok(()) }
}

fn unreadable(id: &str, problem: impl std::fmt::Display) -> RegistryError {
    RegistryError::Unreadable { id: id.to_owned(), problem: problem.to_string() }
}
