//! Connectors: the ways into an instance.

mod check;
mod hook;
mod superuser;

use std::future::Future;

use kombi_spec::{
    account::{Done, Order},
    assertion::{Assertion, GrantedBy},
    code::Code,
    session::{HookRefusal, Origin, Session},
};
use reqwest::Response;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use crate::{
    access::{Access, Superuser},
    instance::{Instance, InstanceUrl, Subject},
    outbound::{self, Failure, Outbound},
    refusal::Refusal,
};
pub use check::{Finding, Look};
use hook::Hook;
use superuser::AsSuperuser;
pub use superuser::Prepared;

/// Who wants to enter, as the gate vouches for them.
#[derive(Debug, Clone)]
pub struct Person {
    /// Their Zitadel id; what the instance knows them by.
    pub subject: Subject,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Whether the issuer verified that address.
    pub email_verified: bool,
    /// Their display name.
    pub name: Option<String>,
    /// Their roles, by whoever granted them.
    pub granted_by: GrantedBy,
}

impl Person {
    /// The person that a verified assertion is about.
    #[must_use]
    pub fn new(subject: Subject, assertion: Assertion) -> Self {
        Self {
            subject,
            email: assertion.email,
            email_verified: assertion.email_verified,
            name: assertion.name,
            granted_by: assertion.granted_by,
        }
    }
}

/// An instance let somebody in.
#[derive(Debug)]
pub struct Entry {
    /// The id of their PocketBase record.
    pub record_id: String,
    /// How the instance came to that record, if it says so.
    pub origin: Option<Origin>,
    /// What they get; the record exactly as PocketBase wrote it.
    pub session: Session<Box<RawValue>>,
}

/// A way into instances.
pub trait Connector: Send + Sync + 'static {
    /// Asks `instance` for a session of `person`. The call is made at most once: an instance may
    /// have acted on it even if the answer is lost. It ends by `deadline`.
    fn enter(
        &self,
        instance: &Instance,
        person: &Person,
        request_id: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Entry, ConnectorError>> + Send;

    /// Ends every session of `subject` in `instance` by `deadline`; whether there is such a user.
    /// It may be asked for again.
    fn end_sessions(
        &self,
        instance: &Instance,
        subject: &Subject,
        request_id: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<bool, ConnectorError>> + Send;

    /// Carries `order` out by `deadline`, on the user of `instance` that is linked, or to be linked,
    /// to `subject`. It may be ordered again.
    fn carry_out(
        &self,
        instance: &Instance,
        subject: &Subject,
        order: &Order,
        request_id: &str,
        deadline: Instant,
    ) -> impl Future<Output = Result<Done, ConnectorError>> + Send;

    /// Looks by `deadline` whether `instance` can be entered, and what would mend it if not.
    fn check(
        &self,
        instance: &Instance,
        request_id: &str,
        deadline: Instant,
    ) -> impl Future<Output = Vec<Finding>> + Send;

    /// Makes the instance at `url` ready to be entered as `superuser`, by `deadline`.
    fn prepare(
        &self,
        url: &InstanceUrl,
        superuser: &Superuser,
        deadline: Instant,
    ) -> impl Future<Output = Result<Prepared, ConnectorError>> + Send;
}

/// Every way into instances: which one, the registry says of each.
pub struct Doors {
    hook: Hook,
    superuser: AsSuperuser,
}

impl Doors {
    /// Doors whose calls go through `outbound`.
    #[must_use]
    pub fn new(outbound: Outbound) -> Self {
        Self { hook: Hook { outbound: outbound.clone() }, superuser: AsSuperuser::new(outbound) }
    }
}

impl Connector for Doors {
    async fn enter(
        &self,
        instance: &Instance,
        person: &Person,
        request_id: &str,
        deadline: Instant,
    ) -> Result<Entry, ConnectorError> {
        by(deadline, async {
            match &instance.access {
                Access::Hook(key) => self.hook.enter(instance, key, person, request_id).await,
                Access::Superuser(superuser) => {
                    self.superuser.enter(instance, superuser, person).await
                }
            }
        })
        .await
    }

    async fn end_sessions(
        &self,
        instance: &Instance,
        subject: &Subject,
        request_id: &str,
        deadline: Instant,
    ) -> Result<bool, ConnectorError> {
        by(deadline, async {
            match &instance.access {
                Access::Hook(key) => {
                    self.hook.end_sessions(instance, key, subject, request_id).await
                }
                Access::Superuser(superuser) => {
                    self.superuser.end_sessions(instance, superuser, subject).await
                }
            }
        })
        .await
    }

    async fn carry_out(
        &self,
        instance: &Instance,
        subject: &Subject,
        order: &Order,
        request_id: &str,
        deadline: Instant,
    ) -> Result<Done, ConnectorError> {
        by(deadline, async {
            match &instance.access {
                Access::Hook(key) => {
                    self.hook.carry_out(instance, key, subject, order, request_id).await
                }
                Access::Superuser(superuser) => {
                    self.superuser.carry_out(instance, superuser, subject, order).await
                }
            }
        })
        .await
    }

    async fn check(
        &self,
        instance: &Instance,
        request_id: &str,
        deadline: Instant,
    ) -> Vec<Finding> {
        let looked = async {
            match &instance.access {
                Access::Hook(key) => self.hook.check(instance, key, request_id).await,
                Access::Superuser(superuser) => {
                    self.superuser.check(&instance.url, superuser).await
                }
            }
        };
        let late = |_| check::findings(Some(check::Wrong::unreachable(&ConnectorError::Late)));
        timeout_at(deadline, looked).await.unwrap_or_else(late)
    }

    async fn prepare(
        &self,
        url: &InstanceUrl,
        superuser: &Superuser,
        deadline: Instant,
    ) -> Result<Prepared, ConnectorError> {
        by(deadline, self.superuser.prepare(url, superuser)).await
    }
}

/// What `asked` comes to, if that is known by `deadline`.
async fn by<T>(
    deadline: Instant,
    asked: impl Future<Output = Result<T, ConnectorError>>,
) -> Result<T, ConnectorError> {
    timeout_at(deadline, asked).await.map_err(|_| ConnectorError::Late)?
}

/// Why there is no session.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectorError {
    /// The instance understood the request and refused it.
    #[error("the instance refused: {0:?}")]
    Refused(HookRefusal),
    /// No answer in time.
    #[error("no answer in time")]
    Late,
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// It is at an address that it may not be at.
    #[error("{0}")]
    AddressRefused(String),
    /// The answer is not the contract's.
    #[error("{0}")]
    Misbehaved(String),
    /// The exchange could not ask.
    #[error("{0}")]
    Internal(String),
}

