//! What an admin can ask for, by path.

use kombi_spec::code::Code;

use crate::{
    audit::Action,
    instance::{InstanceId, Subject},
    refusal::Refusal,
};

/// What a path below `/admin/` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The instances.
    Instances,
    /// Something to be done about one.
    Instance(InstanceId, Deed),
    /// Something to be done about a person in an instance.
    Account(InstanceId, Subject, AccountDeed),
    /// Something to be done about a person in every instance.
    Person(Subject, PersonDeed),
}

/// What can be done about a person in every instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonDeed {
    /// End their sessions.
    EndSessions,
    /// The same, and let them open none until they are unblocked.
    Block,
    /// Let them in again where they may enter.
    Unblock,
}

/// What can be done about an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Look whether it can be entered.
    Check,
    /// Replace what opens it.
    RotateKey,
    /// Let somebody in.
    Admit,
    /// Let somebody in no more.
    Dismiss,
    /// Remove it from the registry.
    Remove,
}

/// What can be done about a person in an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountDeed {
    /// Say which user of the instance they are.
    Link,
    /// Say that they are none.
    Unlink,
    /// Read or set their feature flags.
    Flags,
}

impl Place {
    /// What `path` names, if it is something here.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        let below: Vec<&str> = path.strip_prefix("/admin/")?.split('/').collect();
        let id = |text| InstanceId::parse(text).ok();
        Some(match below.as_slice() {
            ["instances"] => Self::Instances,
            ["instances", one, deed] => {
                let deed = match *deed {
                    "check" => Deed::Check,
                    "rotate-key" => Deed::RotateKey,
                    "admit" => Deed::Admit,
                    "dismiss" => Deed::Dismiss,
                    "remove" => Deed::Remove,
                    _ => return None,
                };
                Self::Instance(id(one)?, deed)
            }
            ["instances", one, "users", sub, deed] => {
                let deed = match *deed {
                    "link" => AccountDeed::Link,
                    "unlink" => AccountDeed::Unlink,
                    "flags" => AccountDeed::Flags,
                    _ => return None,
                };
                Self::Account(id(one)?, subject(sub)?, deed)
            }
            ["users", sub, deed] => {
                let deed = match *deed {
                    "end-sessions" => PersonDeed::EndSessions,
                    "block" => PersonDeed::Block,
                    "unblock" => PersonDeed::Unblock,
                    _ => return None,
                };
                Self::Person(subject(sub)?, deed)
            }
            _ => return None,
        })
    }

    /// The methods that it takes, as `Allow` has them.
    #[must_use]
    pub const fn methods(&self) -> &'static str {
        match self {
            Self::Instances => "GET, POST",
            Self::Account(_, _, AccountDeed::Link) => "PUT",
            Self::Account(_, _, AccountDeed::Flags) => "GET, PUT",
            Self::Instance(..) | Self::Account(..) | Self::Person(..) => "POST",
        }
    }

    /// It as a metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Instances => "admin_instances",
            Self::Instance(_, Deed::Check) => "admin_instance_check",
            Self::Instance(_, Deed::RotateKey) => "admin_instance_rotate_key",
            Self::Instance(_, Deed::Admit) => "admin_instance_admit",
            Self::Instance(_, Deed::Dismiss) => "admin_instance_dismiss",
            Self::Instance(_, Deed::Remove) => "admin_instance_remove",
            Self::Account(_, _, AccountDeed::Link) => "admin_link",
            Self::Account(_, _, AccountDeed::Unlink) => "admin_unlink",
            Self::Account(_, _, AccountDeed::Flags) => "admin_flags",
            Self::Person(_, PersonDeed::EndSessions) => "admin_end_sessions",
            Self::Person(_, PersonDeed::Block) => "admin_block",
            Self::Person(_, PersonDeed::Unblock) => "admin_unblock",
        }
    }

    /// What is done there, for the audit.
    #[must_use]
    pub fn action(&self, method: &str) -> Action {
        match self {
            Self::Instances if method == "POST" => Action::InstanceAdd,
            Self::Instances => Action::InstanceList,
            Self::Instance(_, Deed::Check) => Action::InstanceCheck,
            Self::Instance(_, Deed::RotateKey) => Action::InstanceRotateKey,
            Self::Instance(_, Deed::Admit) => Action::InstanceAdmit,
            Self::Instance(_, Deed::Dismiss) => Action::InstanceDismiss,
            Self::Instance(_, Deed::Remove) => Action::InstanceRemove,
            Self::Account(_, _, AccountDeed::Link) => Action::Link,
            Self::Account(_, _, AccountDeed::Unlink) => Action::Unlink,
            Self::Account(_, _, AccountDeed::Flags) if method == "PUT" => Action::FlagsSet,
            Self::Account(_, _, AccountDeed::Flags) => Action::FlagsRead,
            Self::Person(_, PersonDeed::EndSessions) => Action::Revoke,
            Self::Person(_, PersonDeed::Block) => Action::Block,
            Self::Person(_, PersonDeed::Unblock) => Action::Unblock,
        }
    }

    /// The instance that it is about.
    #[must_use]
    pub const fn instance(&self) -> Option<&InstanceId> {
        match self {
            Self::Instance(id, _) | Self::Account(id, _, _) => Some(id),
            Self::Instances | Self::Person(..) => None,
        }
    }

    /// The person that it is about.
    #[must_use]
    pub const fn subject(&self) -> Option<&Subject> {
        match self {
            Self::Account(_, subject, _) | Self::Person(subject, _) => Some(subject),
            Self::Instances | Self::Instance(..) => None,
        }
    }
}

