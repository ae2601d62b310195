//! What Envoy brings for the gate's job, to compare with: `jwt_authn` with and without its cache of
//! tokens, `rbac` on the roles in the token, and `local_ratelimit`.

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

/// The filters, each in the order in which a request passes them.
pub(super) async fn filters(issuer: &Issuer) -> Result<Vec<NativeFilter>> {
    let key_set = issuer.key_set_url().await?;
    // Room for the tokens that are in use; by default there is room for a hundred.
    let cache = json!({"jwt_cache_size": 1000});
    Ok(vec![
        NativeFilter {
            name: "jwt_authn.cached",
            config: jwt_authn(issuer.url(), &key_set, Some(cache))?,
            routes: &[route::JWT_AUTHN, route::JWT_AUTHN_RBAC, route::JWT_AUTHN_RBAC_LIMIT],
        },
        NativeFilter {
            name: "jwt_authn.uncached",
            config: jwt_authn(issuer.url(), &key_set, None)?,
            routes: &[route::JWT_AUTHN_UNCACHED],
        },
        NativeFilter {
            name: "rbac",
            config: rbac(),
            routes: &[route::JWT_AUTHN_RBAC, route::JWT_AUTHN_RBAC_LIMIT],
        },
        NativeFilter {
            name: "local_ratelimit",
            config: local_ratelimit(),
            routes: &[route::JWT_AUTHN_RBAC_LIMIT, route::LOCAL_RATELIMIT],
        },
    ])
}

fn jwt_authn(issuer: &str, key_set: &str, cache: Option<Value>) -> Result<Value> {
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
    if let Some(cache) = cache {
        provider["jwt_cache_config"] = cache;
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

/// A limit that nobody reaches.
fn local_ratelimit() -> Value {
    let always = json!({"default_value": {"numerator": 100, "denominator": "HUNDRED"}});
    json!({
        "@type": type_url("filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "bench",
        "token_bucket": {
            "max_tokens": 1_000_000_000,
            "tokens_per_fill": 1_000_000_000,
            "fill_interval": "1s",
        },
        "filter_enabled": always,
        "filter_enforced": always,
    })
}
