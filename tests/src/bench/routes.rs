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

/// The whole file; JSON is YAML.
pub(super) async fn render(
    kind: HostKind,
    cases: &[Case],
    backend: &Backend,
    issuer: &Issuer,
) -> Result<String> {
    let mut names: Vec<_> = cases.iter().map(|case| case.route).collect();
    names.dedup();
    let routes: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "name": name,
                "paths": [format!("/{name}")],
                "strip_path": false,
                "plugins": plugins(name, issuer.url()),
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
fn plugins(name: &str, issuer: &str) -> Vec<Value> {
    let jwt = || json!({"name": "jwt", "config": {"claims_to_verify": ["exp"]}});
    let acl = || json!({"name": "acl", "config": {"allow": [GROUP]}});
    match name {
        route::NOTHING => vec![json!({"name": NOTHING, "config": {}})],
        route::GATE => vec![json!({"name": FILTER, "config": gate(issuer)})],
        route::LUA_JWT => vec![jwt()],
        route::LUA_JWT_ACL => vec![jwt(), acl()],
        route::LUA_JWT_ACL_LIMIT => {
            // A limit that nobody reaches.
            let config = json!({"minute": 1_000_000_000, "policy": "local"});
            vec![jwt(), acl(), json!({"name": "rate-limiting", "config": config})]
        }
        _ => Vec::new(),
    }
}

/// One role rule; the identity headers are always set.
fn gate(issuer: &str) -> Value {
    json!({
        "issuers": [{
            "issuer": issuer,
            "audiences": [PROJECT],
            "project": PROJECT,
            "algorithms": ["RS256"],
        }],
        "roles": {"any_of": [ROLE]},
    })
}

/// To Kong's `jwt`, everybody with a token of this issuer is the same consumer.
fn consumer(issuer: &str, key: &str) -> Value {
    json!({
        "username": "everybody",
        "jwt_secrets": [{"key": issuer, "algorithm": "RS256", "rsa_public_key": key}],
        "acls": [{"group": GROUP}],
    })
}
