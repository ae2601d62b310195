//! The keys of providers. They are in the exchange's environment and leave it with reservations
//! only.

use std::{collections::BTreeMap, ffi::OsString};

use super::call::Provider;

/// How the variables begin; the provider's name follows, in capitals, with `_` for `-`.
pub const PREFIX: &str = "KOMBI_EXCHANGE_PROVIDER_";
/// How a variable with a key ends.
const KEY: &str = "_KEY";
/// How a variable ends that says that a provider needs no key.
const KEYLESS: &str = "_KEYLESS";

/// The longest key, in bytes.
const MAX_KEY_BYTES: usize = 1024;

/// The environment does not say how to call a provider. It quotes no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: expected {expected}")]
pub struct NoAccess {
    /// The variable at fault.
    pub variable: String,
    /// What it must be.
    pub expected: &'static str,
}

/// What opens a provider. It has no `Debug`: a key must not get into a log.
#[derive(Clone, PartialEq, Eq)]
enum Access {
    Key(String),
    /// As Ollama at home.
    Keyless,
}

/// Which providers can be called, and with which key.
#[derive(Clone, Default)]
pub struct Providers(BTreeMap<Provider, Access>);

impl Providers {
    /// Reads the environment.
    pub fn parse(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, NoAccess> {
        let mut providers = BTreeMap::new();
        for (variable, value) in environment {
            let Some(variable) = variable.to_str() else { continue };
            let Some(name) = variable.strip_prefix(PREFIX) else { continue };
            let wrong = |expected| NoAccess { variable: variable.to_owned(), expected };
            let value = value.to_str();
            let (name, access) = if let Some(name) = name.strip_suffix(KEY) {
                let key = value.and_then(key);
                let expected = "a key of at most 1024 visible ASCII characters";
                (name, Access::Key(key.ok_or_else(|| wrong(expected))?))
            } else if let Some(name) = name.strip_suffix(KEYLESS) {
                match value {
                    Some("true") => (name, Access::Keyless),
                    Some("false" | "") => continue,
                    _ => return Err(wrong("true or false")),
                }
            } else {
                return Err(wrong("a name that ends in _KEY or _KEYLESS"));
            };
            let name = name.to_ascii_lowercase().replace('_', "-");
            let name = Provider::parse(&name)
                .map_err(|_| wrong("the name of a provider in capitals, with _ for -"))?;
            if providers.insert(name, access).is_some() {
                return Err(wrong("either a key or KEYLESS, not both"));
            }
        }
        Ok(Self(providers))
    }

    /// The value of `Authorization` for calls to `provider`, if it needs one; `None` if it is not
    /// to be called.
    pub(super) fn authorization(&self, provider: &Provider) -> Option<Option<String>> {
        self.0.get(provider).map(|access| match access {
            Access::Key(key) => Some(format!("Bearer {key}")),
            Access::Keyless => None,
        })
    }
}

fn key(text: &str) -> Option<String> {
    let fits = (1..=MAX_KEY_BYTES).contains(&text.len());
    (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Providers, NoAccess> {
        Providers::parse(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn a_provider_has_a_key_or_needs_none() {
        let providers = parse(&[
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY", "sk-1"),
            ("KOMBI_EXCHANGE_PROVIDER_MY_OLLAMA_KEYLESS", "true"),
            ("KOMBI_EXCHANGE_PROVIDER_OTHER_KEYLESS", "false"),
            ("KOMBI_EXCHANGE_LISTEN", "x"),
            ("PATH", "x"),
        ])
        .unwrap();
        for (name, access) in [
            ("openai", Some(Some("Bearer sk-1"))),
            ("my-ollama", Some(None)),
            ("other", None),
            ("gemini", None),
        ] {
            let found = providers.authorization(&Provider::parse(name).unwrap());
            assert_eq!(found.as_ref().map(Option::as_deref), access, "{name}");
        }
    }

    #[test]
    fn a_mistake_names_the_variable_and_no_key() {
        let long = "C".repeat(1025);
        for (name, value) in [
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY", ""),
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY", "CANARY key"),
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEY", &*long),
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI_KEYLESS", "yes"),
            ("KOMBI_EXCHANGE_PROVIDER_OPENAI", "CANARY"),
            ("KOMBI_EXCHANGE_PROVIDER__KEY", "CANARY"),
        ] {
            let mistake = parse(&[(name, value)]).err().expect(name).to_string();
            let named = mistake.starts_with(name) || name.ends_with("__KEY");
            assert!(named && !mistake.contains("CC") && !mistake.contains("CANARY"), "{mistake}");
        }
        let both =
            [("KOMBI_EXCHANGE_PROVIDER_A_KEY", "k"), ("KOMBI_EXCHANGE_PROVIDER_A_KEYLESS", "true")];
        assert!(parse(&both).is_err());
    }
}
