//! What admins do, through the portal's API: the registry of instances and the accounts in them.
//! Everything here needs the role [`role::TOOLS`], has a reason, and is in the audit.

mod accounts;
mod flags;
mod instances;
mod people;
mod place;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response};
use kombi_spec::code::Code;
use serde::de::DeserializeOwned;

use crate::{
    assertion::Verifier,
    audit::{Act, Actor, Record},
    body::{BodyLimits, RequestBody},
    connector::Connector,
    entrance::Entrance,
    instance::Unfit,
    refusal::Refusal,
    revocations::News,
    role,
    route::Trace,
    store::Store,
    vouched,
};

use place::reason;
pub use place::{AccountDeed, Deed, PersonDeed, Place};

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
        let (verifier, store) = (&self.verifier, &self.store);
        let (head, body, admin) =
            vouched::of_a_person(verifier, store, request, self.limits, trace).await?;
        role::require(&admin, role::TOOLS)?;
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
            Place::Person(subject, deed) => self.about_person(subject, *deed, &body, act).await,
        }
    }

    /// Writes down what was only read.
    async fn written(&self, record: Record) -> Result<(), Refusal> {
        Ok(self.entrance.audit.write(&self.store, record).await?)
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
