//! The filter's configuration: parsed once, at the edge, into types that cannot be wrong.
//!
//! Its JSON Schema, which Kong checks first, is `spec/kombi_gate.schema.json`; hosts without
//! schema checks get the same strictness from here.

mod keys;

use std::{fmt, time::Duration};

use http::Uri;
use jsonwebtoken::Algorithm;
use serde::{Deserialize, Deserializer};

use crate::{
    assertion::{Signer, SigningKeyError},
    roles::RoleRule,
};
pub use keys::KeyTerms;
use keys::RawKeys;

/// How far clocks may differ, unless the configuration says otherwise.
const DEFAULT_CLOCK_SKEW_S: u64 = 5;

/// What a route demands.
pub enum Policy {
    /// Anybody passes; reserved headers are still refused.
    Public,
    /// A valid token is needed.
    Authenticated(Box<Rules>),
}

/// What an authenticated route demands.
pub struct Rules {
    /// The accepted issuers; never empty.
    pub issuers: Vec<Issuer>,
    /// The roles needed, if any.
    pub roles: Option<RoleRule>,
    /// For how long the issuers' keys are used.
    pub keys: KeyTerms,
    /// Signs an assertion for the upstream, if it wants one.
    pub signer: Option<Signer>,
    /// How far clocks may differ.
    pub clock_skew: Duration,
}

/// An accepted issuer.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its identifier, which `iss` must equal to the letter.
    pub url: IssuerUrl,
    /// The accepted audiences; never empty.
    pub audiences: Vec<String>,
    /// The accepted signature algorithms; never empty, never `none` or HMAC.
    pub algorithms: Vec<Algorithm>,
    /// The Zitadel project whose roles count.
    pub project: Option<String>,
}

/// The URL of an issuer, taken apart for calls to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerUrl {
    /// As it was configured.
    pub text: String,
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Where to connect to, as `host:port`.
    pub address: String,
    /// What `Host` says.
    pub authority: String,
    /// The path and query.
    pub path: String,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct ConfigError {
    /// Where in the configuration.
    pub field: String,
    /// What was expected there and what was found; never a secret.
    pub problem: String,
}

/// The name that `configuration` gives its route, even if the rest of it cannot be used.
#[must_use]
pub fn name(configuration: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_slice::<Named>(configuration).map_or_else(|_| UNNAMED.to_owned(), |n| n.name)
}

/// The name of a route that has none.
const UNNAMED: &str = "unnamed";

