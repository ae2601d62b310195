//! The hand-off: a login that ends at an instance's own page. See [`kombi_spec::handoff`].

pub mod codes;
mod form;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Request, Response,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue, ORIGIN},
};
use kombi_spec::{
    code::Code,
    handoff::{Code as CodeAnswer, CodeRequest, LIFETIME_S, S256},
};
use tokio::time::Instant;

use crate::{
    audit::Act,
    body::{self, RequestBody},
    connector::Connector,
    instance::InstanceId,
    random,
    refusal::Refusal,
    reply,
    route::Trace,
    session::{Desk, Visitor},
    time::UnixTime,
};
use codes::{Challenge, Grant, OneTimeCode, Redeemed};
use form::Redemption;

impl<C: Connector> Desk<C> {
    /// Gives the person whom the request's assertion names a code, for the page of the instance
    /// `id`.
    pub async fn issue_code(
        &self,
        id: &InstanceId,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (Visitor { person, request_id }, body) = self.visitor(request, trace).await?;
        let (redirect_uri, challenge) = asked_for(&body)?;
        let instance = self.entrance.admit(id, &person).await?;
        if !instance.has_page(&redirect_uri) {
            let detail = "the redirect_uri is not the page that the instance is registered with";
            return Err(Refusal::new(Code::RedirectRefused, detail));
        }
        let code = OneTimeCode::random().map_err(Refusal::internal)?;
        let grant = Grant { instance: instance.id, person, redirect_uri, challenge };
        let act = Act::of_person(&grant.person.subject, request_id);
        let issued = codes::issue(&self.store, &self.entrance.audit, &code, grant, &act);
        issued.await?;
        reply::json(&CodeAnswer { code: code.to_text(), expires_in: LIFETIME_S })
    }

    /// Opens a session for whoever holds a code and its verifier.
    pub async fn redeem(
        &self,
        request: Request<impl RequestBody>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let (head, body) = request.into_parts();
        let body = body::read(body, self.limits).await?;
        let deadline = Instant::now() + self.entrance.patience;
        let request_id = random::request_id();
        trace.request_id = Some(request_id.clone());
        let redemption = Redemption::parse(&body)?;
        let code = redemption.code.clone();
        let redeemed = codes::redeem(&self.store, redemption, UnixTime::now());
        let grant = match redeemed.await? {
            Redeemed::Granted(grant) => grant,
            Redeemed::Refused(cause) => return Err(invalid(cause)),
            Redeemed::Again { instance, subject } => {
                trace.subject = Some(subject.to_string());
                tracing::warn!(
                    request_id,
                    instance = instance.as_str(),
                    sub = subject.as_str(),
                    "a code was redeemed twice: the person's sessions there are ended"
                );
                self.news.tell();
                return Err(invalid("redeemed before"));
            }
        };
        let Grant { instance, person, redirect_uri, .. } = grant;
        trace.subject = Some(person.subject.to_string());
        if !is_from(&redirect_uri, &head.headers) {
            return Err(invalid("sent by a page of another origin"));
        }
        // Who may enter, and which page is the instance's, may have changed since.
        let instance = self.entrance.admit(&instance, &person).await?;
        if !instance.has_page(&redirect_uri) {
            return Err(invalid("its page is not the instance's any more"));
        }
        let entry = self.entrance.enter(&instance, &person, &request_id, deadline).await?;
        trace.origin = entry.origin;
        let again = codes::entered(&self.store, &code, UnixTime::now());
        if again.await? {
            self.news.tell();
        }
        reply::json(&entry.session)
    }
}

/// Lets the answer be read by pages of other origins: an instance's is one. It is worth nothing
/// without the code and its verifier, and no cookie is involved.
pub fn for_any_origin(response: &mut Response<Full<Bytes>>) {
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

/// What a code is asked for.
fn asked_for(body: &[u8]) -> Result<(String, Challenge), Refusal> {
    let malformed = |detail: String| Refusal::new(Code::BodyMalformed, detail);
    let CodeRequest { redirect_uri, code_challenge, code_challenge_method } =
        serde_json::from_slice(body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            malformed(format!(
                "expected {{\"redirect_uri\", \"code_challenge\", \"code_challenge_method\"}}, \
                 found something else at {line}:{column}"
            ))
        })?;
    if code_challenge_method != S256 {
        return Err(malformed(format!("code_challenge_method: expected {S256}, found another")));
    }
    let challenge = Challenge::parse(&code_challenge).ok_or_else(|| {
        malformed("code_challenge: expected 43 characters of base64url, found otherwise".to_owned())
    })?;
    Ok((redirect_uri, challenge))
}

/// Whether a request with these headers comes from the page `redirect_uri`: browsers say which
/// origin it is. Whoever else holds the verifier made it.
fn is_from(redirect_uri: &str, headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return headers.get(ORIGIN).is_none();
    };
    let page = url::Url::parse(redirect_uri).map(|page| page.origin().ascii_serialization());
    page.is_ok_and(|page| origin.as_bytes() == page.as_bytes())
}

fn invalid(cause: &str) -> Refusal {
    Refusal::new(Code::CodeInvalid, "the code is not good").because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_origin_redeems_nothing() {
        let page = "https://lab.example/kombisphere/";
        for (origins, good) in [
            (&[] as &[&str], true),
            (&["https://lab.example"], true),
            (&["https://lab.example:443"], false),
            (&["http://lab.example"], false),
            (&["https://lab.example.evil"], false),
            (&["null"], false),
            (&["https://lab.example", "https://lab.example"], false),
        ] {
            let mut headers = HeaderMap::new();
            for origin in origins {
                headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            assert_eq!(is_from(page, &headers), good, "{origins:?}");
        }
    }

    #[test]
    fn only_s256_is_a_challenge() {
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let body = |method: &str, challenge: &str| {
            serde_json::json!({
                "redirect_uri": "https://lab.example/", "code_challenge": challenge,
                "code_challenge_method": method,
            })
            .to_string()
        };
        assert!(asked_for(body("S256", challenge).as_bytes()).is_ok());
        for bad in [
            body("plain", challenge),
            body("S256", "E9Mel"),
            body("S256", &"!".repeat(43)),
            "{}".to_owned(),
            String::new(),
        ] {
            assert_eq!(asked_for(bad.as_bytes()).unwrap_err().code, Code::BodyMalformed, "{bad}");
        }
    }
}
