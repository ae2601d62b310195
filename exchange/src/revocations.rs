//! Revocations: sessions in instances that are to end. What was asked for is on disk, and is tried
//! until the instance has said that it is done, whatever happens in between.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use tokio::{sync::Notify, task::JoinSet, time::sleep};

use crate::{
    audit::{Act, Action, Actor},
    connector::Connector,
    entrance::Entrance,
    instance::{InstanceId, Subject},
    random,
    store::{Store, StoreError},
    time::UnixTime,
};

/// How many are under way at once.
const AT_ONCE: usize = 16;

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long one that is under way is nobody else's turn.
const TURN: Duration = Duration::from_secs(120);

/// How long to wait where the database does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// What sees to it that sessions end.
pub struct Revocations<C> {
    store: Store,
    entrance: Arc<Entrance<C>>,
    news: News,
}

/// Tells the worker that there is something to do; clones tell the same one.
#[derive(Debug, Clone, Default)]
pub struct News(Arc<Notify>);

impl News {
    /// Something was asked for, and is committed.
    pub fn tell(&self) {
        self.0.notify_one();
    }
}

/// One that is to be done.
struct Due {
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
    connection
        .prepare_cached(
            "INSERT INTO revocations (instance_id, sub, reason, since, asked, failures, next_at)
             VALUES (?1, ?2, ?3, ?4, 1, 0, ?4)
             ON CONFLICT (instance_id, sub) DO UPDATE SET
                 reason = excluded.reason, asked = asked + 1, failures = 0,
                 next_at = excluded.next_at",
        )?
        .execute(params![instance.as_str(), subject.as_str(), reason, now.as_sql()])?;
    Ok(())
}

/// How many are not done yet.
pub async fn count(store: &Store) -> Result<i64, StoreError> {
    let count = "SELECT count(*) FROM revocations";
    store.read(move |connection| Ok(connection.query_row(count, [], |row| row.get(0))?)).await
}

impl<C: Connector> Revocations<C> {
    /// Those in `store`, in instances behind `entrance`.
    #[must_use]
    pub fn new(store: Store, entrance: Arc<Entrance<C>>) -> Self {
        Self { store, entrance, news: News::default() }
    }

    /// Where to tell that something was asked for.
    #[must_use]
    pub fn news(&self) -> News {
        self.news.clone()
    }

    /// Does what is to be done, for ever.
    pub async fn work(self) {
        let this = Arc::new(self);
        let mut under_way = JoinSet::new();
        // Whatever was under way when an earlier process ended is due now.
        let mut begun = this.resume().await;
        loop {
            let pause = match begun.and(this.begin(&mut under_way).await) {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::error!(%error, "revocations are not read");
                    PAUSE
                }
            };
            begun = Ok(());
            tokio::select! {
                () = this.news.0.notified() => {}
                () = sleep(pause) => {}
                Some(_) = under_way.join_next() => {}
            }
        }
    }

    async fn resume(&self) -> Result<(), StoreError> {
        let resume = "UPDATE revocations SET next_at = since";
        self.store.write(move |connection| Ok(connection.execute(resume, []).map(|_| ())?)).await
    }

    /// Begins with what is due; how long until something else is.
    async fn begin(self: &Arc<Self>, under_way: &mut JoinSet<()>) -> Result<Duration, StoreError> {
        let room = AT_ONCE.saturating_sub(under_way.len());
        let room = i64::try_from(room).unwrap_or_default();
        if room == 0 {
            return Ok(LONGEST_PAUSE);
        }
        let now = UnixTime::now();
        let (due, next) = self.store.write(move |connection| take(connection, room, now)).await?;
        for due in due {
            let this = Arc::clone(self);
            under_way.spawn(async move { this.attempt(due).await });
        }
        let wait = next.map_or(LONGEST_PAUSE, |next| next.since(now));
        Ok(wait.clamp(PAUSE, LONGEST_PAUSE))
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
                let pause = Duration::from_secs(1_u64 << due.failures.min(6)).min(LONGEST_PAUSE);
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

    async fn settle(&self, due: &Due, request_id: &str) -> Result<(), StoreError> {
        let (instance, sub) = (due.instance.to_string(), due.subject.to_string());
        let (audit, asked, now) = (self.entrance.audit.clone(), due.asked, UnixTime::now());
        let act = Act::new(Actor::Exchange, request_id).because(&due.reason);
        let ended = act.did(Action::SessionsEnded).at(&due.instance).on(&sub);
        self.store
            .write(move |connection| {
                let settle = "DELETE FROM revocations
                              WHERE instance_id = ?1 AND sub = ?2 AND asked = ?3";
                connection.prepare_cached(settle)?.execute(params![instance, sub, asked])?;
                audit.record(connection, &ended, now)
            })
            .await
    }

    async fn postpone(&self, due: &Due, pause: Duration) -> Result<(), StoreError> {
        let (instance, sub) = (due.instance.to_string(), due.subject.to_string());
        let (asked, next_at) = (due.asked, UnixTime::now().plus(pause).as_sql());
        self.store
            .write(move |connection| {
                let postpone = "UPDATE revocations SET failures = failures + 1, next_at = ?4
                                WHERE instance_id = ?1 AND sub = ?2 AND asked = ?3";
                let values = params![instance, sub, asked, next_at];
                connection.prepare_cached(postpone)?.execute(values)?;
                Ok(())
            })
            .await
    }
}

/// At most `most` that are due, which now have their turn, and when the next is due.
fn take(
    connection: &Connection,
    most: i64,
    now: UnixTime,
) -> Result<(Vec<Due>, Option<UnixTime>), StoreError> {
    let due = connection
        .prepare_cached(
            "SELECT instance_id, sub, reason, since, asked, failures FROM revocations
             WHERE next_at <= ?1 ORDER BY next_at LIMIT ?2",
        )?
        .query_map(params![now.as_sql(), most], |row| {
            Ok((
                (row.get::<_, String>(0)?, row.get::<_, String>(1)?),
                (row.get(2)?, row.get::<_, i64>(3)?, row.get(4)?, row.get(5)?),
            ))
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let turn = "UPDATE revocations SET next_at = ?3 WHERE instance_id = ?1 AND sub = ?2";
    let mut taken = Vec::new();
    for ((instance, subject), (reason, since, asked, failures)) in due {
        let until = now.plus(TURN).as_sql();
        connection.prepare_cached(turn)?.execute(params![instance, subject, until])?;
        // What was written is what was parsed before.
        let (Ok(instance), Ok(subject)) = (InstanceId::parse(&instance), Subject::parse(&subject))
        else {
            continue;
        };
        let since = UnixTime::from_secs(u64::try_from(since).unwrap_or_default());
        taken.push(Due { instance, subject, reason, since, asked, failures });
    }
    let next: Option<i64> = connection
        .prepare_cached("SELECT min(next_at) FROM revocations")?
        .query_row([], |row| row.get(0))
        .optional()?
        .flatten();
    let next = next.and_then(|next| u64::try_from(next).ok()).map(UnixTime::from_secs);
    Ok((taken, next))
}
