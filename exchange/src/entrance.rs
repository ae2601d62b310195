//! The way into instances, for whoever stands at a desk: who may enter, their session, and its
//! end.

use std::time::Duration;

use kombi_spec::{
    account::{Done, Order},
    code::Code,
    session::Origin,
};
use tokio::time::Instant;

use crate::{
    audit::{Act, Action, Audit},
    blocked::{self, BLOCKED},
    breaker::Breakers,
    connector::{Connector, ConnectorError, Entry, Person},
    errands::News,
    flags,
    instance::{Instance, InstanceId, Subject},
    lanes::Lanes,
    links::{self, Change},
    metrics::Metrics,
    refusal::Refusal,
    registry::Registry,
    revocations,
    store::{Connection, Store, StoreError},
    time::UnixTime,
};

/// What leads into instances.
pub struct Entrance<C> {
    /// Says who may enter where.
    pub registry: Registry,
    /// Remembers links.
    pub store: Store,
    /// Has every login and every link.
    pub audit: Audit,
    /// Keeps instances from getting into each other's way.
    pub lanes: Lanes,
    /// Leaves those alone that do not answer.
    pub breakers: Breakers,
    /// Asks the instance.
    pub connector: C,
    /// Tells that flags are to get into an instance.
    pub flags: News,
    /// Tells that sessions are to end.
    pub endings: News,
    /// How long an instance may take to answer.
    pub patience: Duration,
    /// Counts what happens.
    pub metrics: Metrics,
}

impl<C: Connector> Entrance<C> {
    /// The instance, if `person` may enter it. A stranger learns no more about an instance than
    /// about one that is not there.
    pub async fn admit(&self, id: &InstanceId, person: &Person) -> Result<Instance, Refusal> {
        let forbidden = |cause| {
            let detail = "the instance is not among those that you may enter";
            Refusal::new(Code::InstanceForbidden, detail).because(cause)
        };
        let instance = self.registry.find(id).await?;
        let instance = instance.ok_or_else(|| forbidden("not registered"))?;
        if instance.admits(person) { Ok(instance) } else { Err(forbidden("nobody let them in")) }
    }

    /// A session of `person` in `instance`, by `deadline`; the link is remembered.
    pub async fn enter(
        &self,
        instance: &Instance,
        person: &Person,
        request_id: &str,
        deadline: Instant,
    ) -> Result<Entry, Refusal> {
        if !self.breakers.lets_through(&instance.id, Instant::now()) {
            let detail =
                "the instance did not answer several times in a row; it is left alone for a moment";
            return Err(Refusal::new(Code::InstanceUnavailable, detail));
        }
        let Some(_permit) = self.lanes.enter(&instance.id).await else {
            let detail = "too many logins into this instance are under way";
            return Err(Refusal::new(Code::Overloaded, detail));
        };
        let started = Instant::now();
        let entered = self.connector.enter(instance, person, request_id, deadline).await;
        self.heard(instance, &entered, "entered", started);
        let entry = entered?;
        self.remember(instance, &person.subject, &entry, request_id).await?;
        Ok(entry)
    }

    /// Ends every session of `subject` in `instance`; whether there is such a user.
    pub async fn end_sessions(
        &self,
        instance: &Instance,
        subject: &Subject,
        request_id: &str,
    ) -> Result<bool, ConnectorError> {
        let deadline = Instant::now() + self.patience;
        let started = Instant::now();
        let ended = self.connector.end_sessions(instance, subject, request_id, deadline).await;
        self.heard(instance, &ended, "ended", started);
        ended
    }

    /// Carries `order` out on the user of `instance` that is linked, or to be linked, to `subject`.
    pub async fn carry_out(
        &self,
        instance: &Instance,
        subject: &Subject,
        order: &Order,
        request_id: &str,
    ) -> Result<Done, ConnectorError> {
        let deadline = Instant::now() + self.patience;
        let started = Instant::now();
        let done = self.connector.carry_out(instance, subject, order, request_id, deadline).await;
        self.heard(instance, &done, "done", started);
        done
    }

    /// Counts a call to `instance`, and notes whether it answers.
    fn heard<T>(
        &self,
        instance: &Instance,
        outcome: &Result<T, ConnectorError>,
        well: &'static str,
        started: Instant,
    ) {
        let label = outcome.as_ref().map_or_else(ConnectorError::as_label, |_| well);
        self.metrics.connector_call(label, started.elapsed());
        let silent = matches!(outcome, Err(ConnectorError::Late | ConnectorError::Unreachable(_)));
        self.breakers.heard(&instance.id, !silent, Instant::now());
    }

    /// Writes down who was let in as whom, before they are told. Whoever was blocked meanwhile is
    /// not told, and the session that the instance has opened is to end.
    async fn remember(
        &self,
        instance: &Instance,
        subject: &Subject,
        entry: &Entry,
        request_id: &str,
    ) -> Result<(), Refusal> {
        let (audit, now) = (self.audit.clone(), UnixTime::now());
        let (id, sub, record_id) = (instance.id.clone(), subject.clone(), entry.record_id.clone());
        let act = Act::of_person(subject, request_id);
        let origin = entry.origin.map(Origin::as_str).unwrap_or_default();
        let remember = move |connection: &Connection| {
            if blocked::is_blocked(connection, sub.as_str())? {
                revocations::ask(connection, &id, &sub, BLOCKED, now)?;
                return Ok(None);
            }
            let change = links::remember(connection, &id, &sub, &record_id, now)?;
            let did = |action| act.did(action).at(&id).on(sub.as_str());
            if change != Change::Known {
                audit.record(connection, &did(Action::Link).with(&record_id), now)?;
            }
            audit.record(connection, &did(Action::Login).with(origin), now)?;
            let awaited = flags::someone_came(connection, &id, &sub, now)?;
            Ok::<_, StoreError>(Some((change, awaited)))
        };
        let Some((change, awaited)) = self.store.write(remember).await? else {
            self.endings.tell();
            return Err(blocked::refusal());
        };
        if awaited {
            self.flags.tell();
        }
        if let Change::Moved { from } = change {
            // The instance is the authority on its users; but somebody should know.
            tracing::warn!(
                instance = instance.id.as_str(),
                sub = subject.as_str(),
                from,
                to = entry.record_id,
                "the instance knows this person by another record than before"
            );
        }
        Ok(())
    }
}
