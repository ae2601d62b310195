//! What the exchange is asked for, and the one log line that each request leaves.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming};
use kombi_spec::{
    code::Code,
    handoff, introspection, lease,
    session::Origin,
    usage::{report, reserve, settle},
};
use opentelemetry::context::FutureExt;
use tracing::Instrument;

use crate::{
    admin::{Admin, Place},
    admission::Admission,
    audit::{Act, Action, Actor, Audit},
    connector::Connector,
    instance::InstanceId,
    introspection::Introspection,
    leases::Leases,
    logout::Logout,
    metrics::Metrics,
    random,
    refusal::Refusal,
    session::Desk,
    store::Store,
    traces,
    usage::Usage,
};

/// What a request leaves in the log, as far as it got.
#[derive(Debug, Default)]
pub struct Trace {
    /// The gateway's id of the request, once the assertion is verified.
    pub request_id: Option<String>,
    /// Who it is.
    pub subject: Option<String>,
    /// How the instance came to the user's record.
    pub origin: Option<Origin>,
    /// What is known of the token that was asked about.
    pub introspected: Option<&'static str>,
}

/// Where requests are answered.
pub struct Desks<C> {
    /// Those for sessions.
    pub sessions: Desk<C>,
    /// The gate's own, about tokens.
    pub introspection: Introspection,
    /// The gate's own, about shared limits.
    pub leases: Leases,
    /// The gate's own, about AI calls, and people's about what they used.
    pub usage: Usage,
    /// Those of admins.
    pub admin: Admin<C>,
    /// The issuer's, about logouts.
    pub logout: Logout,
    /// Has every refusal of a person.
    pub audit: Audit,
    /// Where that is kept.
    pub store: Store,
    /// Counts all of them.
    pub metrics: Metrics,
    /// Lets them in.
    pub admission: Arc<Admission>,
}

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
enum Route {
    /// Sessions in one instance.
    Session(InstanceId),
    /// Codes that hand a login to one instance's page.
    Code(InstanceId),
    /// Sessions for such codes.
    Redemption,
    /// What the issuer says about a token.
    Introspection,
    /// What nodes hold of shared limits.
    Leases,
    /// AI calls that want to leave.
    Reservation,
    /// AI calls that have ended.
    Settlement,
    /// What somebody used.
    OwnUsage,
    /// What everybody used.
    Usage,
    /// What the issuer says of logouts.
    Logout,
    /// What admins ask for.
    Admin(Place),
    /// Nothing.
    Unknown,
}

impl Route {
    fn of(path: &str) -> Self {
        match path {
            handoff::REDEEM_PATH => return Self::Redemption,
            introspection::PATH => return Self::Introspection,
            lease::PATH => return Self::Leases,
            reserve::PATH => return Self::Reservation,
            settle::PATH => return Self::Settlement,
            "/backchannel-logout" => return Self::Logout,
            report::MINE_PATH => return Self::OwnUsage,
            report::ADMIN_PATH => return Self::Usage,
            _ => {}
        }
        if let Some(place) = Place::of(path) {
            return Self::Admin(place);
        }
        let of_an_instance = || {
            let (id, what) = path.strip_prefix("/sso/instances/")?.split_once('/')?;
            let id = InstanceId::parse(id).ok()?;
            match what {
                "session" => Some(Self::Session(id)),
                "code" => Some(Self::Code(id)),
                _ => None,
            }
        };
        of_an_instance().unwrap_or(Self::Unknown)
    }

    /// The methods that it takes, as `Allow` has them.
    const fn methods(&self) -> &'static str {
        match self {
            Self::OwnUsage | Self::Usage => "GET",
            Self::Admin(place) => place.methods(),
            _ => "POST",
        }
    }

    fn takes(&self, method: &str) -> bool {
        self.methods().split(", ").any(|one| one == method)
    }

    /// The route as a metric's label.
    const fn label(&self) -> &'static str {
        match self {
            Self::Session(_) => "sso_session",
            Self::Code(_) => "sso_code",
            Self::Redemption => "sso_redeem",
            Self::Introspection => "gate_introspect",
            Self::Leases => "gate_leases",
            Self::Reservation => "usage_reserve",
            Self::Settlement => "usage_settle",
            Self::OwnUsage => "me_usage",
            Self::Usage => "admin_usage",
            Self::Logout => "backchannel_logout",
            Self::Admin(place) => place.label(),
            Self::Unknown => "unknown",
        }
    }
}

