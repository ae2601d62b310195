//! The threads of the database. The writer commits in groups: what arrives while a commit is on
//! its way to disk goes into the next one, so that a crowd shares the price of one.

use tokio::sync::mpsc;

use super::{Connection, StoreError};

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

/// Starts the thread that writes, once it is connected.
pub(super) fn writer(connect: impl Connect) -> Result<Jobs, StoreError> {
    start(connect, |connection, jobs| {
        while let Some(first) = jobs.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = jobs.try_recv()
            {
                group.push(next);
            }
            match commit(connection, group) {
                Ok(told) => told.into_iter().for_each(|tell| tell()),
                Err(error) => tracing::error!(%error, "the database did not commit"),
            }
        }
    })
}

/// Starts a thread that reads, once it is connected.
pub(super) fn reader(connect: impl Connect) -> Result<Jobs, StoreError> {
    start(connect, |connection, jobs| {
        while let Some(job) = jobs.blocking_recv() {
            if let Err(error) = connection.ready() {
                // What the job reads will say the same.
                tracing::warn!(%error, "the database cannot be read");
            }
            (job(connection).tell)();
        }
    })
}

/// Makes the connection of a thread, on that thread.
pub(super) trait Connect:
    FnOnce() -> Result<Connection, StoreError> + Send + 'static
{
}

impl<C: FnOnce() -> Result<Connection, StoreError> + Send + 'static> Connect for C {}

fn start(
    connect: impl Connect,
    run: impl FnOnce(&Connection, &mut mpsc::Receiver<Job>) + Send + 'static,
) -> Result<Jobs, StoreError> {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let (connected, outcome) = std::sync::mpsc::channel();
    std::thread::spawn(move || match connect() {
        Ok(connection) => {
            drop(connected.send(Ok(())));
            run(&connection, &mut receiver);
        }
        Err(error) => drop(connected.send(Err(error))),
    });
    outcome.recv().map_err(|_| StoreError::NotCommitted)??;
    Ok(sender)
}

/// Does the jobs of a group in one transaction; what tells their results.
fn commit(
    connection: &Connection,
    group: Vec<Job>,
) -> Result<Vec<Box<dyn FnOnce() + Send>>, StoreError> {
    let transaction = connection.transaction()?;
    let told = group
        .into_iter()
        .map(|job| {
            transaction.part(|connection| {
                let Done { keep, tell } = job(connection);
                (keep, tell)
            })
        })
        .collect::<Result<_, _>>()?;
    transaction.commit()?;
    Ok(told)
}
