//! Where the terms of AI usage are, for every command that needs them.

use std::ffi::OsString;

use clap::Args;

use crate::usage::{PLANS, PRICES};

/// Where the terms of AI usage are written.
#[derive(Debug, Args)]
pub struct TermsArgs {
    /// File with plans and budgets of AI usage
    #[arg(long, value_name = "FILE", env = PLANS, hide_env_values = true)]
    pub plans: Option<OsString>,
    /// File with the prices of models
    #[arg(long, value_name = "FILE", env = PRICES, hide_env_values = true)]
    pub prices: Option<OsString>,
}
