//! Opaque tokens (Zitadel's personal access tokens): only their issuer can say what they mean, so
//! the exchange is asked ([`kombi_spec::introspection`]), and what it says is remembered for as
//! long as it allows.
//!
//! The token goes to the exchange in the body of the question and nowhere else: what is
//! remembered is remembered by its hash.

mod question;
mod shelf;
mod verdicts;

pub use question::{Answer, AskError, Opaque};
pub use verdicts::{Known, Ticket, VerdictCounts, Verdicts};
