//! The issuer that tokens are introspected at, if there is one.

use std::env;

use super::ConfigError;
use crate::{address::Reach, command::serve::ServeArgs, introspection::Issuer};

/// The issuer.
pub const ISSUER: &str = "KOMBI_EXCHANGE_INTROSPECTION_ISSUER";
/// Where it is asked, if not where its metadata says.
pub const ENDPOINT: &str = "KOMBI_EXCHANGE_INTROSPECTION_ENDPOINT";
/// Who asks.
pub const CLIENT_ID: &str = "KOMBI_EXCHANGE_INTROSPECTION_CLIENT_ID";
/// The secret that goes with it.
pub const CLIENT_SECRET: &str = "KOMBI_EXCHANGE_INTROSPECTION_CLIENT_SECRET";
/// Whether the issuer may be in a private network.
pub const ALLOW_PRIVATE: &str = "KOMBI_EXCHANGE_INTROSPECTION_ALLOW_PRIVATE";

/// What an address must be, by the reach that it has.
const fn expected(reach: Reach) -> &'static str {
    match reach {
        Reach::Public => {
            "an https URL without user, query and fragment at a public address (http and private \
             addresses need KOMBI_EXCHANGE_INTROSPECTION_ALLOW_PRIVATE=true)"
        }
        Reach::Private => "an http or https URL without user, query and fragment",
    }
}

/// The settings as they were given; what is empty was not.
struct Given<'a> {
    issuer: Option<&'a str>,
    endpoint: Option<&'a str>,
    client_id: Option<&'a str>,
    client_secret: Option<&'a str>,
    allow_private: &'a str,
}

/// The issuer in `args` and the environment.
pub(super) fn issuer(args: &ServeArgs) -> Result<Option<Issuer>, ConfigError> {
    let secret = match env::var(CLIENT_SECRET) {
        Ok(secret) => Some(secret),
        Err(env::VarError::NotPresent) => None,
        Err(env::VarError::NotUnicode(_)) => return Err(secret_expected("something else")),
    };
    Given {
        issuer: args.introspection_issuer.as_deref(),
        endpoint: args.introspection_endpoint.as_deref(),
        client_id: args.introspection_client_id.as_deref(),
        client_secret: secret.as_deref(),
        allow_private: &args.introspection_allow_private,
    }
    .read()
}

impl Given<'_> {
    fn read(&self) -> Result<Option<Issuer>, ConfigError> {
        let wrong = |variable, expected, found: &str| {
            Err(ConfigError { variable, expected, found: found.to_owned() })
        };
        let reach = match self.allow_private {
            "true" => Reach::Private,
            "false" | "" => Reach::Public,
            other => return wrong(ALLOW_PRIVATE, "true or false", &format!("{other:?}")),
        };
        let some = |text: Option<&'_ str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let (id, secret) = (some(self.client_id), some(self.client_secret));
        let endpoint = some(self.endpoint);
        let Some(issuer) = some(self.issuer) else {
            if id.is_none() && secret.is_none() && endpoint.is_none() {
                return Ok(None);
            }
            let expected = "an issuer, because its client or endpoint is set";
            return wrong(ISSUER, expected, "nothing");
        };
        let Some(id) = id else {
            return wrong(CLIENT_ID, "the id of the exchange's client at the issuer", "nothing");
        };
        let Some(secret) = secret else { return Err(secret_expected("nothing")) };
        let unfit = |variable, found: &dyn std::fmt::Display| ConfigError {
            variable,
            expected: expected(reach),
            found: found.to_string(),
        };
        let issuer =
            Issuer::new(&issuer, reach, &id, &secret).map_err(|found| unfit(ISSUER, &found))?;
        match endpoint {
            Some(endpoint) => {
                issuer.asked_at(&endpoint).map(Some).map_err(|found| unfit(ENDPOINT, &found))
            }
            None => Ok(Some(issuer)),
        }
    }
}

fn secret_expected(found: &str) -> ConfigError {
    ConfigError {
        variable: CLIENT_SECRET,
        expected: "the secret of the exchange's client, from the environment",
        found: found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given() -> Given<'static> {
        Given {
            issuer: Some("https://id.example"),
            endpoint: None,
            client_id: Some("id"),
            client_secret: Some("CANARY"),
            allow_private: "false",
        }
    }

    #[test]
    fn an_issuer_is_set_wholly_or_not_at_all() {
        assert!(given().read().unwrap().is_some());
        let nothing = Given { issuer: None, client_id: Some(""), client_secret: None, ..given() };
        assert!(nothing.read().unwrap().is_none());
        let endpoint = Some("https://id.example/introspect");
        assert!(Given { endpoint, ..given() }.read().unwrap().is_some());
        for (given, variable) in [
            (Given { issuer: None, ..given() }, ISSUER),
            (Given { issuer: Some(""), ..given() }, ISSUER),
            (
                Given { issuer: None, client_id: None, client_secret: None, endpoint, ..given() },
                ISSUER,
            ),
            (Given { issuer: Some("http://id.example"), ..given() }, ISSUER),
            (Given { client_id: None, ..given() }, CLIENT_ID),
            (Given { client_secret: Some(""), ..given() }, CLIENT_SECRET),
            (Given { endpoint: Some("introspect"), ..given() }, ENDPOINT),
            (Given { endpoint: Some("https://10.0.0.1/"), ..given() }, ENDPOINT),
            (Given { allow_private: "yes", ..given() }, ALLOW_PRIVATE),
        ] {
            let error = given.read().unwrap_err();
            assert_eq!(error.variable, variable, "{error}");
            assert!(!error.to_string().contains("CANARY"), "{error}");
        }
    }

    #[test]
    fn a_private_issuer_needs_permission() {
        let local = Given { issuer: Some("http://127.0.0.1:8080"), ..given() };
        assert!(local.read().unwrap_err().to_string().contains("ALLOW_PRIVATE=true"));
        assert!(Given { allow_private: "true", ..local }.read().unwrap().is_some());
    }
}