/// Answers one request.
pub async fn answer<C: Connector>(
    desks: &Desks<C>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let route = Route::of(request.uri().path());
    let method = request.method().clone();
    let mut trace = Trace::default();
    let carried = traces::context_of(request.headers());
    let span = traces::request(&carried, method.as_str(), route.label());
    let place = desks.admission.admit();
    let outcome = match &place {
        Err(refusal) => Err(refusal.clone()),
        Ok(_) => {
            let answering = desks.answer(&route, request, &mut trace);
            answering.instrument(span.clone()).with_context(carried).await
        }
    };
    // One that was not let in leaves no record.
    let action = place.is_ok().then(|| route.action(method.as_str())).flatten();
    let request_id = trace.request_id.take().unwrap_or_else(random::request_id);
    let outcome = match (outcome, action) {
        (Err(refusal), Some(action)) => {
            Err(desks.refused(refusal, &route, action, &trace, &request_id).await)
        }
        (outcome, _) => outcome,
    };
    let (mut response, refusal) = match outcome {
        Ok(response) => (response, None),
        Err(refusal) => (refusal.to_response(&request_id), Some(refusal)),
    };
    if route == Route::Redemption {
        crate::handoff::for_any_origin(&mut response);
    }
    let code = refusal.as_ref().map_or("ok", |refusal| refusal.code.as_str());
    let took = started.elapsed();
    desks.metrics.request(route.label(), code, took);
    traces::answered(&span, response.status().as_u16(), code, &request_id);
    if route == Route::Leases && matches!(code, "ok" | "leases_unavailable") {
        // Every node reports several times a second; the desk says what is worth a line.
        return response;
    }
    tracing::info!(
        request_id,
        method = method.as_str(),
        route = route.label(),
        instance = route.instance().map(InstanceId::as_str),
        sub = trace.subject,
        status = response.status().as_u16(),
        code,
        origin = trace.origin.map(Origin::as_str),
        introspected = trace.introspected,
        detail = refusal.as_ref().map(|refusal| refusal.detail.as_str()),
        cause = refusal.as_ref().and_then(|refusal| refusal.cause.as_deref()),
        duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        "request"
    );
    response
}

impl<C: Connector> Desks<C> {
    async fn answer(
        &self,
        route: &Route,
        request: Request<Incoming>,
        trace: &mut Trace,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        match route {
            Route::Unknown => Err(Refusal::new(Code::NotFound, "the path names nothing")),
            known if !known.takes(request.method().as_str()) => {
                Err(Refusal::method_not_allowed(known.methods()))
            }
            Route::Session(id) => self.sessions.open_session(id, request, trace).await,
            Route::Code(id) => self.sessions.issue_code(id, request, trace).await,
            Route::Redemption => self.sessions.redeem(request, trace).await,
            Route::Introspection => self.introspection.introspect(request, trace).await,
            Route::Leases => self.leases.report(request, trace).await,
            Route::Reservation => self.usage.reserve(request, trace).await,
            Route::Settlement => self.usage.settle(request, trace).await,
            Route::OwnUsage => self.usage.mine(request, trace).await,
            Route::Usage => self.usage.everybodys(request, trace).await,
            Route::Logout => self.logout.log_out(request, trace).await,
            Route::Admin(place) => self.admin.answer(place, request, trace).await,
        }
    }

