//! The roles of admins. The gate says which roles a person's token has; what these allow here is
//! for the exchange to say, whatever a route in front of it demands.

use kombi_spec::{assertion::Assertion, code::Code};

use crate::refusal::Refusal;

/// Manages instances and the accounts in them.
pub const TOOLS: &str = "admin:tools";

/// Stands for every role of an admin.
pub const SUPER: &str = "admin:super";

/// Refuses a person who has neither `role` nor [`SUPER`].
pub fn require(person: &Assertion, role: &str) -> Result<(), Refusal> {
    if person.roles.iter().any(|has| has == role || has == SUPER) {
        return Ok(());
    }
    Err(Refusal::new(Code::RoleMissing, format!("this needs the role {role} or {SUPER}")))
}
