//! Calls that come through the gate, as the desks take them: with the gate's word on who calls.

use bytes::Bytes;
use hyper::{Request, http::request::Parts};
use kombi_spec::{assertion::Assertion, code::Code};

use crate::{
    assertion::{self, Verifier},
    body::{self, BodyLimits, RequestBody},
    refusal::Refusal,
    route::Trace,
    spent,
    store::Store,
    time::UnixTime,
};

/// The body of `request`, which must be the gate's own. Its assertion is not spent: what is asked
/// or told here comes to the same when it comes twice. What binds it to the gate is its subject.
pub(crate) async fn of_the_gate(
    verifier: &Verifier,
    request: Request<impl RequestBody>,
    limits: BodyLimits,
    trace: &mut Trace,
) -> Result<Bytes, Refusal> {
    let (_, body, assertion) = vouched_for(verifier, request, limits, trace).await?;
    assertion::of_the_gate(&assertion)?;
    Ok(body)
}

/// Head and body of `request`, and who sent it. The assertion is spent: whatever happens from here
/// on, it is not accepted again.
pub(crate) async fn of_a_person(
    verifier: &Verifier,
    store: &Store,
    request: Request<impl RequestBody>,
    limits: BodyLimits,
    trace: &mut Trace,
) -> Result<(Parts, Bytes, Assertion), Refusal> {
    let (head, body, assertion) = vouched_for(verifier, request, limits, trace).await?;
    let first = spent::spend(store, &assertion.jti, verifier.valid_until(&assertion)).await;
    if !first? {
        return Err(Refusal::new(Code::AssertionReplayed, "an assertion is accepted once"));
    }
    Ok((head, body, assertion))
}

async fn vouched_for(
    verifier: &Verifier,
    request: Request<impl RequestBody>,
    limits: BodyLimits,
    trace: &mut Trace,
) -> Result<(Parts, Bytes, Assertion), Refusal> {
    let (head, body) = request.into_parts();
    let body = body::read(body, limits).await?;
    let jwt = assertion::presented(&head.headers)?;
    // The assertion covers method and path, and not the query.
    let (method, path) = (head.method.as_str(), head.uri.path());
    let assertion = verifier.verify(jwt, method, path, UnixTime::now())?;
    trace.request_id = Some(assertion.jti.clone());
    trace.subject = Some(assertion.sub.clone());
    Ok((head, body, assertion))
}
