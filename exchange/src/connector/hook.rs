//! The recommended way in: the KombiSphere hook inside the instance, which takes a request that
//! is signed with the instance's own key. See [`kombi_spec::session`].

use hyper::header::CONTENT_TYPE;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kombi_spec::{
    account::{ACCOUNT_PATH, AccountRequest, Ask, Checked, Done, Order, VERSION, account_audience},
    session::{
        END_PATH, EndRequest, Ended, HOOK_PATH, HookRefusal, Origin, REQUEST_ISSUER,
        REQUEST_LIFETIME_S, Session, SessionRequest, SignedRequest, end_audience,
    },
};
use reqwest::StatusCode;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    ConnectorError, Entry, Person,
    check::{self, Finding, Look, Wrong},
};
use crate::{
    access::HookKey,
    instance::{Instance, Subject},
    outbound::Outbound,
    time::UnixTime,
    traces,
};

/// The largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Enters instances through their hook.
pub(super) struct Hook {
    pub(super) outbound: Outbound,
}

impl Hook {
    async fn call(
        &self,
        instance: &Instance,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Vec<u8>), ConnectorError> {
        let request = self
            .outbound
            .client(instance.url.reach())
            .post(instance.url.below(path))
            .header(CONTENT_TYPE, "application/json")
            .body(body);
        let mut response = traces::send(request, "instance").await?;
        let answer = super::body(&mut response, MAX_ANSWER_BYTES).await?;
        Ok((response.status(), answer))
    }

    /// Asks the hook of `instance`, which `key` opens, for a session.
    pub(super) async fn enter(
        &self,
        instance: &Instance,
        key: &HookKey,
        person: &Person,
        request_id: &str,
    ) -> Result<Entry, ConnectorError> {
        let body = signed(key, &session_request(instance, person, request_id, UnixTime::now()))?;
        let (status, answer) = self.call(instance, HOOK_PATH, body).await?;
        if status == StatusCode::OK { entry(&answer) } else { Err(refusal(status, &answer)) }
    }

    /// Asks the hook of `instance`, which `key` opens, to end every session of `subject`.
    pub(super) async fn end_sessions(
        &self,
        instance: &Instance,
        key: &HookKey,
        subject: &Subject,
        request_id: &str,
    ) -> Result<bool, ConnectorError> {
        let now = UnixTime::now();
        let request = EndRequest {
            iss: REQUEST_ISSUER.to_owned(),
            aud: end_audience(instance.id.as_str()),
            iat: now.as_secs(),
            exp: now.as_secs().saturating_add(REQUEST_LIFETIME_S),
            jti: request_id.to_owned(),
            sub: subject.to_string(),
        };
        let body = signed(key, &request)?;
        let (status, answer) = self.call(instance, END_PATH, body).await?;
        let Ended { ended } =
            said(status, &answer, "its answer does not say whether sessions were ended")?;
        Ok(ended)
    }

    /// Asks the hook of `instance`, which `key` opens, to carry `order` out.
    pub(super) async fn carry_out(
        &self,
        instance: &Instance,
        key: &HookKey,
        subject: &Subject,
        order: &Order,
        request_id: &str,
    ) -> Result<Done, ConnectorError> {
        let request = account_request(instance, subject.as_str(), order, request_id);
        let (status, answer) = self.call(instance, ACCOUNT_PATH, signed(key, &request)?).await?;
        said(status, &answer, "its answer does not say what was done")
    }

    /// Asks the hook of `instance` whether everything is in place.
    pub(super) async fn check(
        &self,
        instance: &Instance,
        key: &HookKey,
        request_id: &str,
    ) -> Vec<Finding> {
        let request = account_request(instance, REQUEST_ISSUER, Ask::Check, request_id);
        let asked = async {
            let body = signed(key, &request)?;
            self.call(instance, ACCOUNT_PATH, body).await
        };
        check::findings(match asked.await {
            Err(error) => Some(Wrong::unreachable(&error)),
            Ok((status, answer)) => wrong(status, &answer),
        })
    }
}

