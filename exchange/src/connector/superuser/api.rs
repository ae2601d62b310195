//! PocketBase's Web API, as far as a superuser needs it to sign somebody in.

use reqwest::{Client, Method, StatusCode, header::AUTHORIZATION};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

use super::super::{ConnectorError, body};
use crate::{access::Superuser, instance::InstanceUrl, traces};

/// The largest answer that is read, in bytes; a collection's description is the longest.
const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// Superusers had an API of their own before they became a collection.
pub(super) const NO_SUPERUSERS: &str =
    "it has no collection of superusers: expected PocketBase 0.36 or newer";

/// The collection of the people of an instance.
const USERS: &str = "/api/collections/users";

/// The API of one instance.
#[derive(Clone, Copy)]
pub(super) struct Api<'a> {
    pub(super) client: &'a Client,
    pub(super) url: &'a InstanceUrl,
}

/// A superuser's token.
#[derive(Clone)]
pub(super) struct Pass(String);

/// A call did not do what it was made for.
pub(super) enum Trouble {
    /// PocketBase does not take us for a superuser (any more): it never says so, but treats a
    /// bad token as none.
    Guest,
    /// The value of this field is taken or not valid.
    Field(&'static str),
    /// Anything else.
    Other(ConnectorError),
}

impl From<ConnectorError> for Trouble {
    fn from(error: ConnectorError) -> Self {
        Self::Other(error)
    }
}

/// The part of a user's record that decides who they are. `zitadel_sub` is hidden: only a
/// superuser sees it, so its presence proves that we are one.
#[derive(Debug, Deserialize)]
pub(super) struct User {
    pub(super) id: String,
    #[serde(default)]
    pub(super) verified: bool,
    pub(super) zitadel_sub: Option<String>,
    /// Null where there are none.
    #[serde(default)]
    pub(super) feature_flags: Value,
}

/// What PocketBase says of the collection of users.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Users {
    /// The rule that a user must meet to sign in; none lets nobody in.
    #[serde(rename = "authRule")]
    pub(super) auth_rule: Option<String>,
    pub(super) fields: Vec<Field>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Field {
    pub(super) name: String,
    #[serde(default)]
    pub(super) hidden: bool,
}

/// A session that PocketBase opened.
#[derive(Deserialize)]
pub(super) struct Opened {
    pub(super) token: String,
    pub(super) record: Box<RawValue>,
}

impl Api<'_> {
    /// Signs the superuser in with its password. That costs the instance a bcrypt.
    pub(super) async fn sign_in(&self, superuser: &Superuser) -> Result<Pass, ConnectorError> {
        #[derive(Deserialize)]
        struct SignedIn {
            token: String,
        }
        let Superuser { email, password } = superuser;
        let body = json!({"identity": email, "password": password});
        let path = "/api/collections/_superusers/auth-with-password";
        let (status, answer) = self.call(Method::POST, path, &[], None, Some(&body)).await?;
        match status {
            StatusCode::OK => parse::<SignedIn>(&answer).map(|signed_in| Pass(signed_in.token)),
            StatusCode::BAD_REQUEST => Err(misbehaved("it refuses the superuser's password")),
            StatusCode::UNAUTHORIZED => Err(misbehaved(
                "it asks the superuser for a second factor; the exchange needs one without",
            )),
            StatusCode::NOT_FOUND => Err(misbehaved(NO_SUPERUSERS)),
            status => Err(unexpected(status)),
        }
    }

    /// What PocketBase says of the collection of users. It says so to superusers only.
    pub(super) async fn users<T: DeserializeOwned>(&self, pass: &Pass) -> Result<T, Trouble> {
        match self.call(Method::GET, USERS, &[], Some(pass), None).await? {
            (StatusCode::OK, answer) => Ok(parse(&answer)?),
            (status, _) => Err(guest_or_unexpected(status)),
        }
    }

    /// Changes the collection of users.
    pub(super) async fn change_users(&self, pass: &Pass, change: &Value) -> Result<(), Trouble> {
        match self.call(Method::PATCH, USERS, &[], Some(pass), Some(change)).await? {
            (StatusCode::OK, _) => Ok(()),
            (status, _) => Err(guest_or_unexpected(status)),
        }
    }

