//! `POST /sso/instances/{id}/session`: one login on its way through the exchange, from top to
//! bottom.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use kombi_spec::{assertion::Assertion, code::Code};
use tokio::time::Instant;

use crate::{
    assertion::Verifier,
    body::{BodyLimits, RequestBody},
    connector::{Connector, Person},
    entrance::Entrance,
    instance::{InstanceId, Subject},
    refusal::Refusal,
    reply,
    revocations::News,
    route::Trace,
    store::Store,
    vouched,
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
        let (Visitor { person, request_id }, _) = self.visitor(request, trace).await?;
        let deadline = Instant::now() + self.entrance.patience;
        let instance = self.entrance.admit(id, &person).await?;
        let entry = self.entrance.enter(&instance, &person, &request_id, deadline).await?;
        trace.origin = entry.origin;
        reply::json(&entry.session)
    }

    /// Who sent `request`, and its body.
    pub(crate) async fn visitor(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<(Visitor, Bytes), Refusal> {
        let (verifier, store) = (&self.verifier, &self.store);
        let (_, body, assertion) =
            vouched::of_a_person(verifier, store, request, self.limits, trace).await?;
        let (subject, request_id) = (subject_of(&assertion)?, assertion.jti.clone());
        Ok((Visitor { person: Person::new(subject, assertion), request_id }, body))
    }
}

fn subject_of(assertion: &Assertion) -> Result<Subject, Refusal> {
    Subject::parse(&assertion.sub).map_err(|unfit| {
        let detail = "the assertion's sub is not a person's id";
        Refusal::new(Code::AssertionInvalid, detail).because(unfit)
    })
}