/// What the hook says to what it was told to do; `otherwise` is what is wrong with anything else.
fn said<T: DeserializeOwned>(
    status: StatusCode,
    answer: &[u8],
    otherwise: &str,
) -> Result<T, ConnectorError> {
    if status != StatusCode::OK {
        return Err(refusal(status, answer));
    }
    serde_json::from_slice(answer).map_err(|_| ConnectorError::Misbehaved(otherwise.to_owned()))
}

fn account_request<What>(
    instance: &Instance,
    subject: &str,
    what: What,
    request_id: &str,
) -> AccountRequest<What> {
    let now = UnixTime::now();
    AccountRequest {
        iss: REQUEST_ISSUER.to_owned(),
        aud: account_audience(instance.id.as_str()),
        iat: now.as_secs(),
        exp: now.as_secs().saturating_add(REQUEST_LIFETIME_S),
        jti: request_id.to_owned(),
        sub: subject.to_owned(),
        what,
    }
}

/// What the hook's answer says is not in place.
fn wrong(status: StatusCode, answer: &[u8]) -> Option<Wrong> {
    let install =
        "install the current pb_hooks and pb_migrations of exchange/kombistack, and restart it";
    let found = match (status, serde_json::from_slice(answer)) {
        (StatusCode::OK, Ok(Checked { version, missing })) if version >= VERSION => {
            let restore = "restore what the migrations have added to the collection users";
            let found = || format!("not there as it was added: {}", missing.join(", "));
            return (!missing.is_empty()).then(|| Wrong::new(Look::Fields, found(), restore));
        }
        (StatusCode::OK, Ok(Checked { version, .. })) => format!("a hook of version {version}"),
        (StatusCode::SERVICE_UNAVAILABLE, _) => {
            let mend = "set KOMBISPHERE_INSTANCE_ID and KOMBISPHERE_SSO_KEY in its environment; its \
                        log says which is wrong";
            return Some(Wrong::new(Look::Access, "the hook is not configured", mend));
        }
        (status, _) => match refusal(status, answer) {
            ConnectorError::Refused(HookRefusal::RequestInvalid) => {
                let mend = "compare id, key and clock on both sides; kombi-exchange instance \
                            rotate-key makes a new key";
                return Some(Wrong::new(Look::Access, "it does not accept our signature", mend));
            }
            error @ ConnectorError::Unreachable(_) => return Some(Wrong::unreachable(&error)),
            error => error.to_string(),
        },
    };
    Some(Wrong::new(Look::Version, found, install))
}

fn session_request(
    instance: &Instance,
    person: &Person,
    request_id: &str,
    now: UnixTime,
) -> SessionRequest {
    SessionRequest {
        iss: REQUEST_ISSUER.to_owned(),
        aud: instance.id.to_string(),
        iat: now.as_secs(),
        exp: now.as_secs().saturating_add(REQUEST_LIFETIME_S),
        // The gateway's id of the request, accepted once: so it is unique here too, and one id
        // finds the request in the logs of all three.
        jti: request_id.to_owned(),
        sub: person.subject.to_string(),
        email: person.email.clone(),
        email_verified: person.email_verified,
        name: person.name.clone(),
    }
}

/// The body of a call: the whole request, signed.
fn signed(key: &HookKey, claims: &impl Serialize) -> Result<Vec<u8>, ConnectorError> {
    let key = EncodingKey::from_secret(key.hmac_secret().as_bytes());
    let request =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).map_err(|error| {
            ConnectorError::Internal(format!("the request was not signed: {error}"))
        })?;
    serde_json::to_vec(&SignedRequest { request })
        .map_err(|error| ConnectorError::Internal(error.to_string()))
}

