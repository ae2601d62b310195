//! What opens an instance for the exchange, and nothing else.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kombi_spec::session::KEY_BYTES;
use serde::{Deserialize, Serialize};

use crate::random::{self, NoRandomness};

/// How the exchange gets into one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Through the KombiSphere hook.
    Hook(HookKey),
    /// Over PocketBase's own API.
    Superuser(Superuser),
}

/// The key that the exchange and one instance share. It opens the hook of that instance only.
#[derive(Clone, PartialEq, Eq)]
pub struct HookKey([u8; KEY_BYTES]);

/// A superuser of an instance that has no hook. Its password opens everything there, so it is
/// sealed like a key and best belongs to a superuser made for the exchange alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Superuser {
    /// The superuser's e-mail address.
    pub email: String,
    /// And the password.
    pub password: String,
}

impl Access {
    /// The kind of access, as the database and lists have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Hook(_) => HOOK,
            Self::Superuser(_) => SUPERUSER,
        }
    }
}

/// Access through the hook.
pub const HOOK: &str = "hook";

/// Access as a superuser.
pub const SUPERUSER: &str = "superuser";

impl HookKey {
    /// A new key.
    pub fn random() -> Result<Self, NoRandomness> {
        random::bytes().map(Self)
    }

    /// The key in `bytes`, if they are as many as a key has.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The key's bytes, to be sealed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key as the instance's environment carries it: base64url without padding.
    #[must_use]
    pub fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// What the HMAC of a signed request is keyed with: the text, because PocketBase's HMAC takes a
    /// string, which cannot carry 32 arbitrary bytes.
    #[must_use]
    pub fn hmac_secret(&self) -> String {
        self.to_text()
    }
}

impl fmt::Debug for HookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookKey(…)")
    }
}

impl fmt::Debug for Superuser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Superuser").field("email", &self.email).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_opens_an_instance_is_ever_shown() {
        let key = HookKey::random().unwrap();
        assert!(!format!("{key:?}").contains(&key.to_text()));
        let superuser = Superuser { email: "a@b.c".to_owned(), password: "SECRET".to_owned() };
        assert!(!format!("{:?}", Access::Superuser(superuser)).contains("SECRET"));
    }
}