/// A person in a path. Zitadel's ids are digits; what would have to be encoded is not taken,
/// because not everybody in between leaves it as it is.
fn subject(text: &str) -> Option<Subject> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~@:".contains(&byte);
    text.bytes().all(plain).then(|| Subject::parse(text).ok())?
}

/// Why something is done, in the words of whoever does it.
pub(super) fn reason(text: String) -> Result<String, Refusal> {
    if (1..=500).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let detail = "reason: expected 1 to 500 characters, none of them control";
    Err(Refusal::new(Code::BodyMalformed, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_path_is_a_place() {
        let (lab, ada) = (InstanceId::parse("lab").unwrap(), Subject::parse("27@a.b").unwrap());
        for (path, place) in [
            ("/admin/instances", Some(Place::Instances)),
            ("/admin/instances/lab/admit", Some(Place::Instance(lab.clone(), Deed::Admit))),
            ("/admin/instances/lab/dismiss", Some(Place::Instance(lab.clone(), Deed::Dismiss))),
            ("/admin/instances/lab/check", Some(Place::Instance(lab.clone(), Deed::Check))),
            (
                "/admin/instances/lab/users/27@a.b/link",
                Some(Place::Account(lab.clone(), ada.clone(), AccountDeed::Link)),
            ),
            (
                "/admin/instances/lab/users/27@a.b/flags",
                Some(Place::Account(lab.clone(), ada.clone(), AccountDeed::Flags)),
            ),
            (
                "/admin/users/27@a.b/end-sessions",
                Some(Place::Person(ada.clone(), PersonDeed::EndSessions)),
            ),
            ("/admin/users/27@a.b/block", Some(Place::Person(ada.clone(), PersonDeed::Block))),
            ("/admin/users/27@a.b/unblock", Some(Place::Person(ada, PersonDeed::Unblock))),
            ("/admin/users/27@a.b/blocked", None),
            ("/admin", None),
            ("/admin/", None),
            ("/admin/instances/", None),
            ("/admin/instances/lab", None),
            ("/admin/instances/LAB/check", None),
            ("/admin/instances/lab/check/", None),
            ("/admin/instances/lab/users//link", None),
            ("/admin/instances/lab/users/a%2fb/link", None),
            ("/admin/instances/lab/users/27/delete", None),
            ("/admin/users/end-sessions", None),
            ("/admin/usage", None),
            ("//admin/instances", None),
        ] {
            assert_eq!(Place::of(path), place, "{path}");
        }
    }

    #[test]
    fn a_reason_is_one_line_that_says_something() {
        for (text, fits) in [("ticket 7", true), ("", false), ("a\nb", false)] {
            assert_eq!(reason(text.to_owned()).is_ok(), fits, "{text:?}");
        }
        assert!(reason("é".repeat(500)).is_ok());
        assert!(reason("é".repeat(501)).is_err());
    }
}
