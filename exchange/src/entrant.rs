//! Who may enter an instance besides its owner: a member, or everybody to whom an organisation has
//! granted a role.

use std::fmt;

use kombi_spec::assertion::GrantedBy;

use crate::instance::{Subject, Unfit};

/// Somebody who may enter, besides the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entrant {
    /// A person, whatever their roles.
    Member(Subject),
    /// Whoever has this role, as long as they have it.
    Role(EntryRole),
}

/// A role that an organisation grants. The same role from another organisation is another: in
/// Zitadel every customer may grant the roles of a project that was granted to them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryRole {
    role: String,
    organisation: String,
}

impl EntryRole {
    /// Reads `ROLE@ORGANISATION`, as in the gate's configuration: the last `@` separates.
    pub fn parse(text: &str) -> Result<Self, Unfit> {
        let fits = |part: &str| {
            (1..=255).contains(&part.chars().count()) && !part.chars().any(char::is_control)
        };
        match text.rsplit_once('@') {
            Some((role, organisation)) if fits(role) && fits(organisation) => {
                Ok(Self { role: role.to_owned(), organisation: organisation.to_owned() })
            }
            _ => {
                let expected =
                    "ROLE@ORGANISATION, each of 1 to 255 characters, none of them control";
                Err(Unfit { expected, found: format!("{text:?}") })
            }
        }
    }

    /// The role's name.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The id of the organisation that grants it.
    #[must_use]
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// Whether who was `granted` these has it.
    #[must_use]
    pub fn is_among(&self, granted: &GrantedBy) -> bool {
        granted.get(&self.role).is_some_and(|by| by.contains(&self.organisation))
    }
}

impl fmt::Display for EntryRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.role, self.organisation)
    }
}

impl fmt::Display for Entrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(subject) => write!(f, "member {subject}"),
            Self::Role(role) => write!(f, "role {role}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_is_named_with_the_organisation_that_grants_it() {
        for (text, role, organisation) in [
            ("user@1", "user", "1"),
            ("admin:tools@27", "admin:tools", "27"),
            ("a@b@1", "a@b", "1"),
        ] {
            let read = EntryRole::parse(text).unwrap();
            assert_eq!((read.role(), read.organisation()), (role, organisation));
            assert_eq!(read.to_string(), text);
        }
        for bad in ["", "user", "@1", "user@", "@", "a\n@1", &format!("{}@1", "x".repeat(256))] {
            assert!(EntryRole::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_same_role_from_another_organisation_is_another() {
        let granted: GrantedBy = [
            ("user".to_owned(), ["1".to_owned()].into()),
            ("admin".to_owned(), ["2".to_owned()].into()),
        ]
        .into();
        for (text, held) in [
            ("user@1", true),
            ("admin@2", true),
            ("user@2", false),
            ("admin@1", false),
            ("x@1", false),
        ] {
            assert_eq!(EntryRole::parse(text).unwrap().is_among(&granted), held, "{text}");
        }
    }
}
