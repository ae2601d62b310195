//! The exchange, as the gate calls it in its own name.
//!
//! Such a call carries an [assertion](kombi_spec::assertion) with the subject
//! [`SUBJECT`](kombi_spec::introspection::SUBJECT), bound to the call's method and path. One may be
//! sent again until it expires: what is asked or told comes to the same when it comes twice.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use kombi_spec::{
    assertion::{Assertion, EXCHANGE_AUDIENCE, GrantedBy, ISSUER, LIFETIME_S},
    header,
    introspection::SUBJECT,
    usage::{settle::Settlement, trace},
};

use crate::{
    assertion::{Reuse, SigningKey},
    config::HttpUrl,
    step::{HttpCall, Method},
    time::UnixTime,
};

/// The exchange, and what the gate proves itself by.
#[derive(Clone)]
pub struct Exchange {
    pub(crate) url: HttpUrl,
    pub(crate) timeout: Duration,
    key: SigningKey,
    /// Assertions that may be sent again.
    sent: Reuse,
}

impl Exchange {
    /// The exchange at `url`, which knows the gate by `key`.
    pub(crate) fn new(url: HttpUrl, timeout: Duration, key: SigningKey) -> Self {
        Self { url, timeout, key, sent: Reuse::default() }
    }

    /// Asks `question`, JSON, at `path`, for a request that waits for the answer and may be
    /// refused for want of one: there is no body ([`header::QUESTION`] says why). `id` names the
    /// call in logs on both sides. `None` only if signing fails.
    #[must_use]
    pub fn ask(
        &self,
        path: &'static str,
        question: &[u8],
        id: &str,
        now: UnixTime,
    ) -> Option<HttpCall> {
        let mut call = self.post(path, Vec::new(), id, now)?;
        call.headers.push((header::QUESTION, BASE64_URL_SAFE_NO_PAD.encode(question)));
        Some(call)
    }

    /// Tells `body`, JSON, at `path`; no request waits for the answer. `None` only if signing
    /// fails.
    #[must_use]
    pub fn tell(
        &self,
        path: &'static str,
        body: Vec<u8>,
        id: &str,
        now: UnixTime,
    ) -> Option<HttpCall> {
        let mut call = self.post(path, body, id, now)?;
        call.headers.push(("content-type", "application/json".to_owned()));
        Some(call)
    }

    /// A line for the gateway's log that tells of `settlement`, in the form that the exchange can
    /// read again ([`trace`]). `None` only if signing fails.
    #[must_use]
    pub fn trace(&self, settlement: &Settlement) -> Option<String> {
        let payload = serde_json::to_vec(settlement).ok()?;
        let jws = self.key.sign_as(trace::TYP, &payload)?;
        Some(format!("{}{jws}", trace::MARK))
    }

    fn post(&self, path: &str, body: Vec<u8>, id: &str, now: UnixTime) -> Option<HttpCall> {
        let claims = claims(path, id, now);
        let assertion = self.sent.or_sign(&claims, now, |claims| self.key.sign(claims))?;
        Some(HttpCall {
            method: Method::Post,
            address: self.url.address.clone(),
            tls: self.url.tls,
            authority: self.url.authority.clone(),
            path: path.to_owned(),
            headers: vec![(header::ASSERTION, assertion)],
            body,
            timeout: self.timeout,
        })
    }
}

fn claims(path: &str, id: &str, now: UnixTime) -> Assertion {
    Assertion {
        iss: ISSUER.to_owned(),
        aud: EXCHANGE_AUDIENCE.to_owned(),
        sub: SUBJECT.to_owned(),
        iat: now.as_secs(),
        exp: now.as_secs().saturating_add(LIFETIME_S),
        jti: id.to_owned(),
        htm: Some(Method::Post.as_str().to_owned()),
        htp: Some(path.to_owned()),
        org: None,
        roles: Vec::new(),
        granted_by: GrantedBy::new(),
        email: None,
        email_verified: false,
        name: None,
    }
}

/// The question that `call` asks.
#[cfg(test)]
pub(crate) fn asked<Question: serde::de::DeserializeOwned>(call: &HttpCall) -> Question {
    let asked = call.headers.iter().find(|(name, _)| *name == header::QUESTION).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(&asked.1).unwrap()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    /// The key pair of RFC 8037 appendix A.
    const SEED: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn exchange() -> Exchange {
        let url = HttpUrl::parse("https://exchange.internal:8443").unwrap();
        Exchange::new(url, Duration::from_secs(3), SigningKey::new(SEED).unwrap())
    }

    fn sent<'a>(call: &'a HttpCall, header: &str) -> &'a str {
        &call.headers.iter().find(|(name, _)| *name == header).unwrap().1
    }

    fn assertion(call: &HttpCall) -> &str {
        sent(call, header::ASSERTION)
    }

    #[test]
    fn a_call_names_the_gate_and_is_bound_to_its_path() {
        let now = UnixTime::from_millis(1_999);
        let call = exchange().ask("/gate/introspect", b"{}", "r1", now).unwrap();
        assert_eq!((call.method, call.path.as_str()), (Method::Post, "/gate/introspect"));
        assert_eq!((call.address.as_str(), call.tls), ("exchange.internal:8443", true));
        assert_eq!(call.authority, "exchange.internal:8443");
        assert_eq!((call.body.as_slice(), call.timeout), (&b""[..], Duration::from_secs(3)));
        assert_eq!(sent(&call, header::QUESTION), "e30");
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.validate_exp = false;
        validation.set_audience(&[EXCHANGE_AUDIENCE]);
        let key = DecodingKey::from_ed_components(PUBLIC).unwrap();
        let signed: Assertion =
            jsonwebtoken::decode(assertion(&call), &key, &validation).unwrap().claims;
        assert_eq!(signed, claims("/gate/introspect", "r1", now));
        assert_eq!((signed.sub.as_str(), signed.iat, signed.exp), ("kombi-gate", 1, 31));
    }

    #[test]
    fn calls_are_signed_once_in_a_while() {
        let exchange = exchange();
        let ask = |path, id, s| exchange.ask(path, b"", id, UnixTime::from_secs(s)).unwrap();
        let first = ask("/a", "1", 100);
        assert_eq!(assertion(&first), assertion(&ask("/a", "2", 114)));
        assert_ne!(assertion(&first), assertion(&ask("/b", "4", 100)));
        let told = exchange.tell("/a", b"{}".to_vec(), "5", UnixTime::from_secs(114)).unwrap();
        assert_eq!((assertion(&told), told.body.as_slice()), (assertion(&first), &b"{}"[..]));
        assert_ne!(assertion(&first), assertion(&ask("/a", "3", 115)));
        assert_eq!(sent(&told, "content-type"), "application/json");
    }

    #[test]
    fn a_call_that_is_printed_tells_neither_body_nor_headers() {
        let call = exchange().tell("/a", b"SECRET".to_vec(), "1", UnixTime::from_secs(1)).unwrap();
        assert_eq!(format!("{call:?}"), "POST exchange.internal:8443/a");
    }
}
