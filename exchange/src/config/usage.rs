//! The ledger of AI usage, if there is one.

use std::{env, ffi::OsString, path::PathBuf, time::Duration};

use super::{ConfigError, number};
use crate::{
    command::TermsArgs,
    usage::{NoAccess, PLANS, PROVIDER_PREFIX, Providers, Settings, TermsFiles},
};

/// How long a call can take.
pub const LONGEST_CALL_S: &str = "KOMBI_EXCHANGE_USAGE_LONGEST_CALL_S";

/// The ledger that `args` and the environment describe. Without plans there is none.
pub(super) fn settings(
    args: &TermsArgs,
    longest_call_s: &str,
) -> Result<Option<Settings>, ConfigError> {
    let longest_call = Duration::from_secs(number(
        LONGEST_CALL_S,
        longest_call_s,
        (1, 86_400),
        "whole seconds from 1 to 86400",
    )?);
    let providers =
        Providers::parse(env::vars_os()).map_err(|NoAccess { variable, expected }| {
            ConfigError {
                variable: PROVIDER_PREFIX,
                expected,
                // The name only; the value could be a key.
                found: format!("something else in {variable}"),
            }
        })?;
    Ok(terms(args).map(|terms| Settings { terms, providers, longest_call }))
}

/// The ledger that a command works on, which calls no provider and reaps nothing.
pub fn ledger(args: &TermsArgs) -> Result<Settings, ConfigError> {
    let terms = terms(args).ok_or_else(|| ConfigError {
        variable: PLANS,
        expected: "a file with plans (or --plans)",
        found: "nothing".to_owned(),
    })?;
    Ok(Settings { terms, providers: Providers::default(), longest_call: Duration::ZERO })
}

fn terms(args: &TermsArgs) -> Option<TermsFiles> {
    let path = |given: &Option<OsString>| {
        given.as_ref().filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    Some(TermsFiles { plans: path(&args.plans)?, prices: path(&args.prices) })
}
