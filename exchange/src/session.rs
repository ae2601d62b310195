//! `POST /sso/instances/{id}/session`: one login on its way through the exchange, from top to
//! bottom.

use std::sync::Arc;

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
    connector::{Connector, Person},
    entrance::Entrance,
    instance::{InstanceId, Subject},
    refusal::Refusal,
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
    /// What a request may cost.
    pub limits: BodyLimits,
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
        let jwt = assertion::presented(&head.headers)?;
        // The assertion does not cover the query, so nothing here may ever read it.
        let (method, path) = (head.method.as_str(), head.uri.path());
        let assertion = self.verifier.verify(jwt, method, path, UnixTime::now())?;
        let request_id = assertion.jti.clone();
        trace.request_id = Some(request_id.clone());
        let subject = subject_of(&assertion)?;
        trace.subject = Some(subject.to_string());
        self.spend(&assertion).await?;
        let instance = self.entrance.admit(id, &subject).await?;
        let person = Person::new(subject, assertion);
        let entry = self.entrance.enter(&instance, &person, &request_id, deadline).await?;
        trace.origin = entry.origin;
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
