//! What is measured: each case is a route and the requests sent to it.

use anyhow::{Result, bail};

use crate::host::HostKind;

/// The routes; a path is a slash and its route's name.
pub(super) mod route {
    pub(in crate::bench) const PLAIN: &str = "plain";
    pub(in crate::bench) const NOTHING: &str = "nothing";
    pub(in crate::bench) const GATE: &str = "gate";
    pub(in crate::bench) const GATE_NO_LIMIT: &str = "gate_no_limit";
    pub(in crate::bench) const GATE_FIVE_LIMITS: &str = "gate_five_limits";
    pub(in crate::bench) const GATE_UNTOLD: &str = "gate_untold";
    pub(in crate::bench) const JWT_AUTHN: &str = "jwt_authn";
    pub(in crate::bench) const JWT_AUTHN_RBAC: &str = "jwt_authn_rbac";
    pub(in crate::bench) const JWT_AUTHN_RBAC_LIMIT: &str = "jwt_authn_rbac_limit";
    pub(in crate::bench) const JWT_AUTHN_RBAC_LIMIT_TOLD: &str = "jwt_authn_rbac_limit_told";
    pub(in crate::bench) const JWT_AUTHN_UNCACHED: &str = "jwt_authn_uncached";
    pub(in crate::bench) const LOCAL_RATELIMIT: &str = "local_ratelimit";
    pub(in crate::bench) const LUA_JWT: &str = "lua_jwt";
    pub(in crate::bench) const LUA_JWT_ACL: &str = "lua_jwt_acl";
    pub(in crate::bench) const LUA_JWT_ACL_LIMIT: &str = "lua_jwt_acl_limit";
    pub(in crate::bench) const LUA_LIMIT_LOCAL: &str = "lua_limit_local";
    pub(in crate::bench) const LUA_LIMIT_REDIS: &str = "lua_limit_redis";
}

/// The cases by name, as far as comparisons name them.
pub(super) const PLAIN: &str = route::PLAIN;
pub(super) const GATE_CACHED: &str = "gate_cached";
pub(super) const GATE_NO_LIMIT: &str = "gate_cached_no_limit";
pub(super) const GATE_FIVE_LIMITS: &str = "gate_cached_five_limits";
pub(super) const GATE_UNTOLD: &str = "gate_cached_untold";
pub(super) const GATE_COLD: &str = "gate_cold";

/// A case.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Its name, unique.
    pub(super) name: &'static str,
    /// The name of its route.
    pub(super) route: &'static str,
    /// The tokens of its requests. A route that asks for none gets one, too: the requests of all
    /// cases are alike.
    pub(super) sends: Sends,
    /// What the route must refuse. A route that lets everything pass is not worth measuring.
    pub(super) refuses: Refuses,
}

/// Which tokens are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    /// The same again and again.
    OneToken,
    /// A different one each time.
    ManyTokens,
}

/// Whom a route refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refuses {
    Nobody,
    WithoutToken,
    /// And those whose token lacks the role.
    WithoutRole,
}

/// The cases on a host, in the order in which they are measured. Without `redis`, what needs one is
/// left out.
pub(super) fn on(kind: HostKind, redis: bool) -> Vec<Case> {
    use Refuses::{Nobody, WithoutRole, WithoutToken};
    use Sends::{ManyTokens, OneToken};
    let case = |name, route, sends, refuses| Case { name, route, sends, refuses };
    let mut cases = vec![
        case(PLAIN, route::PLAIN, OneToken, Nobody),
        case(route::NOTHING, route::NOTHING, OneToken, Nobody),
        case(GATE_CACHED, route::GATE, OneToken, WithoutRole),
        case(GATE_UNTOLD, route::GATE_UNTOLD, OneToken, WithoutRole),
        case(GATE_FIVE_LIMITS, route::GATE_FIVE_LIMITS, OneToken, WithoutRole),
        case(GATE_NO_LIMIT, route::GATE_NO_LIMIT, OneToken, WithoutRole),
        case(GATE_COLD, route::GATE_NO_LIMIT, ManyTokens, WithoutRole),
    ];
    let own = |route, sends, refuses| case(route, route, sends, refuses);
    cases.extend(match kind {
        HostKind::Envoy => vec![
            own(route::JWT_AUTHN, OneToken, WithoutToken),
            own(route::JWT_AUTHN_RBAC, OneToken, WithoutRole),
            own(route::JWT_AUTHN_RBAC_LIMIT, OneToken, WithoutRole),
            own(route::JWT_AUTHN_RBAC_LIMIT_TOLD, OneToken, WithoutRole),
            own(route::LOCAL_RATELIMIT, OneToken, Nobody),
            own(route::JWT_AUTHN_UNCACHED, ManyTokens, WithoutToken),
        ],
        // Kong's `acl` knows consumers, not the roles in a token.
        HostKind::Kong | HostKind::Docker => vec![
            own(route::LUA_JWT, OneToken, WithoutToken),
            own(route::LUA_JWT_ACL, OneToken, WithoutToken),
            own(route::LUA_JWT_ACL_LIMIT, OneToken, WithoutToken),
            own(route::LUA_LIMIT_LOCAL, OneToken, Nobody),
            own(route::LUA_LIMIT_REDIS, OneToken, Nobody),
        ],
    });
    cases.retain(|case| redis || case.route != route::LUA_LIMIT_REDIS);
    cases
}

/// Those of `cases` that have one of `names`, and the plain route; all, if there are no names.
pub(super) fn chosen(mut cases: Vec<Case>, names: &[String]) -> Result<Vec<Case>> {
    let known: Vec<_> = cases.iter().map(|case| case.name).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("--cases: expected some of {}, found {name:?}", known.join(", "));
    }
    cases.retain(|case| {
        names.is_empty() || case.name == PLAIN || names.iter().any(|name| name == case.name)
    });
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(chosen: &[&str]) -> Result<Vec<&'static str>> {
        let names: Vec<_> = chosen.iter().map(ToString::to_string).collect();
        let cases = super::chosen(on(HostKind::Envoy, false), &names)?;
        Ok(cases.iter().map(|case| case.name).collect())
    }

    #[test]
    fn some_cases_can_be_chosen_and_the_plain_route_is_always_there() {
        assert_eq!(names(&[GATE_COLD]).unwrap(), [PLAIN, GATE_COLD]);
        assert!(names(&[]).unwrap().len() > 5);
        let error = names(&["gate", GATE_COLD]).unwrap_err().to_string();
        assert!(error.contains("found \"gate\""), "{error}");
    }
}
