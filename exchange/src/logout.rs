//! `POST /backchannel-logout`: the issuer says that somebody signed out, or was blocked or deleted
//! there, and their sessions end in every instance. See OpenID Connect Back-Channel Logout 1.0.
//!
//! Nobody vouches for the request: the logout token is its own credential, so everything about it
//! is checked here.

mod keys;
mod token;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response,
    header::{CACHE_CONTROL, HeaderValue},
};
use kombi_spec::code::Code;
use url::form_urlencoded;

use crate::{
    audit::{Act, Action, Actor, Audit},
    body::{self, BodyLimits, RequestBody},
    outbound::Outbound,
    random,
    refusal::Refusal,
    revocations::{self, News},
    route::Trace,
    spent,
    store::{Connection, Store, StoreError},
    time::UnixTime,
};

use keys::Keys;
pub use keys::LogoutIssuer;
use token::{LogoutToken, Unverified};

/// What the reason for a revocation is, in records of the audit.
const REASON: &str = "logout at the issuer";

/// The desk where the issuer tells of logouts.
pub struct Logout {
    issuer: Option<Keys>,
    skew: std::time::Duration,
    store: Store,
    audit: Audit,
    news: News,
    limits: BodyLimits,
}

impl Logout {
    /// Listens to `issuer`, if there is one, on clocks that differ by up to `skew`.
    #[must_use]
    pub fn new(
        issuer: Option<LogoutIssuer>,
        outbound: &Outbound,
        skew: std::time::Duration,
        (store, audit): (Store, Audit),
        news: News,
        limits: BodyLimits,
    ) -> Self {
        let issuer = issuer.map(|issuer| Keys::new(issuer, outbound));
        Self { issuer, skew, store, audit, news, limits }
    }

    /// Has the sessions of the person ended whom the logout token in `request` names. It is
    /// answered as soon as this is on disk; the instances follow at once.
    pub async fn log_out(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (_, body) = request.into_parts();
        let body = body::read(body, self.limits).await?;
        let keys = self.issuer.as_ref().ok_or_else(|| {
            Refusal::new(Code::LogoutNotConfigured, "the exchange listens to no issuer's logouts")
        })?;
        let unverified = Unverified::read(&logout_token(&body)?)?;
        let verified = unverified.verify(&keys.key(unverified.kid()).await?)?;
        let now = UnixTime::now();
        let token = LogoutToken::read(&verified, keys.issuer(), now, self.skew)?;
        trace.subject = Some(token.subject.to_string());
        let request_id = random::request_id();
        trace.request_id = Some(request_id.clone());
        self.revoke(token, request_id, now).await?;
        self.news.tell();
        let mut response = Response::new(Full::default());
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }

    /// Spends the token and asks for the end of sessions, both or neither.
    async fn revoke(
        &self,
        token: LogoutToken,
        request_id: String,
        now: UnixTime,
    ) -> Result<(), Refusal> {
        let audit = self.audit.clone();
        let act = Act::new(Actor::Issuer, request_id).because(REASON);
        let keep_until = token.exp.plus(self.skew);
        let revoke = move |connection: &Connection| {
            // Ids of assertions have no slash in them.
            if !spent::spend(connection, &format!("logout/{}", token.jti), keep_until)? {
                return Ok(false);
            }
            let subject = &token.subject;
            let instances = revocations::ask_everywhere(connection, subject, REASON, now)?;
            let did = act.did(Action::Revoke).on(subject.as_str()).with(instances.join(", "));
            audit.record(connection, &did, now)?;
            Ok::<_, StoreError>(true)
        };
        if self.store.write(revoke).await? {
            return Ok(());
        }
        Err(token::invalid("its jti was used before"))
    }
}

/// The one logout token in a form (Back-Channel Logout section 2.5).
fn logout_token(form: &[u8]) -> Result<String, Refusal> {
    let mut tokens =
        form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token").map(|(_, t)| t);
    match (tokens.next(), tokens.next()) {
        (Some(token), None) => Ok(token.into_owned()),
        _ => Err(Refusal::new(Code::BodyMalformed, "expected a form with one logout_token")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_has_one_logout_token() {
        assert_eq!(logout_token(b"logout_token=a.b.c").unwrap(), "a.b.c");
        assert_eq!(logout_token(b"x=1&logout_token=a.b.c&y").unwrap(), "a.b.c");
        for form in ["", "token=a", "logout_token=a&logout_token=b", "{\"logout_token\":\"a\"}"] {
            assert!(logout_token(form.as_bytes()).is_err(), "{form}");
        }
    }
}
