//! Feature flags of people in instances.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode};
use kombi_spec::{
    account::{Flag, Flags, MAX_FLAG_BYTES, MAX_FLAGS, MAX_FLAGS_VERSION},
    code::Code,
};
use serde::Deserialize;

use super::{Admin, parse, reason};
use crate::{
    audit::{Act, Action},
    connector::Connector,
    flags::{self, Refused, Standing},
    instance::{InstanceId, Subject},
    refusal::Refusal,
    registration, reply,
    store::{Connection, StoreError},
    time::UnixTime,
};

/// All flags of one person in one instance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    version: u64,
    flags: Flags,
    reason: String,
}

impl<C: Connector> Admin<C> {
    /// Sets the flags. It is answered as soon as this is on disk; the instance follows.
    pub(super) async fn set_flags(
        &self,
        id: &InstanceId,
        subject: &Subject,
        body: &[u8],
        act: Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let Setting { version, flags, reason: why } = parse(body)?;
        let act = act.because(reason(why)?);
        check(version, &flags)?;
        registration::find(&self.entrance.registry, id).await?;
        let did = act.did(Action::FlagsSet).at(id).on(subject.as_str());
        let did = did.with(format!("version {version}"));
        let (id, subject, now) = (id.clone(), subject.clone(), UnixTime::now());
        let audit = self.entrance.audit.clone();
        let set = move |connection: &Connection| {
            if let Err(refused) = flags::set(connection, (&id, &subject), version, &flags, now)? {
                return Ok(Err(refused));
            }
            audit.record(connection, &did, now)?;
            Ok::<_, StoreError>(Ok(flags::read(connection, &id, &subject, now)?))
        };
        let standing = self.store.write(set).await?;
        let standing = standing.map_err(|Refused::Outdated { there }| {
            Refusal::new(Code::FlagsOutdated, format!("there are flags of version {there}"))
        })?;
        self.entrance.flags.tell();
        let mut response = told(standing)?;
        *response.status_mut() = StatusCode::ACCEPTED;
        Ok(response)
    }

    /// Tells the flags, and whether the instance has them.
    pub(super) async fn read_flags(
        &self,
        id: &InstanceId,
        subject: &Subject,
        act: &Act,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        registration::find(&self.entrance.registry, id).await?;
        self.written(act.did(Action::FlagsRead).at(id).on(subject.as_str())).await?;
        let (id, subject, now) = (id.clone(), subject.clone(), UnixTime::now());
        let read = self.store.read(move |connection| flags::read(connection, &id, &subject, now));
        told(read.await?)
    }
}

fn told(standing: Option<Standing>) -> Result<Response<Full<Bytes>>, Refusal> {
    let nothing = || Refusal::new(Code::NotFound, "no flags were set for this person there");
    reply::json(&standing.ok_or_else(nothing)?)
}

fn check(version: u64, flags: &Flags) -> Result<(), Refusal> {
    let malformed = |detail: String| Err(Refusal::new(Code::BodyMalformed, detail));
    if !(1..=MAX_FLAGS_VERSION).contains(&version) {
        return malformed(format!("version: expected 1 to {MAX_FLAGS_VERSION}, found {version}"));
    }
    if flags.len() > MAX_FLAGS {
        return malformed(format!("flags: expected at most {MAX_FLAGS}, found {}", flags.len()));
    }
    for (name, flag) in flags {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
        if !first || name.len() > 64 || !name.bytes().all(fits) {
            let expected = "expected names of 1 to 64 of a-z, 0-9 and _, a letter first";
            return malformed(format!("flags: {expected}"));
        }
        if matches!(flag, Flag::Variant(text) if text.len() > MAX_FLAG_BYTES) {
            let expected =
                format!("expected true, false or at most {MAX_FLAG_BYTES} bytes of text");
            return malformed(format!("flags: {expected}"));
        }
    }
    Ok(())
}
