//! People in instances: who they are there.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use kombi_spec::{
    account::{Done, Order},
    code::Code,
};
use serde::Deserialize;

use super::{Admin, instances::Why, parse, reason};
use crate::{
    audit::{Act, Action},
    connector::Connector,
    flags,
    instance::{InstanceId, Subject},
    links,
    refusal::Refusal,
    registration, reply,
    store::Connection,
    time::UnixTime,
};

/// The longest id of a record that is taken, in bytes; PocketBase's own have 15.
const MAX_RECORD_BYTES: usize = 100;

/// A person is this user of the instance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    record: String,
    reason: String,
}

impl<C: Connector> Admin<C> {
    /// Says that `subject` is this user of the instance.
    pub(super) async fn link(
        &self,
        id: &InstanceId,
        subject: &Subject,
        body: &[u8],
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Link { record, reason: why } = parse(body)?;
        let act = act.because(reason(why)?);
        let order = Order::Link { record: record_id(record)? };
        let done = self.order(id, subject, &order, act.request_id()).await?;
        let linked = done.record.clone().unwrap_or_default();
        let did = act.did(Action::Link).at(id).on(subject.as_str()).with(&linked);
        let (id, subject, now) = (id.clone(), subject.clone(), UnixTime::now());
        let audit = self.entrance.audit.clone();
        let remember = move |connection: &Connection| {
            links::remember(connection, &id, &subject, &linked, now)?;
            flags::someone_came(connection, &id, &subject, now)?;
            audit.record(connection, &did, now)
        };
        self.store.write(remember).await?;
        self.entrance.flags.tell();
        reply::json(&done)
    }

    /// Says that `subject` is no user of the instance.
    pub(super) async fn unlink(
        &self,
        id: &InstanceId,
        subject: &Subject,
        body: &[u8],
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Why { reason: why } = parse(body)?;
        let act = act.because(reason(why)?);
        let done = self.order(id, subject, &Order::Unlink, act.request_id()).await?;
        let record = done.record.as_deref().unwrap_or("nobody was linked");
        let did = act.did(Action::Unlink).at(id).on(subject.as_str()).with(record);
        let (id, subject, now) = (id.clone(), subject.clone(), UnixTime::now());
        let audit = self.entrance.audit.clone();
        let forget = move |connection: &Connection| {
            links::end(connection, &id, &subject, now)?;
            audit.record(connection, &did, now)
        };
        self.store.write(forget).await?;
        reply::json(&done)
    }

    async fn order(
        &self,
        id: &InstanceId,
        subject: &Subject,
        order: &Order,
        request_id: &str,
    ) -> Result<Done, Refusal> {
        let instance = registration::find(&self.entrance.registry, id).await?;
        Ok(self.entrance.carry_out(&instance, subject, order, request_id).await?)
    }
}

fn record_id(text: String) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=MAX_RECORD_BYTES).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text);
    }
    let detail = "record: expected the id of a user's record in the instance";
    Err(Refusal::new(Code::BodyMalformed, detail))
}
