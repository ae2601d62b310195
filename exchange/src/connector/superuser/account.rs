//! Which user of an instance a person is; the rules are the hook's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::session::{HookRefusal, Origin, Session};
use serde_json::{json, value::RawValue};

use super::{
    super::{ConnectorError, Entry, Person},
    api::{Api, Trouble, User, Users, ZITADEL_SUB, misbehaved},
    passes::Known,
};
use crate::{instance::Subject, random};

/// The users of one instance, asked on behalf of one person.
pub(super) struct Accounts<'a> {
    pub(super) api: Api<'a>,
    pub(super) known: &'a Known,
    pub(super) person: &'a Person,
}

impl Accounts<'_> {
    /// Signs the person in as the user that is linked to them, if there is one who may sign in.
    pub(super) async fn enter_as_known(&self) -> Result<Option<Entry>, Trouble> {
        let filter = format!("{} && {}", self.linked()?, self.may_sign_in()?);
        match self.find(&filter).await?.as_slice() {
            [] => Ok(None),
            [user] => self.open(user, Origin::Found).await.map(Some),
            [..] => Err(misbehaved("two of its users have one zitadel_sub").into()),
        }
    }

    /// Finds, links or makes the person's user, and signs them in. For one at a time.
    pub(super) async fn enter_for_the_first_time(&self) -> Result<Entry, Trouble> {
        // An empty list may be what a guest sees; the collection is shown to superusers only.
        let Users { .. } = self.api.users(&self.known.pass).await?;
        if let Some(entry) = self.enter_as_known().await? {
            return Ok(entry);
        }
        if !self.find(&self.linked()?).await?.is_empty() {
            return Err(refused(HookRefusal::AccountRefused));
        }
        match self.find_by_email().await?.as_slice() {
            [] => self.create().await,
            [only] if self.may_link(only) => self.link(only).await,
            _ => Err(refused(HookRefusal::AccountCollision)),
        }
    }

    /// An address that one side has not verified may belong to somebody else, who waits there for
    /// its real owner to come by and be linked.
    fn may_link(&self, user: &User) -> bool {
        self.person.email_verified && user.verified && user.zitadel_sub.as_deref() == Some("")
    }

    async fn link(&self, user: &User) -> Result<Entry, Trouble> {
        let filter = format!("id = {} && {}", literal(&user.id)?, self.may_sign_in()?);
        if self.find(&filter).await?.is_empty() {
            return Err(refused(HookRefusal::AccountRefused));
        }
        let link = json!({ZITADEL_SUB: self.person.subject.as_str()});
        let user = self.api.update(&self.known.pass, &user.id, &link).await;
        self.open(&user.map_err(incomplete)?, Origin::Linked).await
    }

    async fn create(&self) -> Result<Entry, Trouble> {
        let secret: [u8; 32] =
            random::bytes().map_err(|error| ConnectorError::Internal(error.to_string()))?;
        let password = URL_SAFE_NO_PAD.encode(secret);
        // An address that is not verified is not written: its real owner could reset the password
        // by mail and share the user with whoever made it.
        let email = self.person.email.as_deref().filter(|_| self.person.email_verified);
        let email = email.unwrap_or_default();
        let mut fields = json!({
            ZITADEL_SUB: self.person.subject.as_str(),
            "email": email,
            "emailVisibility": false,
            "verified": !email.is_empty(),
            "password": password,
            "passwordConfirm": password,
        });
        let has_name = self.known.users.fields.iter().any(|field| field.name == "name");
        if let (true, Some(name), Some(fields)) =
            (has_name, &self.person.name, fields.as_object_mut())
        {
            fields.insert("name".to_owned(), name.as_str().into());
        }
        let user = self.api.create(&self.known.pass, &fields).await.map_err(incomplete)?;
        let filter = format!("id = {} && {}", literal(&user.id)?, self.may_sign_in()?);
        if self.find(&filter).await?.is_empty() {
            // A refused sign-in leaves no user behind.
            self.api.delete(&self.known.pass, &user.id).await?;
            return Err(refused(HookRefusal::AccountRefused));
        }
        self.open(&user, Origin::Created).await
    }

    async fn open(&self, user: &User, origin: Origin) -> Result<Entry, Trouble> {
        if user.zitadel_sub.as_deref() != Some(self.person.subject.as_str()) {
            return Err(misbehaved("it answered with another person's user").into());
        }
        let opened = self.api.impersonate(&self.known.pass, &user.id).await?;
        let record = self.as_the_user_sees_it(&opened.record)?;
        Ok(Entry {
            record_id: user.id.clone(),
            origin: Some(origin),
            session: Session { token: opened.token, record },
        })
    }

    /// The record without its hidden fields, which were shown to a superuser. What stays, stays to
    /// the letter.
    fn as_the_user_sees_it(&self, record: &RawValue) -> Result<Box<RawValue>, Trouble> {
        let misshapen = |_| Trouble::from(misbehaved("its record is not an object"));
        let mut fields: std::collections::BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(record.get()).map_err(misshapen)?;
        for field in self.known.users.fields.iter().filter(|field| field.hidden) {
            fields.remove(&field.name);
        }
        serde_json::value::to_raw_value(&fields).map_err(misshapen)
    }

    /// PocketBase folds the case of ASCII alone, and so do we: folding by Unicode would take an
    /// address with a letter such as the Kelvin sign for somebody else's.
    async fn find_by_email(&self) -> Result<Vec<User>, Trouble> {
        let Some(email) = self.person.email.as_deref().filter(|email| !email.is_empty()) else {
            return Ok(Vec::new());
        };
        let filter = format!("email:lower = {}", literal(&email.to_ascii_lowercase())?);
        self.find(&filter).await
    }

    async fn find(&self, filter: &str) -> Result<Vec<User>, Trouble> {
        self.api.find(&self.known.pass, filter).await
    }

    fn linked(&self) -> Result<String, Trouble> {
        linked_to(&self.person.subject)
    }

    /// The rule that a user must meet to sign in, as a filter. PocketBase does not apply it to
    /// impersonation.
    fn may_sign_in(&self) -> Result<String, Trouble> {
        match self.known.users.auth_rule.as_deref().map(str::trim) {
            None => Err(refused(HookRefusal::AccountRefused)),
            Some("") => Ok("id != \"\"".to_owned()),
            Some(rule) => Ok(format!("({rule})")),
        }
    }
}

