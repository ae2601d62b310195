//! What the filter promises about its costs: each is a ratio of two costs in one run.

use std::fmt;

use super::case::{
    GATE_CACHED, GATE_COLD, GATE_FIVE_LIMITS, GATE_NO_LIMIT, GATE_UNTOLD, PLAIN, route,
};

/// CPU time for one request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cost {
    /// All that a case costs.
    Of(&'static str),
    /// What the first costs more than the second.
    Above(&'static str, &'static str),
}

/// One cost is at most so many times another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promise {
    pub(super) own: Cost,
    pub(super) other: Cost,
    pub(super) target: f64,
}

use Cost::{Above, Of};

/// All of them; on either host only those whose cases it has are looked at.
pub(super) const PROMISES: &[Promise] = &[
    // The gate tells the upstream who calls and the client how its budget stands; the native filters
    // tell neither.
    added(GATE_CACHED, route::JWT_AUTHN_RBAC_LIMIT, 0.8),
    // Here the gate does not tell the client.
    added(GATE_UNTOLD, route::JWT_AUTHN_RBAC_LIMIT, 0.8),
    // Here both tell both.
    added(GATE_CACHED, route::JWT_AUTHN_RBAC_LIMIT_TOLD, 0.8),
    one_limit(GATE_CACHED, route::LOCAL_RATELIMIT, 2.0),
    one_limit(GATE_UNTOLD, route::LOCAL_RATELIMIT, 2.0),
    Promise { own: Of(GATE_COLD), other: Of(route::JWT_AUTHN_UNCACHED), target: 2.6 },
    added(GATE_CACHED, route::LUA_JWT_ACL_LIMIT, 1.0 / 20.0),
    added(GATE_NO_LIMIT, route::LUA_JWT, 1.0 / 10.0),
    one_limit(GATE_CACHED, route::LUA_LIMIT_LOCAL, 1.0 / 20.0),
    Promise {
        own: Above(GATE_FIVE_LIMITS, GATE_NO_LIMIT),
        other: Above(GATE_CACHED, GATE_NO_LIMIT),
        target: 2.0,
    },
];

/// What two cases add to the plain route.
const fn added(own: &'static str, other: &'static str, target: f64) -> Promise {
    Promise { own: Above(own, PLAIN), other: Above(other, PLAIN), target }
}

/// What one limit adds to the gate, and what a limiter of the host adds to the plain route.
const fn one_limit(own: &'static str, other: &'static str, target: f64) -> Promise {
    Promise { own: Above(own, GATE_NO_LIMIT), other: Above(other, PLAIN), target }
}

impl Promise {
    /// The ratio, where both costs are known.
    pub(super) fn found(&self, cost: impl Fn(Cost) -> Option<f64>) -> Option<f64> {
        let (own, other) = (cost(self.own)?, cost(self.other)?);
        // In a run that is too short, something may seem to cost less than nothing.
        Some(if other > 0.0 { own / other } else { f64::INFINITY })
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.own, self.other)
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Of(case) => write!(f, "{case}"),
            Above(case, base) => write!(f, "({case} − {base})"),
        }
    }
}
