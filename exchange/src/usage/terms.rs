//! The terms of use: plans and prices, from the operator's files, and again whenever the process
//! gets SIGHUP.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    call::{Call, Caller},
    file::Mistake,
    plan::{Plan, Plans},
    price::{Price, Prices},
};
use crate::time::UnixTime;

/// Names the file with the plans.
pub const PLANS: &str = "KOMBI_EXCHANGE_PLANS";
/// Names the file with the prices.
pub const PRICES: &str = "KOMBI_EXCHANGE_PRICES";

/// Where the terms are written.
#[derive(Debug, Clone)]
pub struct TermsFiles {
    /// The plans and their budgets.
    pub plans: PathBuf,
    /// The prices of models; without them no plan is billed.
    pub prices: Option<PathBuf>,
}

/// The terms cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TermsError {
    /// A file cannot be read.
    #[error("{path} ({error})")]
    Unreadable {
        /// Which names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// What it says cannot be used.
    #[error("{path} ({mistake})")]
    Mistaken {
        /// Which names it.
        variable: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        mistake: Mistake,
    },
    /// There are no prices, and something needs them.
    #[error("nothing, but there is {0}")]
    NoPrices(String),
}

impl TermsError {
    /// The variable at fault.
    #[must_use]
    pub const fn variable(&self) -> &'static str {
        match self {
            Self::Unreadable { variable, .. } | Self::Mistaken { variable, .. } => variable,
            Self::NoPrices(_) => PRICES,
        }
    }
}

/// What goes for calls.
#[derive(Debug)]
pub struct Terms {
    plans: Plans,
    prices: Prices,
}

impl Terms {
    /// Reads the files.
    pub fn load(files: &TermsFiles) -> Result<Self, TermsError> {
        let plans = read(PLANS, &files.plans, Plans::parse)?;
        let prices = files.prices.as_deref().map(|path| read(PRICES, path, Prices::parse));
        let Some(prices) = prices.transpose()? else {
            return match plans.needs_prices() {
                Some(needs) => Err(TermsError::NoPrices(needs)),
                None => Ok(Self { plans, prices: Prices::default() }),
            };
        };
        Ok(Self { plans, prices })
    }

    #[cfg(test)]
    pub(super) const fn of(plans: Plans, prices: Prices) -> Self {
        Self { plans, prices }
    }

    /// The plan that `call` is on, if there is one of that name.
    pub(super) fn plan(&self, call: &Call) -> Option<&Plan> {
        self.plans.plan(call.plan.as_deref())
    }

    /// What `call` costs if it left at the time `at`.
    pub(super) fn price(&self, provider: &str, model: &str, at: UnixTime) -> Option<Price> {
        self.prices.price(provider, model, at)
    }

    /// What prices are in; empty if there are none.
    pub(super) fn currency(&self) -> &str {
        self.prices.currency()
    }

    /// The budgets of `caller` on `plan`.
    pub(super) fn rules<'a>(
        &'a self,
        plan: &'a Plan,
        caller: &Caller,
    ) -> impl Iterator<Item = super::plan::Rule> + use<'a> {
        self.plans.rules(plan, caller)
    }
}

fn read<T>(
    variable: &'static str,
    path: &Path,
    parse: impl Fn(&str) -> Result<T, Mistake>,
) -> Result<T, TermsError> {
    let unreadable = |error| TermsError::Unreadable { variable, path: path.to_owned(), error };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    parse(&text).map_err(|mistake| TermsError::Mistaken {
        variable,
        path: path.to_owned(),
        mistake,
    })
}

/// The terms as they are now.
pub(super) struct CurrentTerms {
    files: TermsFiles,
    now: RwLock<Arc<Terms>>,
}

impl CurrentTerms {
    pub(super) fn load(files: TermsFiles) -> Result<Self, TermsError> {
        let now = RwLock::new(Arc::new(Terms::load(&files)?));
        Ok(Self { files, now })
    }

    /// The terms, for one call from its beginning to its end.
    pub(super) fn get(&self) -> Arc<Terms> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files again. If they cannot be used, the terms stay as they are.
    pub(super) fn reload(&self) -> Result<(), TermsError> {
        let new = Arc::new(Terms::load(&self.files)?);
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}
