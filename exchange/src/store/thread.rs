//! The two threads of the database. The writer commits in groups: what arrives while a commit
//! is on its way to disk goes into the next one, so that a crowd shares the price of one.

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::mpsc;

use super::StoreError;

/// How many jobs share a transaction at most; keeps the first from waiting for the last.
const GROUP: usize = 128;

/// How many jobs may wait; more than that, and their senders wait.
const QUEUE: usize = 1024;

/// Something to do with the database.
pub(super) type Job = Box<dyn FnOnce(&Connection) -> Done + Send>;

/// Where jobs are sent.
pub(super) type Jobs = mpsc::Sender<Job>;

/// A job was done.
pub(super) struct Done {
    /// Whether what it wrote is to be kept.
    pub(super) keep: bool,
    /// Tells the result to whoever asked; dropped instead if the transaction fails.
    pub(super) tell: Box<dyn FnOnce() + Send>,
}

/// Starts the thread that writes.
pub(super) fn writer(mut connection: Connection) -> Jobs {
    start(move |jobs| {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = jobs.try_recv()
            {
                group.push(next);
            }
            match commit(&mut connection, group) {
                Ok(done) => done.into_iter().for_each(|done| (done.tell)()),
                Err(error) => tracing::error!(%error, "the database did not commit"),
            }
        }
    })
}

/// Starts the thread that reads.
pub(super) fn reader(connection: Connection) -> Jobs {
    start(move |jobs| {
        while let Some(job) = jobs.blocking_recv() {
            (job(&connection).tell)();
        }
    })
}

fn start(run: impl FnOnce(&mut mpsc::Receiver<Job>) + Send + 'static) -> Jobs {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    std::thread::spawn(move || run(&mut receiver));
    sender
}

fn commit(connection: &mut Connection, group: Vec<Job>) -> Result<Vec<Done>, StoreError> {
    // Immediate: a transaction that reads first could not become a writing one (SQLITE_BUSY)
    // once another process has written in between.
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut all = Vec::with_capacity(group.len());
    for job in group {
        let savepoint = transaction.savepoint()?;
        let done = job(&savepoint);
        // Some errors, such as a full disk, undo the whole transaction. What came after would
        // be committed on its own, so the group ends here.
        if savepoint.is_autocommit() {
            return Err(StoreError::NotCommitted);
        }
        if done.keep {
            savepoint.commit()?;
        } else {
            savepoint.finish()?;
        }
        all.push(done);
    }
    transaction.commit()?;
    Ok(all)
}
