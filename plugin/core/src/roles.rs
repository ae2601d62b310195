//! Roles: those that a token grants, and those that a route needs.

mod granted;
mod hierarchy;
mod rule;

pub use granted::{Grants, RoleSource};
pub use hierarchy::Hierarchy;
pub use rule::{Demand, Need, RoleRules};

#[cfg(test)]
mod tests;
