//! Feature flags: what is on for whom in an instance. This is where they are kept; the user's record
//! in the instance follows, and is looked at again and again, should somebody change it there.

mod kept;

use std::{sync::Arc, time::Duration};

use kombi_spec::{
    account::{Done, Flags, Order},
    session::HookRefusal,
};

use crate::{
    audit::{Act, Action, Actor},
    connector::{Connector, ConnectorError},
    entrance::Entrance,
    errands::{self, Errand, News},
    instance::{InstanceId, Subject},
    random,
    store::{Connection, Store, StoreError},
    time::UnixTime,
};

pub use kept::{Refused, Standing, State, count_pending, read, set, someone_came};

/// How long flags that are in place are not looked at again.
pub const DRIFT: Duration = Duration::from_secs(600);

/// What sees to it that flags get into instances, and stay there.
pub struct Pushes<C> {
    store: Store,
    entrance: Arc<Entrance<C>>,
    news: News,
    drift: Duration,
}

/// Flags of one person in one instance that are to be there.
pub(crate) struct Due {
    instance: InstanceId,
    subject: Subject,
    version: u64,
    flags: Flags,
    set_at: UnixTime,
    applied: bool,
    failures: u32,
}

/// What an attempt came to.
enum Outcome {
    /// The flags are there.
    Applied {
        /// Whether they were not, although they had been.
        mended: bool,
    },
    /// They are not, and what is there instead.
    Missing(&'static str),
    /// Nobody knows, and it is tried again after a while.
    Failed { problem: String, pause: Duration },
}

impl<C: Connector> Pushes<C> {
    /// Those in `store`, to instances behind `entrance`, looked at again every `drift`.
    #[must_use]
    pub fn new(store: Store, entrance: Arc<Entrance<C>>, drift: Duration) -> Self {
        let news = entrance.flags.clone();
        Self { store, entrance, news, drift }
    }

    /// Does what is to be done, for ever.
    pub async fn work(self) {
        let (store, news) = (self.store.clone(), self.news.clone());
        errands::work(self, store, news).await;
    }

    async fn push(&self, due: &Due, request_id: &str) -> Outcome {
        let order = Order::SetFlags { version: due.version, flags: due.flags.clone() };
        let failed = |problem: String| Outcome::Failed {
            problem,
            pause: errands::pause_after(due.failures),
        };
        let instance = match self.entrance.registry.find(&due.instance).await {
            Ok(Some(instance)) => instance,
            // Its row goes with it.
            Ok(None) => return Outcome::Missing("the instance is not registered"),
            Err(error) => return failed(error.to_string()),
        };
        match self.entrance.carry_out(&instance, &due.subject, &order, request_id).await {
            Ok(Done { record: Some(_), changed }) => {
                Outcome::Applied { mended: changed && due.applied }
            }
            Ok(Done { record: None, .. }) => {
                Outcome::Missing("nobody there is linked to this person")
            }
            Err(ConnectorError::Refused(HookRefusal::FlagsOutdated)) => {
                Outcome::Missing("the instance has flags of a later version")
            }
            Err(error) => failed(error.to_string()),
        }
    }
}

impl<C: Connector> Errand for Pushes<C> {
    const TABLE: &'static str = "flags";

    type Due = Due;

    fn due(
        connection: &Connection,
        instance: InstanceId,
        subject: Subject,
    ) -> Result<Due, StoreError> {
        kept::due(connection, instance, subject)
    }

    async fn attempt(&self, due: Due) {
        let request_id = random::request_id();
        let outcome = self.push(&due, &request_id).await;
        let now = UnixTime::now();
        let (instance, sub, version) = (due.instance.as_str(), due.subject.as_str(), due.version);
        let lag_s = now.since(due.set_at).as_secs();
        let audit = self.entrance.audit.clone();
        let act = Act::new(Actor::Exchange, &*request_id);
        let record = match &outcome {
            Outcome::Applied { mended: true } => {
                tracing::warn!(request_id, instance, sub, version, "flags were changed there");
                Some(Action::FlagsMended)
            }
            Outcome::Applied { mended: false } if due.applied => None,
            Outcome::Applied { mended: false } => {
                tracing::info!(request_id, instance, sub, version, lag_s, "flags applied");
                Some(Action::FlagsApplied)
            }
            Outcome::Missing(problem) => {
                tracing::info!(request_id, instance, sub, version, problem, lag_s, "flags wait");
                None
            }
            Outcome::Failed { problem, .. } => {
                tracing::warn!(request_id, instance, sub, version, problem, lag_s, "flags wait");
                None
            }
        };
        let record = record.map(|action| {
            act.did(action).at(&due.instance).on(sub).with(format!("version {version}"))
        });
        let counted_as = match &outcome {
            Outcome::Applied { mended: true } => "mended",
            Outcome::Applied { mended: false } => "applied",
            Outcome::Missing(_) => "missing",
            Outcome::Failed { .. } => "failed",
        };
        let drift = self.drift;
        let settle = move |connection: &Connection| {
            let settled = kept::settle(connection, &due, &outcome, drift, now)?;
            match record.filter(|_| settled) {
                Some(record) => audit.record(connection, &record, now),
                None => Ok(()),
            }
        };
        if let Err(error) = self.store.write(settle).await {
            tracing::error!(request_id, %error, "what became of flags is not recorded");
        }
        // Last, so that whoever sees the count finds the record.
        self.entrance.metrics.flags_pushed(counted_as);
    }
}
