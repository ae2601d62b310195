//! Revocations: sessions in instances that are to end. What was asked for is on disk, and is tried
//! until the instance has said that it is done, whatever happens in between.

use std::sync::Arc;

use crate::{
    audit::{Act, Action, Actor},
    connector::Connector,
    entrance::Entrance,
    errands::{self, Errand},
    instance::{InstanceId, Subject},
    random,
    store::{Connection, Store, StoreError, params},
    time::UnixTime,
};

pub use crate::errands::News;

/// What sees to it that sessions end.
pub struct Revocations<C> {
    store: Store,
    entrance: Arc<Entrance<C>>,
    news: News,
}

/// One that is to be done.
pub(crate) struct Due {
    instance: InstanceId,
    subject: Subject,
    reason: String,
    since: UnixTime,
    asked: i64,
    failures: u32,
}

/// Asks, as part of a transaction, for the end of every session of `subject` in `instance`. Tell
/// the [`News`] after it.
pub fn ask(
    connection: &Connection,
    instance: &InstanceId,
    subject: &Subject,
    reason: &str,
    now: UnixTime,
) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO revocations (instance_id, sub, reason, since, asked, failures, next_at)
         VALUES (?1, ?2, ?3, ?4, 1, 0, ?4)
         ON CONFLICT (instance_id, sub) DO UPDATE SET
             reason = excluded.reason, asked = revocations.asked + 1, failures = 0,
             next_at = excluded.next_at",
        params![instance.as_str(), subject.as_str(), reason, now.as_sql()],
    )?;
    Ok(())
}

/// Asks for the same wherever `subject` may have a session: where they are linked, and where they
/// may enter, should a link not be known here. The ids of these instances.
pub fn ask_everywhere(
    connection: &Connection,
    subject: &Subject,
    reason: &str,
    now: UnixTime,
) -> Result<Vec<String>, StoreError> {
    let everywhere = "SELECT instance_id FROM links WHERE sub = ?1 AND until IS NULL
                      UNION SELECT instance_id FROM members WHERE sub = ?1
                      UNION SELECT id FROM instances WHERE owner = ?1 ORDER BY 1";
    let instances: Vec<String> =
        connection.query_all(everywhere, params![subject.as_str()], |row| row.get(0))?;
    for instance in &instances {
        if let Ok(instance) = InstanceId::parse(instance) {
            ask(connection, &instance, subject, reason, now)?;
        }
    }
    Ok(instances)
}

/// How many are not done yet.
pub async fn count(store: &Store) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM revocations";
    store.read(move |connection| connection.query_row(count, &[], |row| row.get(0))).await
}

impl<C: Connector> Revocations<C> {
    /// Those in `store`, in instances behind `entrance`.
    #[must_use]
    pub fn new(store: Store, entrance: Arc<Entrance<C>>) -> Self {
        let news = entrance.endings.clone();
        Self { store, entrance, news }
    }

    /// Where to tell that something was asked for.
    #[must_use]
    pub fn news(&self) -> News {
        self.news.clone()
    }

    /// Does what is to be done, for ever.
    pub async fn work(self) {
        let (store, news) = (self.store.clone(), self.news.clone());
        errands::work(self, store, news).await;
    }

    async fn settle(&self, due: &Due, request_id: &str) -> Result<(), StoreError> {
        let (instance, sub) = (due.instance.to_string(), due.subject.to_string());
        let (audit, asked, now) = (self.entrance.audit.clone(), due.asked, UnixTime::now());
        let act = Act::new(Actor::Exchange, request_id).because(&due.reason);
        let ended = act.did(Action::SessionsEnded).at(&due.instance).on(&sub);
        self.store
            .write(move |connection| {
                let settle = "DELETE FROM revocations
                              WHERE instance_id = ?1 AND sub = ?2 AND asked = ?3";
                match connection.execute(settle, params![instance, sub, asked])? {
                    // Asked for again, or another exchange was faster.
                    0 => Ok(()),
                    _ => audit.record(connection, &ended, now),
                }
            })
            .await
    }

    async fn postpone(&self, due: &Due, pause: std::time::Duration) -> Result<(), StoreError> {
        let (instance, sub) = (due.instance.to_string(), due.subject.to_string());
        let (asked, next_at) = (due.asked, UnixTime::now().plus(pause).as_sql());
        self.store
            .write(move |connection| {
                let postpone = "UPDATE revocations SET failures = failures + 1, next_at = ?4
                                WHERE instance_id = ?1 AND sub = ?2 AND asked = ?3";
                connection.execute(postpone, params![instance, sub, asked, next_at])?;
                Ok(())
            })
            .await
    }
}

impl<C: Connector> Errand for Revocations<C> {
    const TABLE: &'static str = "revocations";

    type Due = Due;

    fn due(
        connection: &Connection,
        instance: InstanceId,
        subject: Subject,
    ) -> Result<Due, StoreError> {
        let due = "SELECT reason, since, asked, failures FROM revocations
                   WHERE instance_id = ?1 AND sub = ?2";
        connection.query_row(due, params![instance.as_str(), subject.as_str()], |row| {
            Ok(Due {
                instance: instance.clone(),
                subject: subject.clone(),
                reason: row.get(0)?,
                since: UnixTime::from_sql(row.get(1)?),
                asked: row.get(2)?,
                failures: row.get(3)?,
            })
        })
    }

    async fn attempt(&self, due: Due) {
        let request_id = random::request_id();
        let (instance, sub) = (due.instance.to_string(), due.subject.to_string());
        let lag_s = || UnixTime::now().since(due.since).as_secs();
        let failure = match self.entrance.registry.find(&due.instance).await {
            // Nobody can be logged in to what is not registered any more.
            Ok(None) => None,
            Ok(Some(registered)) => {
                match self.entrance.end_sessions(&registered, &due.subject, &request_id).await {
                    Ok(known) => {
                        let (reason, lag_s) = (&due.reason, lag_s());
                        tracing::info!(
                            request_id,
                            instance,
                            sub,
                            reason,
                            known,
                            lag_s,
                            "sessions ended"
                        );
                        None
                    }
                    Err(error) => Some(error.to_string()),
                }
            }
            Err(error) => Some(error.to_string()),
        };
        let recorded = match &failure {
            None => self.settle(&due, &request_id).await,
            Some(error) => {
                let pause = errands::pause_after(due.failures);
                let (again_in_s, lag_s) = (pause.as_secs(), lag_s());
                tracing::warn!(
                    request_id,
                    instance,
                    sub,
                    error,
                    again_in_s,
                    lag_s,
                    "sessions not ended yet"
                );
                self.postpone(&due, pause).await
            }
        };
        if let Err(error) = recorded {
            tracing::error!(request_id, %error, "what became of a revocation is not recorded");
        }
    }
}
