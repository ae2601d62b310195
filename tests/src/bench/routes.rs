//! The routes of the bench, in the form of `kong/kong.yml`.

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    backend::Backend,
    case::{Case, route},
    tokens::ROLE,
};
use crate::{
    artifacts::{FILTER, NOTHING},
    host::HostKind,
    issuer::{Issuer, PROJECT},
};

/// The group, in Kong's terms, that may use the routes with `acl`.
const GROUP: &str = "admins";

/// More than anybody sends.
const UNREACHED: u64 = 1_000_000_000;

/// What the routes lead to and rely on.
pub(super) struct Surroundings<'a> {
    pub(super) backend: &'a Backend,
    pub(super) issuer: &'a Issuer,
    /// The port of a Redis, if there is one.
    pub(super) redis: Option<u16>,
}

/// The whole file; JSON is YAML.
pub(super) async fn render(
    kind: HostKind,
    cases: &[Case],
    surroundings: &Surroundings<'_>,
) -> Result<String> {
    let Surroundings { backend, issuer, redis } = surroundings;
    let mut names: Vec<_> = cases.iter().map(|case| case.route).collect();
    names.dedup();
    let routes: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "name": name,
                "paths": [format!("/{name}")],
                "strip_path": false,
                "plugins": plugins(name, issuer.url(), *redis),
            })
        })
        .collect();
    let mut file = json!({
        "_format_version": "3.0",
        "services": [{"name": "backend", "url": backend.url(), "routes": routes}],
    });
    if kind == HostKind::Kong {
        file["consumers"] = json!([consumer(issuer.url(), &issuer.key_pem().await?)]);
    }
    Ok(file.to_string())
}

/// What runs on a route: plugins of Kong, and filters for either host.
fn plugins(name: &str, issuer: &str, redis: Option<u16>) -> Vec<Value> {
    let jwt = || json!({"name": "jwt", "config": {"claims_to_verify": ["exp"]}});
    let acl = || json!({"name": "acl", "config": {"allow": [GROUP]}});
    let gate = |limits: &[&str]| json!({"name": FILTER, "config": gate(issuer, limits)});
    let rate_limiting = |mut config: Value| {
        config["minute"] = json!(UNREACHED);
        json!({"name": "rate-limiting", "config": config})
    };
    match name {
        route::NOTHING => vec![json!({"name": NOTHING, "config": {}})],
        route::GATE => vec![gate(&["minute"])],
        route::GATE_UNTOLD => {
            let mut untold = gate(&["minute"]);
            untold["config"]["limit_headers"] = json!([]);
            vec![untold]
        }
        route::GATE_FIVE_LIMITS => vec![gate(&["second", "minute", "hour", "day", "month"])],
        route::GATE_NO_LIMIT => vec![gate(&[])],
        route::LUA_JWT => vec![jwt()],
        route::LUA_JWT_ACL => vec![jwt(), acl()],
        route::LUA_JWT_ACL_LIMIT => vec![jwt(), acl(), rate_limiting(json!({"policy": "local"}))],
        route::LUA_LIMIT_LOCAL => vec![rate_limiting(json!({"policy": "local"}))],
        route::LUA_LIMIT_REDIS => {
            let redis = json!({"host": "127.0.0.1", "port": redis});
            vec![rate_limiting(json!({"policy": "redis", "redis": redis}))]
        }
        _ => Vec::new(),
    }
}

/// One role rule, and for each user one limit over each of these periods; the identity headers are
/// always set.
fn gate(issuer: &str, limits: &[&str]) -> Value {
    let mut gate = json!({
        "issuers": [{
            "issuer": issuer,
            "audiences": [PROJECT],
            "project": PROJECT,
            "algorithms": ["RS256"],
        }],
        "roles": {"any_of": [ROLE]},
    });
    if !limits.is_empty() {
        let limit = |per| json!({"name": per, "key": "sub", "amount": UNREACHED, "per": per});
        gate["limits"] = limits.iter().map(limit).collect();
    }
    gate
}

/// To Kong's `jwt`, everybody with a token of this issuer is the same consumer.
fn consumer(issuer: &str, key: &str) -> Value {
    json!({
        "username": "everybody",
        "jwt_secrets": [{"key": issuer, "algorithm": "RS256", "rsa_public_key": key}],
        "acls": [{"group": GROUP}],
    })
}
