//! The audit: who did what, on whom, why, in which request, and how it ended. Every login, link,
//! change by an admin or at the command line, and refusal of a person is one record.
//!
//! A record is written in the transaction of what it tells of, so neither is there without the
//! other. Records form a chain: each has a keyed hash over itself and the one before it, and the
//! chain's end is kept apart. So a record that was changed, removed, added or moved is found by
//! [`verify`], unless whoever did it has the operator's seal key. A whole database that was put
//! back to an earlier day is found by an [`Anchor`] from then on, which the log has.

mod act;
mod chain;
pub mod export;
#[cfg(test)]
mod property;
mod strangers;
mod verify;

use std::sync::Arc;

use crate::{
    random::{self, NoRandomness},
    seal::{self, Seal},
    store::{Connection, Store, StoreError, params},
    time::UnixTime,
};

pub use act::{Act, Action, Actor, Record};
pub use chain::{Anchor, NotAnAnchor};
use chain::{Keys, NOTHING_BEFORE, Row};
use strangers::Strangers;
pub use verify::{Problem, Verdict, verify};

/// How a record tells that what it is about was done.
pub const OK: &str = "ok";

/// The audit cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// Its key does not open with this seal.
    #[error("the audit's key does not open: {0}")]
    Sealed(#[from] seal::Broken),
    /// No key could be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Adds to the audit; clones add to the same.
#[derive(Clone)]
pub struct Audit {
    keys: Arc<Keys>,
    strangers: Arc<Strangers>,
}

impl Audit {
    /// The audit in `store`, whose key `seal` opens; begun if there is none.
    pub async fn open(store: &Store, seal: &Seal) -> Result<Self, AuditError> {
        let fresh: [u8; chain::KEY_BYTES] = random::bytes()?;
        let sealed = seal.close_audit_key(&fresh)?;
        let sealed = store.write(move |connection| begin(connection, &sealed, &fresh)).await?;
        let key = seal.open_audit_key(&sealed)?;
        Ok(Self::with(&key))
    }

    /// The audit in the database of `connection`, whose key `new` opens from now on, and not `old`.
    pub(crate) fn reseal(
        connection: &Connection,
        old: &Seal,
        new: &Seal,
    ) -> Result<Self, AuditError> {
        let known = "SELECT sealed_key FROM audit_head";
        let known: Option<Vec<u8>> = connection.query_optional(known, &[], |row| row.get(0))?;
        let key = old.open_audit_key(&known.ok_or(StoreError::AuditBroken)?)?;
        let sealed = new.close_audit_key(&key)?;
        connection.execute("UPDATE audit_head SET sealed_key = ?1", params![sealed])?;
        Ok(Self::with(&key))
    }

    fn with(key: &[u8]) -> Self {
        Self { keys: Arc::new(Keys::new(key)), strangers: Arc::default() }
    }

    /// Adds `record`, in the transaction that `connection` is in.
    pub fn record(
        &self,
        connection: &Connection,
        record: &Record,
        now: UnixTime,
    ) -> Result<(), StoreError> {
        let head = self.head_in(connection)?;
        let row = Row::new(head.seq.saturating_add(1), now, record);
        let hash = self.keys.hash(&row, &head.hash);
        row.insert(connection, &hash)?;
        let head = Anchor { seq: row.seq, hash };
        let proof = self.keys.proof(&head);
        let update = "UPDATE audit_head SET seq = ?1, hash = ?2, proof = ?3";
        connection.execute(update, params![head.seq, head.hash, proof])?;
        Ok(())
    }

    /// Adds `record` in a transaction of its own.
    pub async fn write(&self, store: &Store, record: Record) -> Result<(), StoreError> {
        let audit = self.clone();
        let now = UnixTime::now();
        store.write(move |connection| audit.record(connection, &record, now)).await
    }

    /// Adds a refusal. Of those of strangers, whom no assertion vouches for, only so many a minute
    /// are added: they must not be able to fill the disk.
    pub async fn refused(&self, store: &Store, record: Record) -> Result<(), StoreError> {
        if record.by_a_stranger() && !self.strangers.admit(UnixTime::now()) {
            return Ok(());
        }
        self.write(store, record).await
    }

    /// The chain's end.
    pub async fn head(&self, store: &Store) -> Result<Anchor, StoreError> {
        let audit = self.clone();
        store.read(move |connection| audit.head_in(connection)).await
    }

    /// The chain's end, if it is the one that was written: what is missing there must not be
    /// covered up by what is added.
    fn head_in(&self, connection: &Connection) -> Result<Anchor, StoreError> {
        let select = "SELECT seq, hash, proof FROM audit_head";
        let head = connection.query_optional(select, &[], |row| {
            Ok((Anchor { seq: row.get(0)?, hash: row.get(1)? }, row.get::<Vec<u8>>(2)?))
        })?;
        let (head, proof) = head.ok_or(StoreError::AuditBroken)?;
        if self.keys.proves(&head, &proof) { Ok(head) } else { Err(StoreError::AuditBroken) }
    }
}

/// The sealed key of the audit: `sealed`, which is `key`, if it begins now.
fn begin(connection: &Connection, sealed: &[u8], key: &[u8]) -> Result<Vec<u8>, StoreError> {
    let known = "SELECT sealed_key FROM audit_head";
    if let Some(known) = connection.query_optional(known, &[], |row| row.get(0))? {
        return Ok(known);
    }
    // Records without an end: somebody took the end away.
    if connection.query_row("SELECT EXISTS (SELECT 1 FROM audit)", &[], |row| row.get(0))? {
        return Err(StoreError::AuditBroken);
    }
    let head = Anchor { seq: 0, hash: NOTHING_BEFORE.to_vec() };
    let proof = Keys::new(key).proof(&head);
    connection.execute(
        "INSERT INTO audit_head (one, sealed_key, seq, hash, proof) VALUES (1, ?1, ?2, ?3, ?4)",
        params![sealed, head.seq, head.hash, proof],
    )?;
    Ok(sealed.to_vec())
}