    /// `refusal`, once it is in the audit.
    async fn refused(
        &self,
        refusal: Refusal,
        route: &Route,
        action: Action,
        trace: &Trace,
        request_id: &str,
    ) -> Refusal {
        let known = trace.subject.clone();
        let actor = match (route, known) {
            // Its subject did not ask for this.
            (Route::Logout, Some(_)) => Actor::Issuer,
            // A code says whom it is for, not who holds it.
            (Route::Redemption, _) => Actor::Stranger,
            (_, known) => known.map_or(Actor::Stranger, Actor::Person),
        };
        let subject = match route {
            Route::Admin(place) => place.subject().map(ToString::to_string),
            _ => trace.subject.clone(),
        };
        let mut record = Act::new(actor, request_id).did(action).on(subject.unwrap_or_default());
        if let Some(id) = route.instance() {
            record = record.at(id);
        }
        let record = record.with(&refusal.detail).refused(refusal.code);
        match self.audit.refused(&self.store, record).await {
            Ok(()) => refusal,
            Err(error) => error.into(),
        }
    }
}

impl Route {
    /// What a person does here, for the audit. What the gate asks in its own name is not there.
    fn action(&self, method: &str) -> Option<Action> {
        match self {
            Self::Logout => Some(Action::Revoke),
            Self::Admin(place) => Some(place.action(method)),
            Self::Session(_) | Self::Redemption => Some(Action::Login),
            Self::Code(_) => Some(Action::CodeIssue),
            Self::OwnUsage | Self::Usage => Some(Action::UsageRead),
            Self::Introspection
            | Self::Leases
            | Self::Reservation
            | Self::Settlement
            | Self::Unknown => None,
        }
    }

    const fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Session(id) | Self::Code(id) => Some(id),
            Self::Admin(place) => place.instance(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// How many routes there are.
    const LABELS: usize = 22;

    #[test]
    fn the_description_has_every_route_with_its_methods_and_no_other() {
        let text = include_str!("../../spec/exchange.openapi.yaml");
        let description: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
        let mut described = BTreeSet::new();
        for (template, methods) in description["paths"].as_object().unwrap() {
            let route = Route::of(&template.replace("{id}", "lab").replace("{sub}", "ada"));
            assert_ne!(route, Route::Unknown, "{template}");
            let methods: BTreeSet<_> = methods.as_object().unwrap().keys().cloned().collect();
            let takes = route.methods().to_lowercase();
            assert_eq!(methods, takes.split(", ").map(str::to_owned).collect(), "{template}");
            assert!(described.insert(route.label()), "{template}");
        }
        assert_eq!(described.len(), LABELS, "a new route needs a description");
    }

    #[test]
    fn only_the_exact_path_is_a_route() {
        let session = |id| Route::Session(InstanceId::parse(id).unwrap());
        for (path, route) in [
            ("/sso/instances/lab-1/session", session("lab-1")),
            ("/sso/instances/lab-1/code", Route::Code(InstanceId::parse("lab-1").unwrap())),
            ("/sso/redeem", Route::Redemption),
            ("/sso/redeem/", Route::Unknown),
            ("/gate/introspect", Route::Introspection),
            ("/gate/leases", Route::Leases),
            ("/gate/leases/", Route::Unknown),
            ("/gate/usage/reserve", Route::Reservation),
            ("/gate/usage/settle", Route::Settlement),
            ("/me/usage", Route::OwnUsage),
            ("/admin/usage", Route::Usage),
            ("/admin/instances", Route::Admin(Place::Instances)),
            ("/admin/instance", Route::Unknown),
            ("/gate/usage", Route::Unknown),
            ("/gate/introspect/", Route::Unknown),
            ("/gate/Introspect", Route::Unknown),
            ("/sso/instances//session", Route::Unknown),
            ("/sso/instances/session", Route::Unknown),
            ("/sso/instances/LAB/session", Route::Unknown),
            ("/sso/instances/a/b/session", Route::Unknown),
            ("/sso/instances/a/session/", Route::Unknown),
            ("/sso/instances/%61/session", Route::Unknown),
            ("//sso/instances/a/session", Route::Unknown),
            ("/", Route::Unknown),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }
}