/// PocketBase's answer to a sign-in, with the hook's word on it.
#[derive(Deserialize)]
struct Answer {
    token: String,
    record: Box<RawValue>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Meta {
    kombisphere: Option<Origin>,
}

/// The part of a record that the exchange reads.
#[derive(Deserialize)]
struct Record {
    id: String,
}

fn entry(answer: &[u8]) -> Result<Entry, ConnectorError> {
    // An error of serde_json could quote the token; its position is enough.
    let misshapen = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        ConnectorError::Misbehaved(format!("its answer is not a session ({line}:{column})"))
    };
    let answer: Answer = serde_json::from_slice(answer).map_err(misshapen)?;
    let record: Record = serde_json::from_str(answer.record.get()).map_err(misshapen)?;
    if answer.token.is_empty() || record.id.is_empty() {
        let problem = "its answer has an empty token or record id";
        return Err(ConnectorError::Misbehaved(problem.to_owned()));
    }
    Ok(Entry {
        record_id: record.id,
        origin: answer.meta.and_then(|meta| meta.kombisphere),
        session: Session { token: answer.token, record: answer.record },
    })
}

/// PocketBase's form of an error.
#[derive(Deserialize)]
struct ErrorAnswer {
    data: ErrorData,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorData {
    Known { code: HookRefusal },
    Other {},
}

fn refusal(status: StatusCode, answer: &[u8]) -> ConnectorError {
    let said = serde_json::from_slice(answer).ok().map(|ErrorAnswer { data }| data);
    match (status.as_u16(), said) {
        (_, Some(ErrorData::Known { code })) => ConnectorError::Refused(code),
        // PocketBase's rate limit, or a proxy in front of a PocketBase that is not there. A 503
        // of PocketBase itself is the hook's, which is not configured.
        (429, _) | (502..=504, None) => {
            ConnectorError::Unreachable(format!("it answered {status}"))
        }
        _ => ConnectorError::Misbehaved(format!("it answered {status} without a known code")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_keeps_the_record_to_the_letter_and_drops_meta() {
        let answer = br#"{"record": {"id":"r1", "n":1.0,"z" : 9007199254740993},
                          "token":"t", "meta":{"kombisphere":"created"}}"#;
        let entry = entry(answer).unwrap();
        assert_eq!(entry.record_id, "r1");
        assert_eq!(entry.origin, Some(Origin::Created));
        assert_eq!(
            serde_json::to_string(&entry.session).unwrap(),
            r#"{"token":"t","record":{"id":"r1", "n":1.0,"z" : 9007199254740993}}"#
        );
    }

    #[test]
    fn anything_else_is_misbehaviour_and_its_report_quotes_nothing() {
        for answer in [
            "",
            "null",
            "[]",
            "hello",
            r#"{"token":"SECRET"}"#,
            r#"{"token":"","record":{"id":"r1"}}"#,
            r#"{"token":"SECRET","record":{"id":""}}"#,
            r#"{"token":"SECRET","record":"r1"}"#,
            r#"{"token":{"SECRET":1},"record":{"id":"r1"}}"#,
            r#"{"token":"SECRET","record":{"id":"r1"},"meta":{"kombisphere":"SECRET"}}"#,
        ] {
            let error = entry(answer.as_bytes()).unwrap_err();
            assert!(matches!(error, ConnectorError::Misbehaved(_)), "{answer}");
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
    }

    #[test]
    fn a_refusal_is_read_from_the_errors_data() {
        for (status, answer, label) in [
            (409, r#"{"status":409,"data":{"code":"account_collision"}}"#, "refused"),
            (400, r#"{"status":400,"data":{"code":"request_invalid"}}"#, "refused"),
            (400, r#"{"status":400,"data":{"code":"something_new"}}"#, "misbehaved"),
            (400, r#"{"status":400,"data":{}}"#, "misbehaved"),
            (404, r#"{"status":404,"data":{}}"#, "misbehaved"),
            (302, "", "misbehaved"),
            (500, "<html>", "misbehaved"),
            (503, r#"{"status":503,"data":{}}"#, "misbehaved"),
            (429, r#"{"status":429,"data":{}}"#, "unreachable"),
            (502, "<html>", "unreachable"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(refusal(status, answer.as_bytes()).as_label(), label, "{status} {answer}");
        }
    }
}
