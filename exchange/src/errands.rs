//! Errands: what an instance is to be told about one of its users, durable and until it has
//! answered. Each kind has a table with one row for each user; this is the worker that they share.

use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::{Id, JoinSet},
    time::sleep,
};

use crate::{
    instance::{InstanceId, Subject},
    store::{Connection, Store, StoreError, params},
    time::UnixTime,
};

/// How many are under way at once.
const AT_ONCE: usize = 64;

/// How many of them are about one instance: one that is stuck must not take everybody's place.
const AT_ONE_INSTANCE: i64 = 4;

/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How long one that is under way is nobody else's turn.
const TURN: Duration = Duration::from_secs(120);

/// How long to wait where the database does not answer.
const PAUSE: Duration = Duration::from_secs(1);

/// Tells the worker that there is something to do; clones tell the same one.
#[derive(Debug, Clone, Default)]
pub struct News(Arc<Notify>);

impl News {
    /// Something is to be done, and is committed.
    pub fn tell(&self) {
        self.0.notify_one();
    }
}

/// A kind of errand. Its table has the columns `instance_id`, `sub` and `next_at`, which is when an
/// attempt is due.
pub(crate) trait Errand: Send + Sync + 'static {
    /// Its table.
    const TABLE: &'static str;

    /// One that is due.
    type Due: Send + 'static;

    /// The row of `subject` in `instance`.
    fn due(
        connection: &Connection,
        instance: InstanceId,
        subject: Subject,
    ) -> Result<Self::Due, StoreError>;

    /// Tries it, and writes down when it is due again, if it is.
    fn attempt(&self, due: Self::Due) -> impl Future<Output = ()> + Send;
}

/// How long to wait after so many `failures`.
pub(crate) fn pause_after(failures: u32) -> Duration {
    Duration::from_secs(1_u64 << failures.min(6)).min(LONGEST_PAUSE)
}

/// Does in `store` what is to be done, for ever.
pub(crate) async fn work<E: Errand>(errand: E, store: Store, news: News) {
    let errand = Arc::new(errand);
    let mut under_way = JoinSet::new();
    let mut where_to: HashMap<Id, String> = HashMap::new();
    let now = UnixTime::now();
    // Whatever was under way when an earlier process ended is due now.
    let mut begun = store.write(move |connection| resume::<E>(connection, now)).await;
    loop {
        let begin = async {
            begun?;
            let room = AT_ONCE.saturating_sub(under_way.len());
            if room == 0 {
                return Ok(LONGEST_PAUSE);
            }
            let busy: BTreeSet<String> = where_to.values().cloned().collect();
            let now = UnixTime::now();
            let take = move |connection: &Connection| take::<E>(connection, &busy, room, now);
            let (due, next) = store.write(take).await?;
            for (instance, due) in due {
                let errand = Arc::clone(&errand);
                let task = under_way.spawn(async move { errand.attempt(due).await });
                where_to.insert(task.id(), instance);
            }
            let wait = next.map_or(LONGEST_PAUSE, |next| next.since(now));
            Ok::<_, StoreError>(wait.clamp(PAUSE, LONGEST_PAUSE))
        };
        let pause = begin.await.unwrap_or_else(|error| {
            tracing::error!(%error, table = E::TABLE, "errands are not read");
            PAUSE
        });
        begun = Ok(());
        tokio::select! {
            () = news.0.notified() => {}
            () = sleep(pause) => {}
            Some(ended) = under_way.join_next_with_id() => {
                let id = ended.as_ref().map_or_else(tokio::task::JoinError::id, |(id, ())| *id);
                where_to.remove(&id);
            }
        }
    }
}

fn resume<E: Errand>(connection: &Connection, now: UnixTime) -> Result<(), StoreError> {
    let resume = format!("UPDATE {} SET next_at = ?1 WHERE next_at <= ?2", E::TABLE);
    connection.execute(&resume, params![now.as_sql(), now.plus(TURN).as_sql()])?;
    Ok(())
}

/// What is taken, each with its instance, and when the next is due.
type Taken<Due> = (Vec<(String, Due)>, Option<UnixTime>);

/// At most `room` that are due, which now have their turn. None is about a `busy` instance.
fn take<E: Errand>(
    connection: &Connection,
    busy: &BTreeSet<String>,
    room: usize,
    now: UnixTime,
) -> Result<Taken<E::Due>, StoreError> {
    let table = E::TABLE;
    // A list is one text, because databases differ in lists. Ids have neither commas nor what
    // stands for other characters in a pattern.
    let busy = busy.iter().fold(",".to_owned(), |busy, id| busy + id + ",");
    let room = i64::try_from(room).unwrap_or_default();
    let due = format!(
        "SELECT instance_id, sub FROM (
             SELECT instance_id, sub, next_at,
                    row_number() OVER (PARTITION BY instance_id ORDER BY next_at, sub) AS place
             FROM {table} WHERE next_at <= ?1 AND ?2 NOT LIKE '%,' || instance_id || ',%'
         ) AS due WHERE place <= ?3 ORDER BY next_at, instance_id, sub LIMIT ?4"
    );
    let keys =
        connection.query_all(&due, params![now.as_sql(), busy, AT_ONE_INSTANCE, room], |row| {
            Ok((row.get::<String>(0)?, row.get::<String>(1)?))
        })?;
    let turn = format!("UPDATE {table} SET next_at = ?3 WHERE instance_id = ?1 AND sub = ?2");
    let mut taken = Vec::new();
    for (instance, sub) in keys {
        let until = now.plus(TURN).as_sql();
        connection.execute(&turn, params![instance, sub, until])?;
        // What was written is what was parsed before.
        let (Ok(id), Ok(subject)) = (InstanceId::parse(&instance), Subject::parse(&sub)) else {
            continue;
        };
        taken.push((instance, E::due(connection, id, subject)?));
    }
    let next = format!("SELECT min(next_at) FROM {table}");
    let next: Option<i64> = connection.query_row(&next, &[], |row| row.get(0))?;
    let next = next.and_then(|next| u64::try_from(next).ok()).map(UnixTime::from_secs);
    Ok((taken, next))
}
