//! What the command line can ask for.

pub mod audit;
pub mod backup;
pub mod instance;
pub mod keygen;
pub mod serve;
pub mod usage;
