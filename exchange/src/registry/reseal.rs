//! Another key in the place of the operator's: whatever is sealed is sealed anew.

use super::{RegistryError, proof, unreadable};
use crate::{
    audit::{Act, Action, Audit},
    instance::InstanceId,
    seal::Seal,
    store::{Connection, Store, params},
    time::UnixTime,
};

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resealed {
    /// What opens so many instances is sealed with the new key, and the audit's key.
    Anew(usize),
    /// It was sealed with it before; nothing was changed.
    Before,
}

/// Seals everything in `store` with `new` that is sealed with `old`, or nothing.
pub async fn reseal(
    store: &Store,
    (old, new): (Seal, Seal),
    act: &Act,
    now: UnixTime,
) -> Result<Resealed, RegistryError> {
    let act = act.clone();
    store.write(move |connection| reseal_in(connection, (&old, &new), &act, now)).await
}

fn reseal_in(
    connection: &Connection,
    (old, new): (&Seal, &Seal),
    act: &Act,
    now: UnixTime,
) -> Result<Resealed, RegistryError> {
    if !connection.is_alone()? {
        return Err(RegistryError::InUse);
    }
    let known = proof(connection)?.ok_or(RegistryError::NothingSealed)?;
    if new.recognises(&known) {
        return Ok(Resealed::Before);
    }
    if !old.recognises(&known) {
        return Err(RegistryError::OtherSeal);
    }
    let select = "SELECT id, access, sealed_key FROM instances ORDER BY id";
    let rows = connection.query_all(select, &[], |row| {
        Ok((row.get::<String>(0)?, row.get::<String>(1)?, row.get::<Vec<u8>>(2)?))
    })?;
    for (id, kind, sealed) in &rows {
        let id = InstanceId::parse(id).map_err(|problem| unreadable(id, problem))?;
        let access = old.open(&id, kind, sealed).map_err(|e| unreadable(id.as_str(), e))?;
        let update = "UPDATE instances SET sealed_key = ?2 WHERE id = ?1";
        connection.execute(update, params![id.as_str(), new.close(&id, &access)?])?;
    }
    let audit = Audit::reseal(connection, old, new)?;
    connection.execute("UPDATE seal_proof SET sealed = ?1", params![new.proof()?])?;
    let about = format!("{} instances", rows.len());
    audit.record(connection, &act.did(Action::SealRotate).with(about), now)?;
    Ok(Resealed::Anew(rows.len()))
}
