//! Calls that come through the gate, as the desks take them: with the gate's word on who calls.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use hyper::{HeaderMap, Request, http::request::Parts};
use kombi_spec::{assertion::Assertion, code::Code, header};

use crate::{
    assertion::{self, Verifier},
    blocked,
    body::{self, BodyLimits, RequestBody},
    refusal::Refusal,
    route::Trace,
    spent,
    store::{Connection, Store, StoreError},
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

/// What the gate asks in `request`: JSON of up to `bytes` bytes. It must be the gate's own, as in
/// [`of_the_gate`].
pub(crate) async fn asked_by_the_gate(
    verifier: &Verifier,
    request: Request<impl RequestBody>,
    (bytes, body): (usize, BodyLimits),
    trace: &mut Trace,
) -> Result<Vec<u8>, Refusal> {
    let (head, _, assertion) = vouched_for(verifier, request, body, trace).await?;
    assertion::of_the_gate(&assertion)?;
    question(&head.headers, bytes)
}

/// The one question that a request with these headers asks. The error quotes nothing of it.
fn question(headers: &HeaderMap, bytes: usize) -> Result<Vec<u8>, Refusal> {
    let malformed = |detail| Refusal::new(Code::QuestionMalformed, detail);
    let mut values = headers.get_all(header::QUESTION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(malformed(format!("expected one header {}", header::QUESTION)));
    };
    let question = BASE64_URL_SAFE_NO_PAD.decode(value).ok();
    let question = question.filter(|question| question.len() <= bytes);
    question.ok_or_else(|| {
        let name = header::QUESTION;
        malformed(format!("{name}: expected at most {bytes} bytes in base64url without padding"))
    })
}

/// Head and body of `request`, and who sent it, who must not be blocked. The assertion is spent:
/// whatever happens from here on, it is not accepted again.
pub(crate) async fn of_a_person(
    verifier: &Verifier,
    store: &Store,
    request: Request<impl RequestBody>,
    limits: BodyLimits,
    trace: &mut Trace,
) -> Result<(Parts, Bytes, Assertion), Refusal> {
    let (head, body, assertion) = vouched_for(verifier, request, limits, trace).await?;
    let (jti, subject) = (assertion.jti.clone(), assertion.sub.clone());
    let valid_until = verifier.valid_until(&assertion);
    let spend = move |connection: &Connection| {
        let first = spent::spend(connection, &jti, valid_until)?;
        Ok::<_, StoreError>((first, blocked::is_blocked(connection, &subject)?))
    };
    match store.write(spend).await? {
        (false, _) => Err(Refusal::new(Code::AssertionReplayed, "an assertion is accepted once")),
        (true, true) => Err(blocked::refusal()),
        (true, false) => Ok((head, body, assertion)),
    }
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