impl ConnectorError {
    /// The error as a metric's label.
    #[must_use]
    pub const fn as_label(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Late => "late",
            Self::Unreachable(_) => "unreachable",
            Self::AddressRefused(_) => "address_refused",
            Self::Misbehaved(_) => "misbehaved",
            Self::Internal(_) => "internal",
        }
    }
}

impl From<ConnectorError> for Refusal {
    fn from(error: ConnectorError) -> Self {
        let (code, detail) = match &error {
            ConnectorError::Refused(HookRefusal::RequestInvalid) => {
                (Code::InstanceMisbehaved, "the instance does not accept the exchange's signature")
            }
            ConnectorError::Refused(HookRefusal::AccountUnknown) => {
                (Code::AccountUnknown, "the instance has no user with this id")
            }
            ConnectorError::Refused(HookRefusal::AccountCollision) => (
                Code::AccountCollision,
                "the instance has such an account that is linked otherwise",
            ),
            ConnectorError::Refused(HookRefusal::FlagsOutdated) => {
                (Code::FlagsOutdated, "the instance has flags of a later version")
            }
            ConnectorError::Refused(HookRefusal::AccountIncomplete) => {
                (Code::AccountIncomplete, "the instance requires more than the token says")
            }
            ConnectorError::Refused(HookRefusal::AccountRefused) => {
                (Code::AccountRefused, "the instance's rules keep this account out")
            }
            ConnectorError::Late => {
                (Code::InstanceUnavailable, "the instance did not answer in time")
            }
            ConnectorError::Unreachable(_) => {
                (Code::InstanceUnavailable, "the instance could not be reached")
            }
            ConnectorError::AddressRefused(_) => {
                (Code::InstanceUnavailable, "the instance's name leads to an address out of bounds")
            }
            ConnectorError::Misbehaved(_) => {
                (Code::InstanceMisbehaved, "the instance's answer is not a session")
            }
            ConnectorError::Internal(_) => return Self::internal(error),
        };
        Self::new(code, detail).because(error)
    }
}

/// The body of an instance's answer, of at most `most` bytes.
async fn body(response: &mut Response, most: usize) -> Result<Vec<u8>, ConnectorError> {
    let body = outbound::body(response, most).await?;
    body.ok_or_else(|| {
        ConnectorError::Misbehaved(format!("its answer is larger than {most} bytes"))
    })
}

impl From<reqwest::Error> for ConnectorError {
    fn from(error: reqwest::Error) -> Self {
        match Failure::from(error) {
            Failure::OutOfBounds(cause) => Self::AddressRefused(cause),
            Failure::NotHttp(cause) => Self::Misbehaved(cause),
            Failure::Unreachable(cause) => Self::Unreachable(cause),
        }
    }
}
