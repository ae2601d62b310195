//! What admins do, through the portal's API: the registry of instances and the accounts in them.
//! Everything here needs the role [`role::TOOLS`], has a reason, and is in the audit.

mod accounts;
mod flags;
mod instances;
mod place;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use kombi_spec::code::Code;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    assertion::{self, Verifier},
    audit::{Act, Actor, Record},
    body::{self, BodyLimits, RequestBody},
    connector::Connector,
    entrance::Entrance,
    instance::Unfit,
    refusal::Refusal,
    revocations::News,
    role,
    route::Trace,
    spent,
    store::Store,
    time::UnixTime,
};

use place::reason;
pub use place::{AccountDeed, Deed, Place};

/// The desk of admins.
pub struct Admin<C> {
    /// Says who asks.
    pub verifier: Verifier,
    /// Keeps what is changed.
    pub store: Store,
    /// Leads into instances.
    pub entrance: Arc<Entrance<C>>,
    /// Tells that sessions are to end.
    pub news: News,
    /// What a request may cost.
    pub limits: BodyLimits,
}

impl<C: Connector> Admin<C> {
    /// Does what `request` asks for at `place`.
    pub async fn answer(
        &self,
        place: &Place,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (head, body) = request.into_parts();
        let body = body::read(body, self.limits).await?;
        let jwt = assertion::presented(&head.headers)?;
        let (method, path) = (head.method.as_str(), head.uri.path());
        let admin = self.verifier.verify(jwt, method, path, UnixTime::now())?;
        trace.request_id = Some(admin.jti.clone());
        trace.subject = Some(admin.sub.clone());
        role::require(&admin, role::TOOLS)?;
        let valid_until = self.verifier.valid_until(&admin);
        let first = spent::spend(&self.store, &admin.jti, valid_until).await;
        if !first.map_err(Refusal::internal)? {
            return Err(Refusal::new(Code::AssertionReplayed, "an assertion is accepted once"));
        }
        let act = Act::new(Actor::Person(admin.sub), admin.jti);
        match place {
            Place::Instances if head.method == Method::GET => self.list(&act).await,
            Place::Instances => self.add(&body, act).await,
            Place::Instance(id, deed) => self.about_instance(id, *deed, &body, act).await,
            Place::Account(id, subject, AccountDeed::Flags) if head.method == Method::GET => {
                self.read_flags(id, subject, &act).await
            }
            Place::Account(id, subject, AccountDeed::Flags) => {
                self.set_flags(id, subject, &body, act).await
            }
            Place::Account(id, subject, AccountDeed::Link) => {
                self.link(id, subject, &body, act).await
            }
            Place::Account(id, subject, AccountDeed::Unlink) => {
                self.unlink(id, subject, &body, act).await
            }
            Place::EndSessions(subject) => self.end_sessions(subject, &body, act).await,
        }
    }

    /// Writes down what was only read.
    async fn written(&self, record: Record) -> Result<(), Refusal> {
        self.entrance.audit.write(&self.store, record).await.map_err(Refusal::internal)
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        // Without what was found: there may be a password in it.
        let place = format!("{}:{}", error.line(), error.column());
        let detail = format!("the body is not what is asked for here, from {place} on");
        Refusal::new(Code::BodyMalformed, detail)
    })
}

/// A member of the body is not what it must be.
fn unfit(member: &'static str) -> impl Fn(Unfit) -> Refusal {
    move |unfit| Refusal::new(Code::BodyMalformed, format!("{member}: {unfit}"))
}

fn answered(answer: &impl Serialize) -> Result<Response<Full<Bytes>>, Refusal> {
    let body = serde_json::to_vec(answer).map_err(Refusal::internal)?;
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
