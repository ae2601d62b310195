//! Assertions that were accepted once and never will be again.

use std::time::Duration;

use crate::{
    store::{Connection, Store, StoreError, params},
    time::UnixTime,
};

/// How much longer than it could be valid a spent `jti` is kept, should the clock be set back.
const MARGIN: Duration = Duration::from_secs(600);

/// Spends `jti`, as part of a transaction; whether this was the first time. The assertion it belongs
/// to cannot be valid after `valid_until`.
pub fn spend(
    connection: &Connection,
    jti: &str,
    valid_until: UnixTime,
) -> Result<bool, StoreError> {
    let spend = "INSERT INTO spent_jti (jti, keep_until) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    let keep_until = valid_until.plus(MARGIN).as_sql();
    Ok(connection.execute(spend, params![jti, keep_until])? == 1)
}

/// Writes the row that belongs to no assertion, as none has an empty `jti`: it tells whether writing
/// works, and is swept with the others.
pub fn touch(connection: &Connection) -> Result<(), StoreError> {
    let touch = "INSERT INTO spent_jti (jti, keep_until) VALUES ('', 0)
                 ON CONFLICT (jti) DO UPDATE SET keep_until = 1 - spent_jti.keep_until";
    connection.execute(touch, &[])?;
    Ok(())
}

/// Forgets what is too old to matter; how much that was.
pub async fn forget(store: &Store, now: UnixTime) -> Result<usize, StoreError> {
    let now = now.as_sql();
    store
        .write(move |connection| {
            connection.execute("DELETE FROM spent_jti WHERE keep_until < ?1", params![now])
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_jti_is_spent_once_and_forgotten_when_it_cannot_matter() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("t.db")).unwrap();
        let until = UnixTime::from_secs(1000);
        let spend = || store.write(move |connection| spend(connection, "a", until));
        assert!(spend().await.unwrap());
        assert!(!spend().await.unwrap());
        assert_eq!(forget(&store, until.plus(MARGIN)).await.unwrap(), 0);
        assert!(!spend().await.unwrap());
        let late = until.plus(MARGIN).plus(Duration::from_secs(1));
        assert_eq!(forget(&store, late).await.unwrap(), 1);
    }
}
