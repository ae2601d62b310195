//! What the command line can ask for.

pub mod audit;
pub mod backup;
pub mod doctor;
mod failure;
pub mod instance;
pub mod keygen;
pub mod kong;
pub mod ready;
pub mod rotate_keys;
pub mod serve;
mod terms;
pub mod usage;

pub use failure::Failure;
pub use terms::TermsArgs;
