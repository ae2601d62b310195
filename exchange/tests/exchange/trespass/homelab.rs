//! An instance with users, whose hook does what ours does, and that keeps count of whom it let in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use kombi_exchange::access::HookKey;
use serde_json::{Value, json};

use crate::instance::{Call, FakeInstance, Script, json as answer};

/// The one local user that nobody from outside is yet.
pub(crate) const LOCAL: &str = "local";

pub(crate) struct Homelab {
    id: &'static str,
    /// What its sessions, and no other's, are known by.
    born: String,
    key: String,
    /// Who is which user.
    users: BTreeMap<String, String>,
    /// How often the sessions of a user were ended.
    ended: BTreeMap<String, u64>,
    /// Everybody who was let in, one after the other.
    pub(crate) let_in: Vec<String>,
}

impl Homelab {
    /// A new one, which nobody has been to, and which `key` opens.
    pub(crate) fn new(id: &'static str, key: &HookKey) -> Self {
        let (users, ended, let_in) = Default::default();
        Self { id, born: key.to_text(), key: key.to_text(), users, ended, let_in }
    }

    /// An instance that whatever `homelab` is now answers for.
    pub(crate) async fn serve(homelab: &Arc<Mutex<Self>>) -> FakeInstance {
        let homelab = Arc::clone(homelab);
        FakeInstance::start(move |call| Script::Send(homelab.lock().unwrap().answer(call))).await
    }

    /// From now on, another key opens it.
    pub(crate) fn rekey(&mut self, key: &str) {
        key.clone_into(&mut self.key);
    }

    /// Which user `who` is here.
    pub(crate) fn user(&self, who: &str) -> Option<&str> {
        self.users.get(who).map(String::as_str)
    }

    /// Whether `token` still opens something here.
    pub(crate) fn knows(&self, token: &str) -> bool {
        let mut parts = token.split(' ');
        let (born, user, at) = (parts.next(), parts.next().unwrap(), parts.next().unwrap());
        born == Some(&self.born) && at == self.times_ended(user).to_string()
    }

    fn times_ended(&self, user: &str) -> u64 {
        self.ended.get(user).copied().unwrap_or_default()
    }

    fn answer(&mut self, call: &Call) -> Vec<u8> {
        let audience = match call.line.split(' ').nth(1) {
            Some("/api/kombisphere/session") => self.id.to_owned(),
            Some("/api/kombisphere/end-sessions") => format!("{}#end-sessions", self.id),
            Some("/api/kombisphere/account") => format!("{}#account", self.id),
            _ => return answer(404, "{}"),
        };
        let mut expected = Validation::new(Algorithm::HS256);
        expected.set_audience(&[audience]);
        let key = DecodingKey::from_secret(self.key.as_bytes());
        if jsonwebtoken::decode::<Value>(&call.jws, &key, &expected).is_err() {
            return answer(401, r#"{"data":{"code":"request_invalid"}}"#);
        }
        let (who, order) = (&call.claims.sub, call.payload());
        let said = match order["do"].as_str() {
            Some("set_flags") => json!({"record": self.user(who), "changed": true}),
            Some("link") => match self.link(who, order["record"].as_str().unwrap()) {
                Some(said) => said,
                None => return answer(409, r#"{"data":{"code":"account_collision"}}"#),
            },
            Some("unlink") => {
                let user = self.users.remove(who);
                self.end(user.as_deref());
                json!({"record": user, "changed": user.is_some()})
            }
            Some(other) => panic!("nobody orders {other}"),
            None if call.line.contains("/end-sessions ") => {
                let user = self.users.get(who).cloned();
                self.end(user.as_deref());
                json!({"ended": user.is_some()})
            }
            None => self.enter(who),
        };
        answer(200, &said.to_string())
    }

    fn enter(&mut self, who: &str) -> Value {
        let own = || format!("user-{who}");
        let user = self.users.entry(who.to_owned()).or_insert_with(own).clone();
        self.let_in.push(who.to_owned());
        let token = format!("{} {user} {}", self.born, self.times_ended(&user));
        json!({"record": {"id": user}, "token": token})
    }

    /// None if one of them is linked otherwise.
    fn link(&mut self, who: &str, user: &str) -> Option<Value> {
        let known = self.user(who) == Some(user);
        let taken = self.users.contains_key(who) || self.users.values().any(|one| one == user);
        if taken && !known {
            return None;
        }
        self.users.insert(who.to_owned(), user.to_owned());
        Some(json!({"record": user, "changed": !known}))
    }

    fn end(&mut self, user: Option<&str>) {
        if let Some(user) = user {
            *self.ended.entry(user.to_owned()).or_default() += 1;
        }
    }
}
