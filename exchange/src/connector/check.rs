//! Whether an instance can be entered, looked at one thing after the other.

use serde::Serialize;

use super::ConnectorError;

/// What is looked at, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// Whether the instance answers.
    Reachable,
    /// Whether what opens it does.
    Access,
    /// Whether it is new enough.
    Version,
    /// Whether fields, index and rules are there.
    Fields,
}

impl Look {
    const ALL: [Self; 4] = [Self::Reachable, Self::Access, Self::Version, Self::Fields];

    /// The look as JSON has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reachable => "reachable",
            Self::Access => "access",
            Self::Version => "version",
            Self::Fields => "fields",
        }
    }
}

/// What a look found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub look: Look,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<&'static str>,
}

/// What is wrong, and what mends it.
pub(super) struct Wrong {
    pub(super) look: Look,
    pub(super) found: String,
    pub(super) mend: &'static str,
}

impl Wrong {
    pub(super) fn new(look: Look, found: impl Into<String>, mend: &'static str) -> Self {
        Self { look, found: found.into(), mend }
    }

    /// No answer at all.
    pub(super) fn unreachable(error: &ConnectorError) -> Self {
        let mend = match error {
            ConnectorError::AddressRefused(_) => {
                "register it anew with --allow-private at the command line, if it may be at a \
                 private address"
            }
            _ => "see that it runs and answers at the registered URL",
        };
        Self::new(Look::Reachable, error.to_string(), mend)
    }
}

/// Every look up to the first that found something wrong; what comes after that says nothing.
pub(super) fn findings(wrong: Option<Wrong>) -> Vec<Finding> {
    let fine = |look| Finding { look, ok: true, found: None, mend: None };
    let Some(Wrong { look, found, mend }) = wrong else {
        return Look::ALL.map(fine).to_vec();
    };
    let before = Look::ALL.into_iter().take_while(|earlier| *earlier != look);
    let wrong = Finding { look, ok: false, found: Some(found), mend: Some(mend) };
    before.map(fine).chain([wrong]).collect()
}
