//! What Envoy brings for the gate's job, to compare with: `jwt_authn` with and without its cache of
//! tokens, `rbac` on the roles in the token, and `local_ratelimit`; the first and the last also as
//! they tell what the gate tells, the upstream who calls and the client how the budget stands.

use anyhow::Result;
use serde_json::{Value, json};

use super::{case::route, tokens::ROLE};
use crate::{
    envoy::{NativeFilter, clusters::cluster_of, type_url},
    issuer::{Issuer, PROJECT},
};

/// Where the roles are: a claim of Zitadel's, and the name under which `jwt_authn` keeps the claims.
const CLAIM: &str = "urn:zitadel:iam:org:project:roles";
const PAYLOAD: &str = "payload";

/// The claims that an upstream is told, and in which header: as the gate does it.
const CLAIMS: [(&str, &str); 4] = [
    ("x-claim-sub", "sub"),
    ("x-claim-issuer", "iss"),
    ("x-claim-org", "urn:zitadel:iam:user:resourceowner:id"),
    ("x-claim-roles", CLAIM),
];

/// The filters, each in the order in which a request passes them.
pub(super) async fn filters(issuer: &Issuer) -> Result<Vec<NativeFilter>> {
    let key_set = issuer.key_set_url().await?;
    // Room for the tokens that are in use; by default there is room for a hundred.
    let cache = json!({"jwt_cache_config": {"jwt_cache_size": 1000}});
    let mut telling = cache.clone();
    telling["claim_to_headers"] = CLAIMS
        .iter()
        .map(|(header, claim)| json!({"header_name": header, "claim_name": claim}))
        .collect();
    Ok(vec![
        NativeFilter {
            name: "jwt_authn.cached",
            config: jwt_authn(issuer.url(), &key_set, &cache)?,
            routes: &[route::JWT_AUTHN, route::JWT_AUTHN_RBAC, route::JWT_AUTHN_RBAC_LIMIT],
        },
        NativeFilter {
            name: "jwt_authn.telling",
            config: jwt_authn(issuer.url(), &key_set, &telling)?,
            routes: &[route::JWT_AUTHN_RBAC_LIMIT_TOLD],
        },
        NativeFilter {
            name: "jwt_authn.uncached",
            config: jwt_authn(issuer.url(), &key_set, &json!({}))?,
            routes: &[route::JWT_AUTHN_UNCACHED],
        },
        NativeFilter {
            name: "rbac",
            config: rbac(),
            routes: &[
                route::JWT_AUTHN_RBAC,
                route::JWT_AUTHN_RBAC_LIMIT,
                route::JWT_AUTHN_RBAC_LIMIT_TOLD,
            ],
        },
        NativeFilter {
            name: "local_ratelimit",
            config: local_ratelimit("OFF"),
            routes: &[route::JWT_AUTHN_RBAC_LIMIT, route::LOCAL_RATELIMIT],
        },
        NativeFilter {
            name: "local_ratelimit.telling",
            config: local_ratelimit("DRAFT_VERSION_03"),
            routes: &[route::JWT_AUTHN_RBAC_LIMIT_TOLD],
        },
    ])
}

/// `more` is what the provider has beside what all have.
fn jwt_authn(issuer: &str, key_set: &str, more: &Value) -> Result<Value> {
    let mut provider = json!({
        "issuer": issuer,
        "audiences": [PROJECT],
        "forward": true,
        "payload_in_metadata": PAYLOAD,
        "remote_jwks": {
            "http_uri": {"uri": key_set, "cluster": cluster_of(key_set)?, "timeout": "5s"},
            "cache_duration": "3600s",
        },
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        provider[name] = value.clone();
    }
    Ok(json!({
        "@type": type_url("filters.http.jwt_authn.v3.JwtAuthentication"),
        "providers": {"issuer": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}}],
    }))
}

fn rbac() -> Value {
    let path: Vec<_> = [PAYLOAD, CLAIM, ROLE].iter().map(|key| json!({"key": key})).collect();
    let has_role = json!({
        "filter": "envoy.filters.http.jwt_authn",
        "path": path,
        "value": {"present_match": true},
    });
    json!({
        "@type": type_url("filters.http.rbac.v3.RBAC"),
        "rules": {"action": "ALLOW", "policies": {"role": {
            "permissions": [{"any": true}],
            "principals": [{"metadata": has_role}],
        }}},
    })
}

/// A limit that nobody reaches, with headers for the client or without.
fn local_ratelimit(headers: &str) -> Value {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "@type": type_url("filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "bench",
        "enable_x_ratelimit_headers": headers,
        "token_bucket": {
            "max_tokens": 1_000_000_000,
            "tokens_per_fill": 1_000_000_000,
            "fill_interval": "1s",
        },
        "filter_enabled": always,
        "filter_enforced": always,
    })
}
