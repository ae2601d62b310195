//! A call to a provider, as the gate describes it, read once into types that cannot be wrong.

use kombi_spec::usage::{
    self, Endpoint, MAX_ATTEMPT, MAX_MODEL_BYTES, MAX_ORG_BYTES, MAX_PLAN_BYTES,
    MAX_PROVIDER_BYTES, MAX_REQUEST_ID_BYTES, MAX_ROUTE_BYTES, MAX_SUBJECT_BYTES,
    reserve::Fallback,
};

/// What a row is known by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct CallId {
    pub(super) request_id: String,
    pub(super) attempt: u32,
}

/// A call to a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) subject: String,
    /// Empty for people without an organisation; they count as one.
    pub(super) org: String,
    pub(super) plan: Option<String>,
    pub(super) place: Place,
    pub(super) endpoint: Endpoint,
    pub(super) stream: bool,
    pub(super) route: String,
}

/// A model at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) provider: Provider,
    pub(super) model: String,
}

/// Whose budgets a call counts against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) subject: String,
    pub(super) org: String,
    pub(super) plan: String,
}

/// A provider's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Provider(String);

/// A field is not what it must be. What was found is not told: it is for nobody's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: expected {expected}")]
pub(super) struct Unfit {
    pub(super) field: &'static str,
    pub(super) expected: &'static str,
}

/// What every text must be, apart from its length.
const TEXT: &str = "visible ASCII without quotes and backslashes, within its length";

impl CallId {
    pub(super) fn parse(request_id: String, attempt: u32) -> Result<Self, Unfit> {
        let request_id = text("request_id", request_id, MAX_REQUEST_ID_BYTES)?;
        if !(1..=MAX_ATTEMPT).contains(&attempt) {
            return Err(Unfit { field: "attempt", expected: "a number from 1 to 99" });
        }
        Ok(Self { request_id, attempt })
    }
}

impl Call {
    pub(super) fn parse(wire: usage::Call) -> Result<Self, Unfit> {
        let usage::Call { subject, org, plan, provider, model, endpoint, stream, route } = wire;
        Ok(Self {
            subject: text("subject", subject, MAX_SUBJECT_BYTES)?,
            org: org.map_or_else(|| Ok(String::new()), |org| text("org", org, MAX_ORG_BYTES))?,
            plan: plan.map(|plan| text("plan", plan, MAX_PLAN_BYTES)).transpose()?,
            place: Place::parse(&provider, model)?,
            endpoint,
            stream,
            route: text("route", route, MAX_ROUTE_BYTES)?,
        })
    }

    /// Whose budgets it counts against, on this plan.
    pub(super) fn caller(&self, plan: &str) -> Caller {
        Caller { subject: self.subject.clone(), org: self.org.clone(), plan: plan.to_owned() }
    }
}

impl Place {
    pub(super) fn parse(provider: &str, model: String) -> Result<Self, Unfit> {
        let model = text("model", model, MAX_MODEL_BYTES)?;
        Ok(Self { provider: Provider::parse(provider)?, model })
    }
}

impl From<&Place> for Fallback {
    fn from(place: &Place) -> Self {
        Self { provider: place.provider.0.clone(), model: place.model.clone() }
    }
}

impl Provider {
    /// Reads a name: 1 to 32 of `a-z`, `0-9` and `-`.
    pub(super) fn parse(name: &str) -> Result<Self, Unfit> {
        let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if (1..=MAX_PROVIDER_BYTES).contains(&name.len()) && name.bytes().all(fits) {
            return Ok(Self(name.to_owned()));
        }
        Err(Unfit { field: "provider", expected: "1 to 32 of a-z, 0-9 and -" })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a plan can be called that.
pub(super) fn is_plan(name: &str) -> bool {
    is_text(name, MAX_PLAN_BYTES)
}

pub(super) fn text(field: &'static str, text: String, most: usize) -> Result<String, Unfit> {
    if is_text(&text, most) {
        return Ok(text);
    }
    Err(Unfit { field, expected: TEXT })
}

fn is_text(text: &str, most: usize) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    (1..=most).contains(&text.len()) && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> usage::Call {
        usage::Call {
            subject: "27345".to_owned(),
            org: None,
            plan: None,
            provider: "open-ai2".to_owned(),
            model: "models/gemini-2.5:latest".to_owned(),
            endpoint: Endpoint::Responses,
            stream: true,
            route: "ai".to_owned(),
        }
    }

    #[test]
    fn a_call_is_read_and_its_mistake_named() {
        let call = Call::parse(wire()).unwrap();
        assert_eq!((&*call.org, call.plan), ("", None));
        type Change = fn(&mut usage::Call);
        let changes: [(Change, &str); 9] = [
            (|call| call.subject = String::new(), "subject"),
            (|call| call.subject = "x".repeat(129), "subject"),
            (|call| call.subject = "a b".to_owned(), "subject"),
            (|call| call.org = Some(String::new()), "org"),
            (|call| call.plan = Some("\"".to_owned()), "plan"),
            (|call| call.provider = "OpenAI".to_owned(), "provider"),
            (|call| call.provider = "x".repeat(33), "provider"),
            (|call| call.model = "é".to_owned(), "model"),
            (|call| call.route = "a\\b".to_owned(), "route"),
        ];
        for (change, field) in changes {
            let mut wire = wire();
            change(&mut wire);
            assert_eq!(Call::parse(wire.clone()).unwrap_err().field, field, "{wire:?}");
        }
    }

    #[test]
    fn a_row_is_known_by_a_request_and_an_attempt() {
        for (request_id, attempt, fits) in [
            ("5f0c", 1, true),
            ("5f0c", 99, true),
            ("", 1, false),
            (&*"f".repeat(65), 1, false),
            ("5f0c", 0, false),
            ("5f0c", 100, false),
        ] {
            let read = CallId::parse(request_id.to_owned(), attempt);
            assert_eq!(read.is_ok(), fits, "{request_id} {attempt}");
        }
    }
}
