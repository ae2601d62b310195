//! What went wrong on PostgreSQL, and whose fault it is.

use std::{error::Error as StdError, io};

use tokio_postgres::{
    Error,
    error::{Severity, SqlState},
};

/// Whether the server has ended the session, or is about to.
pub(super) fn ends_the_session(error: &Error) -> bool {
    let fatal = |severity| matches!(severity, Severity::Fatal | Severity::Panic);
    error.is_closed()
        || error.as_db_error().is_some_and(|said| said.parsed_severity().is_some_and(fatal))
}

/// Whether somebody else had a lock for too long.
pub(super) fn is_a_lock_of_others(error: &Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// What an error says, without the values in its details.
pub(in crate::store) fn told(error: &Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(cause)) => format!("{error}: {cause}"),
        (None, None) => error.to_string(),
    }
}

/// Whether the fault is the server's or the way's to it, not the statement's.
pub(in crate::store) fn is_of_the_storage(error: &Error) -> bool {
    let Some(said) = error.as_db_error() else {
        return error.is_closed() || error.source().is_some_and(<dyn StdError>::is::<io::Error>);
    };
    // Classes of SQLSTATE: connection, transaction undone, resources, not in the state for it
    // (a lock), stopped or taking too long, the system, and what is damaged.
    let class = said.code().code().get(..2).unwrap_or_default();
    matches!(class, "08" | "25" | "40" | "53" | "55" | "57" | "58" | "XX")
}
