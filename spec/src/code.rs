//! The stable codes of every refusal. A code never changes its meaning; new ones may be added.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $name:ident = $text:literal, $status:literal, $title:literal, $advice:literal; )+) => {
        /// Why a request was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[ $( Self::$name, )+ ];

            /// The code as it is written on the wire, in logs and as a metric's label.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$name => $text, )+ }
            }

            /// The HTTP status that goes with the code.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $( Self::$name => $status, )+ }
            }

            /// What the code means, in a few words.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $( Self::$name => $title, )+ }
            }

            /// What the person who meets the code can do.
            #[must_use]
            pub const fn advice(self) -> &'static str {
                match self { $( Self::$name => $advice, )+ }
            }
        }
    };
}

// By hand, because what serde would derive for so many names is a noticeable part of the filter.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let code = Self::ALL.iter().find(|code| code.as_str() == text);
        code.copied().ok_or_else(|| D::Error::custom(format_args!("unknown code `{text}`")))
    }
}

codes! {
    /// No `Authorization` header.
    TokenMissing = "token_missing", 401, "a bearer token is required",
        "Send an access token as `Authorization: Bearer TOKEN`.";
    /// `Authorization` is there but is not one bearer token (RFC 6750 section 2.1).
    CredentialsMalformed = "credentials_malformed", 400, "the credentials cannot be read",
        "Send exactly one `Authorization` header with the scheme Bearer and one token.";
    /// The token is not a JWS in compact form (RFC 7515 section 3.1), or its parts cannot be read.
    TokenMalformed = "token_malformed", 401, "the token is not a well-formed JWT",
        "Send the access token exactly as the issuer returned it; the application must use JWT access tokens.";
    /// The issuer signed it, but as something other than an access token (RFC 8725 section 3.12):
    /// an ID token, a logout token, or another security event.
    NotAnAccessToken = "not_an_access_token", 401, "the token is not an access token",
        "Send the access token of the token response, not the ID token.";
    /// The token's `alg` is not among those allowed for its issuer.
    AlgorithmRefused = "algorithm_refused", 401, "the token's algorithm is not accepted",
        "Use a token that the configured issuer signed; unsigned and symmetric tokens are never accepted.";
    /// The token's `iss` is not configured.
    IssuerUnknown = "issuer_unknown", 401, "the token's issuer is not accepted",
        "Sign in at the issuer that this gateway is configured for.";
    /// None of the token's `aud` is accepted here.
    AudienceMismatch = "audience_mismatch", 401, "the token is meant for someone else",
        "Use a token for this gateway: request the scope `urn:zitadel:iam:org:project:id:PROJECT_ID:aud` when signing in.";
    /// Nor is any of them, but the token is for the application that asked for it: nobody asked for
    /// more.
    AudienceScopeMissing = "audience_scope_missing", 401, "the project's audience scope is missing",
        "Request the scope `urn:zitadel:iam:org:project:id:PROJECT_ID:aud` when signing in.";
    /// The token's `exp` is in the past.
    TokenExpired = "token_expired", 401, "the token has expired",
        "Refresh the token or sign in again.";
    /// The token's `iat` is longer ago than this route allows.
    TokenTooOld = "token_too_old", 401, "the token was issued too long ago",
        "Refresh the token or sign in again.";
    /// The token's `nbf` or `iat` is in the future.
    TokenNotYetValid = "token_not_yet_valid", 401, "the token is not valid yet",
        "Check the clock of the machine that issued the token.";
    /// The issuer has no key with the token's `kid`.
    KeyUnknown = "key_unknown", 401, "the token's key is not among the issuer's keys",
        "Sign in again; the key that signed this token is no longer published.";
    /// The signature does not fit the token.
    SignatureInvalid = "signature_invalid", 401, "the token's signature is wrong",
        "Send the access token exactly as the issuer returned it.";
    /// The issuer does not hold the opaque token to be good (RFC 7662 section 2.2).
    TokenInactive = "token_inactive", 401, "the token is not active",
        "Use a token that has neither expired nor been revoked; in Zitadel, create a new personal access token.";
    /// The token is valid, but the route needs roles that it does not carry.
    RoleMissing = "role_missing", 403, "a required role is missing",
        "Ask an administrator for the role; then sign in again.";
    /// The route needs roles, and the token says nothing about roles.
    RolesNotAsserted = "roles_not_asserted", 403, "roles are not asserted in this token",
        "Enable \"Assert Roles on Authentication\" in the settings of the Zitadel project, or request the scope `urn:zitadel:iam:org:projects:roles`; if that is so, ask an administrator for the role; then sign in again.";
    /// The user belongs to no organisation that the route admits, or the token does not say.
    OrganisationForbidden = "organisation_forbidden", 403, "the user's organisation is not admitted here",
        "Sign in as a member of an organisation admitted here, with the scope `urn:zitadel:iam:user:resourceowner`.";
    /// The token was issued to somebody who acts for the user (`act`, RFC 8693 section 4.1).
    DelegationRefused = "delegation_refused", 403, "acting on somebody's behalf is not allowed here",
        "Use a token that the user obtained; the operator can allow delegated tokens on this route.";
    /// The client sent a header that only the gate may set.
    HeaderReserved = "header_reserved", 400, "the request carries a reserved header",
        "Remove every header whose name starts with x-kombi-.";
    /// The issuer's keys could not be had and none are cached.
    KeysUnavailable = "keys_unavailable", 503, "the issuer's keys are not available",
        "Try again shortly; the operator should check that the gateway reaches the issuer.";
    /// The filter's configuration for this route cannot be used.
    ConfigurationInvalid = "configuration_invalid", 503, "this route is not configured correctly",
        "The operator finds the reason in the gateway's error log.";

    /// A limit has less left than the request costs. The title is the one of the problem type.
    LimitExceeded = "limit_exceeded", 429, "Request cannot be satisfied as assigned quota has been exceeded",
        "Try again after the time given in `Retry-After`.";
    /// A limit that lets nothing pass uncounted cannot be counted.
    LimitUnavailable = "limit_unavailable", 503, "the limit cannot be counted",
        "Try again shortly; the operator finds the reason in the gateway's error log.";

    /// The exchange was called without an assertion.
    AssertionMissing = "assertion_missing", 401, "the gate's assertion is required",
        "Call this service through the gateway.";
    /// The assertion is not one that the gate signed for this very request.
    AssertionInvalid = "assertion_invalid", 401, "the gate's assertion is not valid",
        "Call this service through the gateway; the operator should check the assertion keys on both sides.";
    /// The assertion is older than its lifetime allows.
    AssertionExpired = "assertion_expired", 401, "the gate's assertion has expired",
        "Repeat the request; the operator should check both clocks if it persists.";
    /// The assertion was used before.
    AssertionReplayed = "assertion_replayed", 401, "the gate's assertion was already used",
        "Repeat the request through the gateway.";
    /// The instance is not registered, or this person may not enter it; which of both is not told.
    InstanceForbidden = "instance_forbidden", 403, "no such instance, or it is not yours to enter",
        "Check the instance's id, or ask its owner to add you as a member.";
    /// The instance did not answer in time, or not at all.
    InstanceUnavailable = "instance_unavailable", 503, "the instance does not answer",
        "Try again shortly; the instance's owner should check that it is running.";
    /// The instance answered something that is not its contract.
    InstanceMisbehaved = "instance_misbehaved", 502, "the instance answered in an unexpected way",
        "The instance's owner should check that the KombiSphere hook is installed, current, and has the right key.";
    /// The instance has a user with this e-mail address whom this person may not take over.
    AccountCollision = "account_collision", 409, "the e-mail address belongs to another account there",
        "Sign in there with the local password and link the accounts, or ask the instance's administrator.";
    /// The instance cannot make a user from what the token says.
    AccountIncomplete = "account_incomplete", 422, "the identity lacks something the instance requires",
        "Ask the operator to have the issuer assert the e-mail address in access tokens.";
    /// The instance's own rules (`authRule`) keep this user out.
    AccountRefused = "account_refused", 403, "the instance does not let this account in",
        "Ask the instance's administrator.";
    /// An admin has blocked the person, in every instance.
    AccountBlocked = "account_blocked", 403, "the account is blocked",
        "Ask an administrator.";
    /// The instance has no user with this id.
    AccountUnknown = "account_unknown", 404, "the instance has no such user",
        "Check the id of the user's record in the instance.";
    /// Flags of a later version are there, or other flags of this version.
    FlagsOutdated = "flags_outdated", 409, "there are newer flags",
        "Read the flags, and set them again with a greater version.";
    /// There is an instance with this id.
    InstanceExists = "instance_exists", 409, "the instance is already registered",
        "Choose another id, or remove the instance first.";
    /// No instance with this id is registered. People who are no admins are not told so.
    InstanceUnknown = "instance_unknown", 404, "no such instance is registered",
        "Check the instance's id.";

    /// The exchange listens to no issuer's logouts.
    LogoutNotConfigured = "logout_not_configured", 501, "logouts are not listened to",
        "The operator can set KOMBI_EXCHANGE_LOGOUT_ISSUER and KOMBI_EXCHANGE_LOGOUT_AUDIENCES.";
    /// The logout token is not one, or not for us, or was used before (OpenID Connect Back-Channel
    /// Logout 1.0 section 2.6).
    LogoutTokenInvalid = "logout_token_invalid", 400, "the logout token is not valid",
        "Send a logout token of the configured issuer for one of the configured clients, once.";

    /// The page that a login is to be handed to is not the instance's.
    RedirectRefused = "redirect_refused", 400, "the login may not be handed to this page",
        "The operator can register the instance's page with `kombi-exchange instance page`.";
    /// The code of a hand-off is not known, expired, used, or for another page or verifier; which
    /// of them is not told.
    CodeInvalid = "code_invalid", 400, "the one-time code is not good",
        "Go back to the portal and open the instance again.";

    /// The exchange has no credentials to ask this issuer about its tokens.
    IntrospectionNotConfigured = "introspection_not_configured", 501, "tokens of this issuer cannot be introspected",
        "Use a JWT access token; the operator can set KOMBI_EXCHANGE_INTROSPECTION_ISSUER and its client's credentials.";
    /// The issuer did not say, in time and understandably, whether the token is good.
    IntrospectionUnavailable = "introspection_unavailable", 503, "the issuer does not say whether the token is good",
        "Try again shortly; the operator finds the reason in the exchange's log.";

    /// There is no such AI model, or the plan does not allow it; which of both is not told.
    ModelNotFound = "model_not_found", 404, "no such model, or it is not yours to use",
        "Choose one of those that GET /models lists.";
    /// A budget in money has less left than the call could cost.
    BudgetExhausted = "budget_exhausted", 402, "the budget is used up",
        "Wait for the next period, ask for a larger budget, or ask for fewer tokens.";
    /// A quota of tokens or requests has less left than the call could use.
    QuotaExhausted = "quota_exhausted", 429, "the quota is used up",
        "Try again after the time given in `Retry-After`, or ask for fewer tokens.";
    /// The plan is billed, and nobody has said what the model costs.
    ModelUnpriced = "model_unpriced", 403, "the model has no price",
        "Use another model; the operator can add a price for this one.";
    /// The ledger knows no such plan.
    PlanUnknown = "plan_unknown", 403, "the plan is not known",
        "The operator should check the plans of the exchange against the roles of the issuer.";
    /// The exchange has no key for the provider.
    ProviderNotConfigured = "provider_not_configured", 503, "the provider is not set up",
        "Use another model; the operator can set the provider's key.";
    /// The attempt is settled already, or it was reserved for another call.
    ReservationConflict = "reservation_conflict", 409, "the attempt is taken",
        "Use a new attempt for a new call.";
    /// The exchange keeps no ledger.
    UsageNotConfigured = "usage_not_configured", 501, "usage is not accounted for here",
        "The operator can set KOMBI_EXCHANGE_PLANS.";
    /// The ledger does not answer, and the plan lets no call leave without it.
    UsageUnavailable = "usage_unavailable", 503, "usage cannot be accounted for",
        "Try again shortly; the operator should check that the gateway reaches the exchange.";

    /// The exchange's store does not answer, so it cannot say what is left of a shared limit.
    LeasesUnavailable = "leases_unavailable", 503, "shared limits are not available",
        "The gates go on with what they hold; the operator finds the reason in the exchange's log.";
    /// The query is not one that the resource understands.
    QueryMalformed = "query_malformed", 400, "the query cannot be read",
        "Send the query that the API description asks for.";
    /// The report would have more rows than anybody gets at once.
    ReportTooLarge = "report_too_large", 422, "the report is too large",
        "Ask for fewer days, for one person or model, or tell less apart.";

    /// There is no such resource.
    NotFound = "not_found", 404, "there is nothing here",
        "Check the path against the API description.";
    /// The resource does not know the method.
    MethodNotAllowed = "method_not_allowed", 405, "the method is not allowed here",
        "Use a method named in the `Allow` header.";
    /// What the gate asks is not what the resource is asked for.
    QuestionMalformed = "question_malformed", 400, "the question cannot be read",
        "Send in `x-kombi-question` what the API description asks for.";
    /// The request's body is not what the resource takes.
    BodyMalformed = "body_malformed", 400, "the request's body cannot be read",
        "Send the body that the API description asks for.";
    /// The request's body is larger than allowed.
    BodyTooLarge = "body_too_large", 413, "the request is too large",
        "Send less.";
    /// The request did not arrive in time.
    RequestTimeout = "request_timeout", 408, "the request did not arrive in time",
        "Send the whole request at once.";
    /// Nothing can be written down, and what cannot be is not acknowledged.
    StorageUnavailable = "storage_unavailable", 503, "nothing can be stored",
        "Try again after the time given in `Retry-After`; the operator finds the reason at /readyz and in the log.";
    /// More requests are under way than the service takes.
    Overloaded = "overloaded", 503, "the service is busy",
        "Try again after the time given in `Retry-After`.";
    /// The service failed; the reason is in its log.
    Internal = "internal", 500, "the service failed",
        "Quote the request id to the operator.";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_code_is_unique_and_serialises_as_its_text() {
        let mut seen = HashSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{} is there twice", code.as_str());
            assert_eq!(serde_json::to_value(code).unwrap(), serde_json::Value::from(code.as_str()));
            assert_eq!(serde_json::from_value::<Code>(code.as_str().into()).unwrap(), *code);
            assert!((400..=599).contains(&code.status()), "{}", code.as_str());
            assert!(code.advice().ends_with('.'), "{}", code.as_str());
        }
        assert!(serde_json::from_str::<Code>(r#""no_such_code""#).is_err());
    }
}
