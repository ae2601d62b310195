//! `POST /sso/instances/{id}/session`: one login on its way through the exchange, from top to
//! bottom.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use kombi_spec::{assertion::Assertion, code::Code, session::Session};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::{
    assertion::{self, Verifier},
    body::{self, BodyLimits, RequestBody},
    connector::{Connector, ConnectorError, Entry, Person},
    instance::{Instance, InstanceId, Subject},
    lanes::Lanes,
    links::{self, Change},
    metrics::Metrics,
    refusal::Refusal,
    registry::Registry,
    route::Trace,
    spent,
    store::Store,
    time::UnixTime,
};

/// The desk where people ask to enter an instance.
pub struct Desk<C> {
    /// Says who asks.
    pub verifier: Verifier,
    /// Says who may enter where.
    pub registry: Registry,
    /// Remembers spent assertions and links.
    pub store: Store,
    /// Keeps instances from getting into each other's way.
    pub lanes: Lanes,
    /// Asks the instance.
    pub connector: C,
    /// How long after a request's arrival an instance may still answer.
    pub instance_timeout: Duration,
    /// What a request may cost.
    pub limits: BodyLimits,
    /// Counts what happens.
    pub metrics: Metrics,
}

impl<C: Connector> Desk<C> {
    /// Opens a session in the instance `id` for the person whom the request's assertion names.
    pub async fn open_session(
        &self,
        id: &InstanceId,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (head, body) = request.into_parts();
        body::read(body, self.limits).await?;
        let deadline = Instant::now() + self.instance_timeout;
        let jwt = assertion::presented(&head.headers)?;
        // The assertion does not cover the query, so nothing here may ever read it.
        let (method, path) = (head.method.as_str(), head.uri.path());
        let assertion = self.verifier.verify(jwt, method, path, UnixTime::now())?;
        let request_id = assertion.jti.clone();
        trace.request_id = Some(request_id.clone());
        let subject = subject_of(&assertion)?;
        trace.subject = Some(subject.to_string());
        self.spend(&assertion).await?;
        let instance = self.admit(id, &subject).await?;
        let person = Person::new(subject, assertion);
        let entry = self.enter(&instance, &person, &request_id, deadline).await?;
        trace.origin = entry.origin;
        self.remember(&instance, &person.subject, &entry.record_id).await?;
        answer(&entry.session)
    }

    /// Spends the assertion. Whatever happens from here on, it is not accepted again.
    async fn spend(&self, assertion: &Assertion) -> Result<(), Refusal> {
        let valid_until = self.verifier.valid_until(assertion);
        match spent::spend(&self.store, &assertion.jti, valid_until).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                Err(Refusal::new(Code::AssertionReplayed, "an assertion is accepted once"))
            }
            Err(error) => Err(Refusal::internal(error)),
        }
    }

    /// The instance, if `subject` may enter it. A stranger learns no more about an instance than
    /// about one that is not there.
    async fn admit(&self, id: &InstanceId, subject: &Subject) -> Result<Instance, Refusal> {
        let forbidden = |cause| {
            let detail = "the instance is not among those that you may enter";
            Refusal::new(Code::InstanceForbidden, detail).because(cause)
        };
        let instance = self.registry.find(id).await.map_err(Refusal::internal)?;
        let instance = instance.ok_or_else(|| forbidden("not registered"))?;
        if instance.admits(subject) { Ok(instance) } else { Err(forbidden("not a member")) }
    }

    async fn enter(
        &self,
        instance: &Instance,
        person: &Person,
        request_id: &str,
        deadline: Instant,
    ) -> Result<Entry, Refusal> {
        let Some(_permit) = self.lanes.enter(&instance.id).await else {
            let detail = "too many logins into this instance are under way";
            return Err(Refusal::new(Code::Overloaded, detail));
        };
        let started = Instant::now();
        let entered = self.connector.enter(instance, person, request_id, deadline).await;
        let outcome = entered.as_ref().map_or_else(ConnectorError::as_label, |_| "entered");
        self.metrics.connector_call(outcome, started.elapsed());
        Ok(entered?)
    }

    async fn remember(
        &self,
        instance: &Instance,
        subject: &Subject,
        record_id: &str,
    ) -> Result<(), Refusal> {
        let now = UnixTime::now();
        let change = links::remember(&self.store, &instance.id, subject, record_id, now)
            .await
            .map_err(Refusal::internal)?;
        if let Change::Moved { from } = change {
            // The instance is the authority on its users; but somebody should know.
            tracing::warn!(
                instance = instance.id.as_str(),
                sub = subject.as_str(),
                from,
                to = record_id,
                "the instance knows this person by another record than before"
            );
        }
        Ok(())
    }
}

fn subject_of(assertion: &Assertion) -> Result<Subject, Refusal> {
    Subject::parse(&assertion.sub).map_err(|unfit| {
        let detail = "the assertion's sub is not a person's id";
        Refusal::new(Code::AssertionInvalid, detail).because(unfit)
    })
}

fn answer(session: &Session<Box<RawValue>>) -> Result<Response<Full<Bytes>>, Refusal> {
    let body = serde_json::to_vec(session).map_err(Refusal::internal)?;
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
