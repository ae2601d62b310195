//! The configuration as it is written; see `spec/kombi_gate.schema.json`.

use std::{rc::Rc, time::Duration};

use serde::Deserialize;

use super::{
    ConfigError, Introspection, Issuer, Rules, given, invalid, is_label, issuer::RawIssuer,
    list::List, names, non_empty,
};
use super::{
    ai::RawAi,
    exchange::RawExchange,
    keys::RawKeys,
    limits::{self, RawFamily, RawLimit, Surroundings},
    roles::RawRoles,
};
use crate::{
    assertion::Signer, authorize::Demands, exchange::Exchange, limit::Limits, token::Validity,
};

/// How far clocks may differ, unless the configuration says otherwise.
const DEFAULT_CLOCK_SKEW_S: u64 = 5;

/// Longest token in bytes, unless the configuration says otherwise.
const DEFAULT_TOKEN_BYTES: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicy {
    #[serde(default, deserialize_with = "given")]
    name: Option<String>,
    #[serde(default)]
    pub(super) access: RawAccess,
    #[serde(default)]
    issuers: List<RawIssuer>,
    #[serde(default, deserialize_with = "given")]
    roles: Option<RawRoles>,
    #[serde(default, deserialize_with = "given")]
    organisations: Option<List<String>>,
    #[serde(default, deserialize_with = "given")]
    allow_act: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    keys: Option<RawKeys>,
    #[serde(default, deserialize_with = "given")]
    limits: Option<List<RawLimit>>,
    #[serde(default, deserialize_with = "given")]
    limit_headers: Option<List<RawFamily>>,
    #[serde(default, deserialize_with = "given")]
    assertion: Option<RawAssertion>,
    #[serde(default, deserialize_with = "given")]
    exchange: Option<RawExchange>,
    #[serde(default, deserialize_with = "given")]
    opaque_tokens_from: Option<String>,
    #[serde(default, deserialize_with = "given")]
    ai: Option<RawAi>,
    #[serde(default, deserialize_with = "given")]
    clock_skew_s: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    max_age_s: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    max_token_bytes: Option<usize>,
    #[serde(default, deserialize_with = "given")]
    shadow: Option<bool>,
}

#[derive(Deserialize, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawAccess {
    Public,
    #[default]
    Authenticated,
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

impl RawPolicy {
    /// The name is used elsewhere; here it only must not be wrong.
    pub(super) fn check_name(&self) -> Result<(), ConfigError> {
        if self.name.as_deref().is_none_or(is_label) {
            return Ok(());
        }
        Err(invalid("name", "expected 1 to 64 of a-z, 0-9 and -"))
    }

    /// A public route has no rules: one that is there shows that something else was meant.
    pub(super) fn refuse_rules(&self) -> Result<(), ConfigError> {
        for (field, given) in [
            ("roles", self.roles.is_some()),
            ("organisations", self.organisations.is_some()),
            ("allow_act", self.allow_act.is_some()),
            ("keys", self.keys.is_some()),
            ("assertion", self.assertion.is_some()),
            ("exchange", self.exchange.is_some()),
            ("opaque_tokens_from", self.opaque_tokens_from.is_some()),
            ("ai", self.ai.is_some()),
            ("max_age_s", self.max_age_s.is_some()),
            ("shadow", self.shadow.is_some()),
        ] {
            if given {
                return Err(invalid(field, "makes no sense on a route with access: public"));
            }
        }
        Ok(())
    }
}

impl RawPolicy {
    /// The limits of a route without rules.
    pub(super) fn public_limits(self) -> Result<Limits, ConfigError> {
        let surroundings = Surroundings { public: true, exchange: false, ai: false };
        limits::parse(self.limits, self.limit_headers, &surroundings)
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
        let organisations = raw.organisations.map(|list| names("organisations", list));
        let clock_skew_s = raw.clock_skew_s.unwrap_or(DEFAULT_CLOCK_SKEW_S);
        if clock_skew_s > 300 {
            return Err(invalid("clock_skew_s", "expected at most 300"));
        }
        if raw.max_age_s.is_some_and(|age| !(1..=31_536_000).contains(&age)) {
            return Err(invalid("max_age_s", "expected between 1 and 31536000"));
        }
        let max_token_bytes = raw.max_token_bytes.unwrap_or(DEFAULT_TOKEN_BYTES);
        if !(1024..=65_536).contains(&max_token_bytes) {
            return Err(invalid("max_token_bytes", "expected between 1024 and 65536"));
        }
        let exchange = raw.exchange.map(RawExchange::parse).transpose()?.map(Rc::new);
        let introspection =
            raw.opaque_tokens_from.map(|name| introspection(&name, &issuers, exchange.as_ref()));
        let ai = raw.ai.map(RawAi::parse).transpose()?;
        if let Some(ai) = &ai {
            one_issuer("ai", &issuers)?;
            if ai.ledger && (exchange.is_none() || raw.name.is_none()) {
                return Err(invalid("ai", "expected name and exchange, or ledger: false"));
            }
            for (field, given) in
                [("assertion", raw.assertion.is_some()), ("shadow", raw.shadow.is_some())]
            {
                if given {
                    return Err(invalid(field, "makes no sense on a route with ai"));
                }
            }
        }
        let signer = raw.assertion.map(|raw| raw.parse(&issuers)).transpose()?;
        Ok(Self {
            issuers,
            max_token_bytes,
            validity: Validity {
                clock_skew: Duration::from_secs(clock_skew_s),
                max_age: raw.max_age_s.map(Duration::from_secs),
            },
            demands: Demands {
                roles: raw.roles.map(RawRoles::parse).transpose()?,
                organisations: organisations.transpose()?.unwrap_or_default(),
                delegation: raw.allow_act.unwrap_or(false),
            },
            limits: limits::parse(
                raw.limits,
                raw.limit_headers,
                &Surroundings { public: false, exchange: exchange.is_some(), ai: ai.is_some() },
            )?,
            keys: raw.keys.unwrap_or_default().parse()?,
            signer,
            exchange,
            introspection: introspection.transpose()?,
            ai,
            shadow: raw.shadow.unwrap_or(false),
        })
    }
}

/// Whose opaque tokens are accepted: those of `name`, one of `issuers`, as `exchange` says.
fn introspection(
    name: &str,
    issuers: &[Issuer],
    exchange: Option<&Rc<Exchange>>,
) -> Result<Introspection, ConfigError> {
    let field = "opaque_tokens_from";
    let issuer = issuers.iter().find(|issuer| issuer.url.text == name);
    let issuer = issuer.ok_or_else(|| invalid(field, "expected one of issuers"))?.clone();
    let exchange = exchange.ok_or_else(|| invalid(field, "makes no sense without exchange"))?;
    Ok(Introspection { issuer, exchange: Rc::clone(exchange) })
}

/// What the exchange is told of a user names the subject and not whose: with two issuers, one could
/// speak of the other's users.
fn one_issuer(field: &str, issuers: &[Issuer]) -> Result<(), ConfigError> {
    if issuers.len() > 1 {
        return Err(invalid(field, "expected one issuer beside it"));
    }
    Ok(())
}

impl RawAssertion {
    fn parse(self, issuers: &[Issuer]) -> Result<Signer, ConfigError> {
        one_issuer("assertion", issuers)?;
        if self.audience.is_empty() {
            return Err(invalid("assertion.audience", "expected the upstream's name"));
        }
        let bound = self.bind == RawBind::Request;
        Signer::new(&self.signing_key, self.audience, bound)
            .map_err(|error| invalid("assertion.signing_key", error.to_string()))
    }
}
