//! What a record says.

use kombi_spec::code::Code;

use super::OK;
use crate::{
    instance::{InstanceId, Subject},
    random,
};

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// Somebody whom the gate vouches for, by the `sub` in its assertion.
    Person(String),
    /// Whoever is at the command line.
    Operator,
    /// The issuer, by a logout token.
    Issuer,
    /// The exchange by itself.
    Exchange,
    /// Somebody whom nothing vouches for.
    Stranger,
}

impl Actor {
    /// The kind, as records have it.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Person(_) => "person",
            Self::Operator => "operator",
            Self::Issuer => "issuer",
            Self::Exchange => "exchange",
            Self::Stranger => "stranger",
        }
    }

    /// The person's `sub`; empty if it is no person.
    #[must_use]
    pub fn subject(&self) -> &str {
        match self {
            Self::Person(subject) => subject,
            Self::Operator | Self::Issuer | Self::Exchange | Self::Stranger => "",
        }
    }
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A session in an instance is opened.
    Login,
    /// A person becomes a user of an instance.
    Link,
    /// A person is no user of an instance any more.
    Unlink,
    /// The end of a person's sessions is asked for.
    Revoke,
    /// A person may enter no instance from now on.
    Block,
    /// A person may enter again where somebody lets them in.
    Unblock,
    /// Every session of a person in an instance is ended.
    SessionsEnded,
    /// A code that hands a login to an instance's page is given out.
    CodeIssue,
    /// An instance is registered.
    InstanceAdd,
    /// The instances are listed.
    InstanceList,
    /// Whether an instance can be entered is looked at.
    InstanceCheck,
    /// What opens an instance is replaced.
    InstanceRotateKey,
    /// The page that a login may be handed to is changed.
    InstancePage,
    /// Somebody is let into an instance from now on.
    InstanceAdmit,
    /// Somebody is let into an instance no more.
    InstanceDismiss,
    /// An instance is removed from the registry.
    InstanceRemove,
    /// Feature flags are set.
    FlagsSet,
    /// Feature flags are read.
    FlagsRead,
    /// Feature flags are in the instance.
    FlagsApplied,
    /// Feature flags were changed in the instance, and are as they should be again.
    FlagsMended,
    /// Usage is read.
    UsageRead,
    /// A copy was put in the place of the database.
    Restored,
    /// What is sealed was sealed with another key.
    SealRotate,
}

impl Action {
    /// The action, as records have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Link => "link",
            Self::Unlink => "unlink",
            Self::Revoke => "revoke",
            Self::Block => "block",
            Self::Unblock => "unblock",
            Self::SessionsEnded => "sessions_ended",
            Self::CodeIssue => "code_issue",
            Self::InstanceAdd => "instance_add",
            Self::InstanceList => "instance_list",
            Self::InstanceCheck => "instance_check",
            Self::InstanceRotateKey => "instance_rotate_key",
            Self::InstancePage => "instance_page",
            Self::InstanceAdmit => "instance_admit",
            Self::InstanceDismiss => "instance_dismiss",
            Self::InstanceRemove => "instance_remove",
            Self::FlagsSet => "flags_set",
            Self::FlagsRead => "flags_read",
            Self::FlagsApplied => "flags_applied",
            Self::FlagsMended => "flags_mended",
            Self::UsageRead => "usage_read",
            Self::Restored => "restored",
            Self::SealRotate => "seal_rotate",
        }
    }
}

/// Somebody acts, in one request, for a reason.
#[derive(Debug, Clone)]
pub struct Act {
    actor: Actor,
    reason: String,
    request_id: String,
}

impl Act {
    /// What `actor` does in the request `request_id`.
    #[must_use]
    pub fn new(actor: Actor, request_id: impl Into<String>) -> Self {
        Self { actor, reason: String::new(), request_id: request_id.into() }
    }

    /// What `subject` does in the request `request_id`.
    #[must_use]
    pub fn of_person(subject: &Subject, request_id: impl Into<String>) -> Self {
        Self::new(Actor::Person(subject.to_string()), request_id)
    }

    /// What somebody does at the command line.
    #[must_use]
    pub fn at_the_command_line() -> Self {
        Self::new(Actor::Operator, random::request_id())
    }

    /// The same, because of `reason`.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// Whether it is this person who acts.
    #[must_use]
    pub fn is_by(&self, subject: &Subject) -> bool {
        self.actor.subject() == subject.as_str()
    }

    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The record that `action` was done.
    #[must_use]
    pub fn did(&self, action: Action) -> Record {
        Record {
            act: self.clone(),
            action,
            instance: String::new(),
            subject: String::new(),
            detail: String::new(),
            outcome: OK,
        }
    }
}

/// One record, before it is part of the chain.
#[derive(Debug, Clone)]
pub struct Record {
    act: Act,
    action: Action,
    instance: String,
    subject: String,
    detail: String,
    outcome: &'static str,
}

impl Record {
    /// The same, in the instance `id`.
    #[must_use]
    pub fn at(self, id: &InstanceId) -> Self {
        Self { instance: id.to_string(), ..self }
    }

    /// The same, on the person `subject`.
    #[must_use]
    pub fn on(self, subject: impl Into<String>) -> Self {
        Self { subject: subject.into(), ..self }
    }

    /// The same, with more about it; never a secret.
    #[must_use]
    pub fn with(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// It was not done, but refused with `code`.
    #[must_use]
    pub fn refused(self, code: Code) -> Self {
        Self { outcome: code.as_str(), ..self }
    }

    pub(super) fn by_a_stranger(&self) -> bool {
        self.act.actor == Actor::Stranger
    }

    /// Every text of the record, in the order of the table.
    pub(super) fn texts(&self) -> [&str; 9] {
        [
            self.act.actor.kind(),
            self.act.actor.subject(),
            self.action.as_str(),
            &self.instance,
            &self.subject,
            &self.detail,
            &self.act.reason,
            &self.act.request_id,
            self.outcome,
        ]
    }
}