    /// At most three users that meet `filter`.
    pub(super) async fn find(&self, pass: &Pass, filter: &str) -> Result<Vec<User>, Trouble> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<User>,
        }
        let query = [("perPage", "3"), ("skipTotal", "1"), ("sort", "id"), ("filter", filter)];
        let path = format!("{USERS}/records");
        match self.call(Method::GET, &path, &query, Some(pass), None).await? {
            (StatusCode::OK, answer) => {
                let Page { items } = parse(&answer)?;
                // Hidden from a guest, who sees what the collection's rules show to everybody.
                let seen = items.iter().all(|user| user.zitadel_sub.is_some());
                if seen { Ok(items) } else { Err(Trouble::Guest) }
            }
            (status, _) => Err(guest_or_unexpected(status)),
        }
    }

    /// Makes a user with these fields.
    pub(super) async fn create(&self, pass: &Pass, fields: &Value) -> Result<User, Trouble> {
        let path = format!("{USERS}/records");
        changed(self.call(Method::POST, &path, &[], Some(pass), Some(fields)).await?)
    }

    /// Changes these fields of the user `id`.
    pub(super) async fn update(
        &self,
        pass: &Pass,
        id: &str,
        fields: &Value,
    ) -> Result<User, Trouble> {
        let path = format!("{USERS}/records/{id}");
        changed(self.call(Method::PATCH, &path, &[], Some(pass), Some(fields)).await?)
    }

    /// Deletes the user `id`.
    pub(super) async fn delete(&self, pass: &Pass, id: &str) -> Result<(), Trouble> {
        let path = format!("{USERS}/records/{id}");
        match self.call(Method::DELETE, &path, &[], Some(pass), None).await? {
            (StatusCode::NO_CONTENT, _) => Ok(()),
            (status, _) => Err(guest_or_unexpected(status)),
        }
    }

    /// Opens a session of the user `id`, for as long as the collection's sessions last. It
    /// cannot be refreshed: PocketBase refuses that to impersonators.
    pub(super) async fn impersonate(&self, pass: &Pass, id: &str) -> Result<Opened, Trouble> {
        let path = format!("{USERS}/impersonate/{id}");
        let body = json!({"duration": 0});
        match self.call(Method::POST, &path, &[], Some(pass), Some(&body)).await? {
            (StatusCode::OK, answer) => Ok(parse(&answer)?),
            (status, _) => Err(guest_or_unexpected(status)),
        }
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        pass: Option<&Pass>,
        json: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), ConnectorError> {
        let mut url = self.url.below(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url);
        if let Some(Pass(token)) = pass {
            request = request.header(AUTHORIZATION, token);
        }
        if let Some(json) = json {
            let text = json.to_string();
            request = request.header("content-type", "application/json").body(text);
        }
        let mut response = traces::send(request, "instance").await?;
        let answer = body(&mut response, MAX_ANSWER_BYTES).await?;
        Ok((response.status(), answer))
    }
}

/// The user that a change has made of one.
fn changed((status, answer): (StatusCode, Vec<u8>)) -> Result<User, Trouble> {
    match status {
        StatusCode::OK => {
            let user: User = parse(&answer)?;
            if user.zitadel_sub.is_some() { Ok(user) } else { Err(Trouble::Guest) }
        }
        StatusCode::BAD_REQUEST => Err(Trouble::Field(field_at_fault(&answer))),
        status => Err(guest_or_unexpected(status)),
    }
}

/// The field that PocketBase's error names, if it is the one that decides what happens next.
fn field_at_fault(answer: &[u8]) -> &'static str {
    #[derive(Deserialize)]
    struct Refused {
        data: serde_json::Map<String, Value>,
    }
    let refused = serde_json::from_slice::<Refused>(answer);
    let named = refused.is_ok_and(|refused| refused.data.contains_key(ZITADEL_SUB));
    if named { ZITADEL_SUB } else { "another field" }
}

/// The field with a user's feature flags.
pub(super) const FEATURE_FLAGS: &str = "feature_flags";

/// The field that links a user to a person.
pub(super) const ZITADEL_SUB: &str = "zitadel_sub";

fn parse<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ConnectorError> {
    // An error of serde_json could quote a token; its position is enough.
    serde_json::from_slice(answer).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        misbehaved(format!("its answer is not PocketBase's ({line}:{column})"))
    })
}

/// A guest is refused, told that there is nothing, or told that it must not filter by this.
fn guest_or_unexpected(status: StatusCode) -> Trouble {
    match status.as_u16() {
        400 | 401 | 403 | 404 => Trouble::Guest,
        _ => Trouble::Other(unexpected(status)),
    }
}

fn unexpected(status: StatusCode) -> ConnectorError {
    match status.as_u16() {
        429 | 500..=504 => ConnectorError::Unreachable(format!("it answered {status}")),
        _ => misbehaved(format!("it answered {status}")),
    }
}

pub(super) fn misbehaved(problem: impl Into<String>) -> ConnectorError {
    ConnectorError::Misbehaved(problem.into())
}
