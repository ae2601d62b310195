//! People in every instance at once: the end of their sessions, and whether they may open others.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use kombi_spec::code::Code;
use serde_json::json;

use super::{Admin, instances::Why, parse, place::PersonDeed, reason};
use crate::{
    audit::{Act, Action},
    blocked,
    connector::Connector,
    instance::Subject,
    refusal::Refusal,
    reply, revocations,
    store::{Connection, StoreError},
    time::UnixTime,
};

impl<C: Connector> Admin<C> {
    /// Does what an admin asks for about one person.
    pub(super) async fn about_person(
        &self,
        subject: &Subject,
        deed: PersonDeed,
        body: &[u8],
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Why { reason: why } = parse(body)?;
        let why = reason(why)?;
        let act = act.because(&why);
        match deed {
            PersonDeed::EndSessions => self.end_sessions(subject, why, act).await,
            PersonDeed::Block => self.block(subject, why, act).await,
            PersonDeed::Unblock => self.unblock(subject, act).await,
        }
    }

    /// Has the sessions of `subject` ended wherever there may be one. It is answered as soon as
    /// this is on disk; the instances follow.
    async fn end_sessions(
        &self,
        subject: &Subject,
        why: String,
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (audit, subject, now) = (self.entrance.audit.clone(), subject.clone(), UnixTime::now());
        let end = move |connection: &Connection| {
            let instances = revocations::ask_everywhere(connection, &subject, &why, now)?;
            let did = act.did(Action::Revoke).on(subject.as_str()).with(instances.join(", "));
            audit.record(connection, &did, now)?;
            Ok::<_, StoreError>(instances)
        };
        let instances = self.store.write(end).await?;
        self.news.tell();
        accepted(reply::json(&json!({"instances": instances}))?)
    }

    /// The same, and keeps `subject` from opening others. An admin cannot block themselves: nobody
    /// might be left to undo it.
    async fn block(
        &self,
        subject: &Subject,
        why: String,
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        if act.is_by(subject) {
            let detail = "you would block yourself; ask another admin";
            return Err(Refusal::new(Code::BodyMalformed, detail));
        }
        let (audit, subject, now) = (self.entrance.audit.clone(), subject.clone(), UnixTime::now());
        let block = move |connection: &Connection| {
            let changed = blocked::block(connection, &subject, &why, now)?;
            let instances = revocations::ask_everywhere(connection, &subject, &why, now)?;
            let did = act.did(Action::Block).on(subject.as_str()).with(instances.join(", "));
            audit.record(connection, &did, now)?;
            Ok::<_, StoreError>((changed, instances))
        };
        let (changed, instances) = self.store.write(block).await?;
        self.news.tell();
        accepted(reply::json(&json!({"changed": changed, "instances": instances}))?)
    }

    /// Lets `subject` in again where they may enter.
    async fn unblock(&self, subject: &Subject, act: Act) -> Result<Response<Full<Bytes>>, Refusal> {
        let (audit, subject, now) = (self.entrance.audit.clone(), subject.clone(), UnixTime::now());
        let unblock = move |connection: &Connection| {
            let changed = blocked::unblock(connection, &subject)?;
            audit.record(connection, &act.did(Action::Unblock).on(subject.as_str()), now)?;
            Ok::<_, StoreError>(changed)
        };
        let changed = self.store.write(unblock).await?;
        reply::json(&json!({"changed": changed}))
    }
}

/// `response`, which says that the rest follows.
fn accepted(mut response: Response<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Refusal> {
    *response.status_mut() = StatusCode::ACCEPTED;
    Ok(response)
}
