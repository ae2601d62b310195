//! `POST /sso/instances/{id}/session`: one login on its way through the exchange, from top to
//! bottom.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    http::request::Parts,
};
use kombi_spec::{assertion::Assertion, code::Code};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    assertion::{self, Verifier},
    body::{self, BodyLimits, RequestBody},
    connector::{Connector, Person},
    entrance::Entrance,
    instance::{InstanceId, Subject},
    refusal::Refusal,
    revocations::News,
    route::Trace,
    spent,
    store::Store,
    time::UnixTime,
};

/// The desk where people ask to enter an instance.
pub struct Desk<C> {
    /// Says who asks.
    pub verifier: Verifier,
    /// Remembers spent assertions.
    pub store: Store,
    /// Leads into instances.
    pub entrance: Arc<Entrance<C>>,
    /// Told of sessions that are to end.
    pub news: News,
    /// What a request may cost.
    pub limits: BodyLimits,
}

/// Who stands at the desk, as the gate vouches for them.
pub(crate) struct Visitor {
    /// The person.
    pub(crate) person: Person,
    /// The gateway's id of the request.
    pub(crate) request_id: String,
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
        let deadline = Instant::now() + self.entrance.patience;
        let Visitor { person, request_id } = self.identify(&head, trace).await?;
        let instance = self.entrance.admit(id, &person.subject).await?;
        let entry = self.entrance.enter(&instance, &person, &request_id, deadline).await?;
        trace.origin = entry.origin;
        json(&entry.session)
    }

    /// Who sent a request with this head. Its assertion is spent.
    pub(crate) async fn identify(
        &self,
        head: &Parts,
        trace: &mut Trace,
    ) -> Result<Visitor, Refusal> {
        let jwt = assertion::presented(&head.headers)?;
        // The assertion does not cover the query, so nothing here may ever read it.
        let (method, path) = (head.method.as_str(), head.uri.path());
        let assertion = self.verifier.verify(jwt, method, path, UnixTime::now())?;
        let request_id = assertion.jti.clone();
        trace.request_id = Some(request_id.clone());
        let subject = subject_of(&assertion)?;
        trace.subject = Some(subject.to_string());
        self.spend(&assertion).await?;
        Ok(Visitor { person: Person::new(subject, assertion), request_id })
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
}

fn subject_of(assertion: &Assertion) -> Result<Subject, Refusal> {
    Subject::parse(&assertion.sub).map_err(|unfit| {
        let detail = "the assertion's sub is not a person's id";
        Refusal::new(Code::AssertionInvalid, detail).because(unfit)
    })
}

/// An answer that nobody may keep.
pub(crate) fn json(answer: &impl Serialize) -> Result<Response<Full<Bytes>>, Refusal> {
    let body = serde_json::to_vec(answer).map_err(Refusal::internal)?;
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