/// Ends every session of the user that is linked to `subject`; whether there is one. A user's tokens
/// are signed with a key of their own, and this gives them another.
pub(super) async fn end_sessions(
    api: Api<'_>,
    known: &Known,
    subject: &Subject,
) -> Result<bool, Trouble> {
    let users = api.find(&known.pass, &linked_to(subject)?).await?;
    if users.is_empty() {
        // An empty list may be what a guest sees; the collection is shown to superusers only.
        let Users { .. } = api.users(&known.pass).await?;
    }
    for user in &users {
        api.update(&known.pass, &user.id, &json!({"tokenKey:autogenerate": ""})).await?;
    }
    Ok(!users.is_empty())
}

/// A filter for the user that is linked to `subject`, which is never empty: `zitadel_sub = ""` is
/// every local user.
pub(super) fn linked_to(subject: &Subject) -> Result<String, Trouble> {
    Ok(format!("{ZITADEL_SUB} = {}", literal(subject.as_str())?))
}

/// `text` as a string of PocketBase's filters, which have no escape that is the same in all
/// versions; so what would need one is refused.
pub(super) fn literal(text: &str) -> Result<String, Trouble> {
    if text.contains(['"', '\\']) || text.chars().any(char::is_control) {
        return Err(refused(HookRefusal::AccountIncomplete));
    }
    Ok(format!("\"{text}\""))
}

/// What a refused change of a record means to the person.
pub(super) fn incomplete(trouble: Trouble) -> Trouble {
    match trouble {
        // Somebody was faster.
        Trouble::Field(ZITADEL_SUB) => refused(HookRefusal::AccountCollision),
        Trouble::Field(_) => refused(HookRefusal::AccountIncomplete),
        other => other,
    }
}

pub(super) fn refused(refusal: HookRefusal) -> Trouble {
    ConnectorError::Refused(refusal).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_person_can_change_the_meaning_of_a_filter() {
        assert!(matches!(literal("o'brien@example.com").as_deref(), Ok("\"o'brien@example.com\"")));
        for text in ["\"", "a\" || id != \"", "a\\", "a\nb", "\u{0}"] {
            assert!(literal(text).is_err(), "{text:?}");
        }
    }
}
