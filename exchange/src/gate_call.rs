//! A call that the gate makes in its own name, as every desk for the gate takes it.

use bytes::Bytes;
use hyper::Request;

use crate::{
    assertion::{self, Verifier},
    body::{self, BodyLimits, RequestBody},
    refusal::Refusal,
    route::Trace,
    time::UnixTime,
};

/// The body of `request`, which must be the gate's own. Its assertion is not spent: what is asked
/// or told here comes to the same when it comes twice. What binds it to the gate is its subject.
pub(crate) async fn read(
    verifier: &Verifier,
    request: Request<impl RequestBody>,
    limits: BodyLimits,
    trace: &mut Trace,
) -> Result<Bytes, Refusal> {
    let (head, body) = request.into_parts();
    let body = body::read(body, limits).await?;
    let jwt = assertion::presented(&head.headers)?;
    let (method, path) = (head.method.as_str(), head.uri.path());
    let assertion = verifier.verify(jwt, method, path, UnixTime::now())?;
    trace.request_id = Some(assertion.jti.clone());
    trace.subject = Some(assertion.sub.clone());
    assertion::of_the_gate(&assertion)?;
    Ok(body)
}
