//! What the bearer of a verified token may do on a route.

use kombi_spec::code::Code;

use crate::{identity::Identity, refusal::Refusal, roles::RoleRules};

/// What a route demands of the people who call it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    /// The roles needed, if any.
    pub roles: Option<RoleRules>,
    /// The organisations admitted; if there are none, all are.
    pub organisations: Vec<String>,
    /// Whether somebody may act for the user (`act`, RFC 8693 section 4.1).
    pub delegation: bool,
}

impl Demands {
    /// Refuses whoever may not send a request with `method`.
    pub fn check(&self, identity: &Identity, method: &str) -> Result<(), Refusal> {
        self.check_delegation(identity)
            .and_then(|()| self.check_organisation(identity))
            .and_then(|()| self.roles.as_ref().map_or(Ok(()), |r| r.check(method, &identity.roles)))
            .map_err(|refusal| refusal.about(&identity.subject))
    }

    /// Whether the method of a request can decide.
    #[must_use]
    pub fn depend_on_method(&self) -> bool {
        self.roles.as_ref().is_some_and(|roles| !roles.by_method.is_empty())
    }

    fn check_delegation(&self, identity: &Identity) -> Result<(), Refusal> {
        if identity.delegated && !self.delegation {
            return Err(Refusal::new(
                Code::DelegationRefused,
                "the token has act: somebody else acts for the user",
            ));
        }
        Ok(())
    }

    fn check_organisation(&self, identity: &Identity) -> Result<(), Refusal> {
        if self.organisations.is_empty() {
            return Ok(());
        }
        match &identity.organisation {
            Some(own) if self.organisations.contains(own) => Ok(()),
            Some(_) => Err(Refusal::new(
                Code::OrganisationForbidden,
                "the organisation of the token's user is not among those admitted",
            )),
            None => Err(Refusal::new(
                Code::OrganisationForbidden,
                "the token does not say which organisation its user belongs to",
            )),
        }
    }
}
