//! What the core knows of a request.

mod fields;

use std::borrow::Cow;

use crate::{limit::address::Source, reserved};
pub use fields::Fields;
use fields::Span;

/// The head of a request, as the host received it. It is read once, when it arrives; what every
/// request is asked for is found then.
#[derive(Debug, Clone, Default)]
pub struct Head {
    fields: Fields,
    request_id: RequestId,
    method: Span,
    target: Span,
    authorization: Option<Span>,
    /// Whether there is more than one `Authorization`.
    ambiguous: bool,
    reserved: Option<Span>,
    /// Where the request comes from, if the host tells and it matters.
    pub source: Option<Source>,
}

/// Where the request's id is.
#[derive(Debug, Clone)]
enum RequestId {
    /// The host told it.
    Told(String),
    /// In `X-Request-Id`, which the host has set itself.
    Forwarded(Span),
}

impl Default for RequestId {
    fn default() -> Self {
        Self::Told(String::new())
    }
}

/// The `Authorization` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// There is none.
    Missing,
    /// There is this one.
    One(&'a [u8]),
    /// There are several.
    Several,
}

impl Head {
    /// The head with these fields, pseudo-fields included. `request_id` is the gateway's own id of
    /// the request; if it tells none, the id is what it put into `X-Request-Id` in place of
    /// whatever the client sent. `None` if there is no id.
    #[must_use]
    pub fn read(fields: Fields, request_id: Option<String>) -> Option<Self> {
        let mut head = Self::default();
        let mut forwarded = None;
        for (name, value) in fields.spans() {
            match fields.at(&name) {
                b":method" => head.method = value,
                b":path" => head.target = value,
                [b':', ..] => {}
                found if found.eq_ignore_ascii_case(b"authorization") => {
                    head.ambiguous = head.authorization.is_some();
                    head.authorization.get_or_insert(value);
                }
                b"x-request-id" => forwarded = Some(value),
                found if reserved::is_reserved(found) => {
                    head.reserved.get_or_insert(name);
                }
                _ => {}
            }
        }
        head.fields = fields;
        head.request_id = match request_id {
            Some(told) => RequestId::Told(told),
            None => RequestId::Forwarded(forwarded?),
        };
        Some(head).filter(|head| !head.request_id().is_empty())
    }

    /// The method, `GET` and so on; empty if it is not text.
    #[must_use]
    pub fn method(&self) -> &str {
        str::from_utf8(self.fields.at(&self.method)).unwrap_or_default()
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> Cow<'_, str> {
        let target = self.fields.at(&self.target);
        String::from_utf8_lossy(target.split(|byte| *byte == b'?').next().unwrap_or_default())
    }

    /// The gateway's own id of the request; never the client's choice.
    #[must_use]
    pub fn request_id(&self) -> &str {
        match &self.request_id {
            RequestId::Told(id) => id,
            RequestId::Forwarded(id) => str::from_utf8(self.fields.at(id)).unwrap_or_default(),
        }
    }

    /// The header fields, without the pseudo-fields, in the order in which they arrived.
    pub fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().filter(|(name, _)| !name.starts_with(b":"))
    }

    /// The values of all headers called `name` (in lower case), letter case ignored.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers()
            .filter(move |(found, _)| found.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The `Authorization`.
    #[must_use]
    pub fn authorization(&self) -> Authorization<'_> {
        match &self.authorization {
            None => Authorization::Missing,
            Some(_) if self.ambiguous => Authorization::Several,
            Some(value) => Authorization::One(self.fields.at(value)),
        }
    }

    /// The name of the first header that only the gate may set, if there is one.
    #[must_use]
    pub fn reserved(&self) -> Option<&[u8]> {
        self.reserved.as_ref().map(|name| self.fields.at(name))
    }
}