impl Policy {
    /// Parses the configuration of one route.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        let raw: RawPolicy =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(bytes))
                .map_err(misshapen)?;
        match raw.access {
            RawAccess::Authenticated => Ok(Self::Authenticated(Box::new(raw.try_into()?))),
            RawAccess::Public => {
                for (field, given) in
                    [("roles", raw.roles.is_some()), ("assertion", raw.assertion.is_some())]
                {
                    if given {
                        return Err(invalid(
                            field,
                            "makes no sense on a route with access: public",
                        ));
                    }
                }
                Ok(Self::Public)
            }
        }
    }

    /// The issuers whose keys this route needs.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        match self {
            Self::Public => &[],
            Self::Authenticated(rules) => &rules.issuers,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    /// See [`name`].
    #[serde(default, rename = "name")]
    _name: Option<String>,
    #[serde(default)]
    access: RawAccess,
    #[serde(default)]
    issuers: List<RawIssuer>,
    roles: Option<RawRoles>,
    #[serde(default)]
    keys: RawKeys,
    assertion: Option<RawAssertion>,
    clock_skew_s: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum RawAccess {
    Public,
    #[default]
    Authenticated,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawIssuer {
    issuer: String,
    audiences: List<String>,
    algorithms: List<String>,
    project: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoles {
    any_of: List<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAssertion {
    audience: String,
    signing_key: String,
    #[serde(default)]
    bind: RawBind,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum RawBind {
    #[default]
    Request,
    Nothing,
}

/// An array. Kong re-encodes the configuration, and an empty array arrives as `{}`.
struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = seq.next_element()? {
                    values.push(value);
                }
                Ok(List(values))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Self::Value, A::Error> {
                match map.next_key::<serde::de::IgnoredAny>()? {
                    None => Ok(List(Vec::new())),
                    Some(_) => Err(serde::de::Error::custom("expected an array, found an object")),
                }
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

impl TryFrom<RawPolicy> for Rules {
    type Error = ConfigError;

    fn try_from(raw: RawPolicy) -> Result<Self, ConfigError> {
        let issuers = raw
            .issuers
            .0
            .into_iter()
            .enumerate()
            .map(|(index, issuer)| issuer.parse(&format!("issuers[{index}]")))
            .collect::<Result<Vec<_>, _>>()?;
        let issuers = non_empty("issuers", issuers)?;
        for (index, issuer) in issuers.iter().enumerate() {
            if issuers.iter().take(index).any(|earlier| earlier.url.text == issuer.url.text) {
                return Err(invalid("issuers", format!("{} is there twice", issuer.url.text)));
            }
        }
        let roles = raw
            .roles
            .map(|roles| {
                non_empty("roles.any_of", roles.any_of.0).map(|any_of| RoleRule { any_of })
            })
            .transpose()?;
        let keys = raw.keys.parse()?;
        let signer = raw.assertion.map(RawAssertion::parse).transpose()?;
        let clock_skew = Duration::from_secs(raw.clock_skew_s.unwrap_or(DEFAULT_CLOCK_SKEW_S));
        if clock_skew > Duration::from_secs(300) {
            return Err(invalid("clock_skew_s", "expected at most 300"));
        }
        Ok(Self { issuers, roles, keys, signer, clock_skew })
    }
}

impl RawIssuer {
    fn parse(self, at: &str) -> Result<Issuer, ConfigError> {
        let url = IssuerUrl::parse(&self.issuer)
            .map_err(|problem| invalid(format!("{at}.issuer"), problem))?;
        let algorithms = self
            .algorithms
            .0
            .iter()
            .map(|name| {
                name.parse::<Algorithm>().ok().filter(|a| ASYMMETRIC.contains(a)).ok_or_else(|| {
                    invalid(
                        format!("{at}.algorithms"),
                        format!("expected asymmetric JWS algorithms, found {name:?}"),
                    )
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Issuer {
            url,
            audiences: non_empty(format!("{at}.audiences"), self.audiences.0)?,
            algorithms: non_empty(format!("{at}.algorithms"), algorithms)?,
            project: self.project,
        })
    }
}

impl RawAssertion {
    fn parse(self) -> Result<Signer, ConfigError> {
        let bound = self.bind == RawBind::Request;
        Signer::new(&self.signing_key, self.audience, bound)
            .map_err(|error: SigningKeyError| invalid("assertion.signing_key", error.to_string()))
    }
}

/// What an issuer may sign with. HMAC is not among them: its "public" key would be a secret.
const ASYMMETRIC: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

impl IssuerUrl {
    /// Takes a URL apart. Without user information, query and fragment there is only one way to
    /// read it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{text:?} is no URL: {error}"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(format!("expected an http or https URL, found {text:?}")),
        };
        let Some(authority) = uri.authority().filter(|a| !a.as_str().contains('@')) else {
            return Err(format!("expected a host and no user information in {text:?}"));
        };
        if text.contains('#') || authority.host().is_empty() {
            return Err(format!("expected a host and no fragment in {text:?}"));
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self {
            text: text.to_owned(),
            tls,
            address: format!("{}:{port}", authority.host()),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        })
    }
}

fn non_empty<T>(field: impl Into<String>, values: Vec<T>) -> Result<Vec<T>, ConfigError> {
    if values.is_empty() { Err(invalid(field, "expected at least one")) } else { Ok(values) }
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> ConfigError {
    ConfigError { field: field.into(), problem: problem.into() }
}

/// The error of a value that does not have its field's shape. Such an error quotes what was
/// found, which below `assertion` may be the signing key.
fn misshapen(error: serde_path_to_error::Error<serde_json::Error>) -> ConfigError {
    let field = error.path().to_string();
    if field.starts_with("assertion") {
        invalid(field, "is not of the shape that the schema describes")
    } else {
        invalid(field, error.into_inner().to_string())
    }
}

#[cfg(test)]
impl Issuer {
    /// An issuer as a configuration would name it.
    pub(crate) fn for_tests(url: &str, audiences: &[&str], algorithms: &[Algorithm]) -> Self {
        Self {
            url: IssuerUrl::parse(url).unwrap(),
            audiences: audiences.iter().map(ToString::to_string).collect(),
            algorithms: algorithms.to_vec(),
            project: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn full() -> Value {
        json!({
            "access": "authenticated",
            "issuers": [{
                "issuer": "https://id.example",
                "audiences": ["273"],
                "algorithms": ["RS256", "EdDSA"],
                "project": "273",
            }],
            "roles": {"any_of": ["admin:tools"]},
            "keys": {
                "min_fresh_s": 60,
                "max_fresh_s": 600,
                "usable_s": 3600,
                "wait_at": "127.0.0.1:8009",
            },
            "assertion": {
                "audience": "kombi-exchange",
                "signing_key": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
                "bind": "request",
            },
            "clock_skew_s": 7,
        })
    }

    fn parse(value: &Value) -> Result<Policy, String> {
        Policy::parse(value.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    /// `full()` with the value at the JSON pointer replaced.
    fn changed(pointer: &str, value: Value) -> Value {
        let mut config = full();
        *config.pointer_mut(pointer).unwrap() = value;
        config
    }

    #[test]
    fn a_full_configuration_becomes_rules() {
        let Ok(Policy::Authenticated(rules)) = parse(&full()) else { panic!("refused") };
        assert_eq!(rules.issuers[0].url.address, "id.example:443");
        assert_eq!(rules.issuers[0].algorithms, [Algorithm::RS256, Algorithm::EdDSA]);
        assert_eq!(rules.roles.unwrap().any_of, ["admin:tools"]);
        assert_eq!(rules.clock_skew, Duration::from_secs(7));
        assert_eq!(rules.keys.usable, Duration::from_secs(3_600));
        assert!(rules.signer.is_some());
    }

    #[test]
    fn a_route_has_a_name_even_if_it_has_no_policy() {
        assert_eq!(name(br#"{"name": "user", "access": "nonsense"}"#), "user");
        for nameless in [&b"{}"[..], b"", b"[]", br#"{"name": 1}"#] {
            assert_eq!(name(nameless), "unnamed");
        }
        assert!(parse(&json!({"name": "open", "access": "public"})).is_ok());
    }

    #[test]
    fn access_is_denied_by_default() {
        assert!(matches!(parse(&json!({"access": "public"})), Ok(Policy::Public)));
        assert!(parse(&json!({})).is_err_and(|e| e == "issuers: expected at least one"));
    }

    #[test]
    fn each_mistake_names_its_field() {
        let cases = [
            ("/access", json!("open"), "access"),
            ("/issuers", json!({}), "issuers: "),
            ("/issuers", json!({"a": 1}), "expected an array"),
            ("/issuers/0/issuer", json!("id.example"), "issuers[0].issuer"),
            ("/issuers/0/issuer", json!("ftp://id.example"), "issuers[0].issuer"),
            ("/issuers/0/issuer", json!("https://u:p@id.example"), "issuers[0].issuer"),
            ("/issuers/0/issuer", json!("https://id.example/#x"), "issuers[0].issuer"),
            ("/issuers/0/audiences", json!([]), "issuers[0].audiences"),
            ("/issuers/0/audiences", json!({}), "issuers[0].audiences"),
            ("/issuers/0/audiences", json!([273]), "issuers[0].audiences"),
            ("/issuers/0/algorithms", json!(["HS256"]), "issuers[0].algorithms"),
            ("/issuers/0/algorithms", json!(["none"]), "issuers[0].algorithms"),
            ("/keys/min_fresh_s", json!(9), "keys.min_fresh_s"),
            ("/keys/max_fresh_s", json!(59), "keys.max_fresh_s"),
            ("/keys/usable_s", json!(599), "keys.usable_s"),
            ("/keys/usable_s", json!(604_801), "keys.usable_s"),
            ("/keys/usable_s", json!("3600"), "keys.usable_s"),
            ("/keys/wait_at", json!(""), "keys.wait_at"),
            ("/keys/wait_at", json!("localhost"), "keys.wait_at"),
            ("/roles", json!({"any_of": []}), "roles.any_of"),
            ("/roles", json!({"anyof": ["a"]}), "anyof"),
            ("/assertion/signing_key", json!("AAAA"), "assertion.signing_key"),
            ("/assertion/bind", json!("path"), "assertion.bind"),
            ("/clock_skew_s", json!(301), "clock_skew_s"),
            ("/clock_skew_s", json!(-1), "clock_skew_s"),
        ];
        for (pointer, value, expected) in cases {
            let error = parse(&changed(pointer, value)).err().unwrap();
            assert!(error.contains(expected), "{pointer}: {error}");
        }
        let issuer = full()["issuers"][0].clone();
        let twice = changed("/issuers", json!([issuer, issuer]));
        assert!(parse(&twice).err().unwrap().contains("twice"));
    }

    #[test]
    fn an_unknown_field_is_a_mistake_not_a_wish() {
        let mut config = full();
        config["role"] = json!({"any_of": ["admin"]});
        assert!(parse(&config).err().unwrap().contains("role"));
    }

    #[test]
    fn rules_on_a_public_route_are_a_mistake() {
        for field in ["roles", "assertion"] {
            let mut config = json!({"access": "public"});
            config[field] = full()[field].clone();
            assert!(parse(&config).err().unwrap().starts_with(field));
        }
    }

    #[test]
    fn the_signing_key_is_in_no_error() {
        for (pointer, value) in [
            ("/assertion/signing_key", json!("c2VjcmV0")),
            ("/assertion/signing_key", json!(["c2VjcmV0"])),
            ("/assertion", json!("c2VjcmV0")),
            ("/assertion/bind", json!("c2VjcmV0")),
        ] {
            let error = parse(&changed(pointer, value)).err().unwrap();
            assert!(error.starts_with("assertion") && !error.contains("c2Vj"), "{error}");
        }
    }
}
