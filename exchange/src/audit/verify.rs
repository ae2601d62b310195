//! Whether the audit is what was written.

use std::ops::ControlFlow;

use super::{Anchor, Audit, NOTHING_BEFORE, Row};
use crate::store::{Connection, Store, StoreError};

/// What became of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is whole, and ends here.
    Whole(Anchor),
    /// It is not.
    Broken {
        /// The number of the first record at fault.
        seq: i64,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It was changed, or is not the one that was written here.
    #[error("it is not what was written")]
    Changed,
    /// It is not there, but later ones are.
    #[error("it is missing")]
    Missing,
    /// It and all after it are gone.
    #[error("it and all after it are missing")]
    Cut,
    /// Nobody with the key wrote that the chain ends before it.
    #[error("the record of where the audit ends is not what was written")]
    EndChanged,
    /// It is another one than the anchor tells of.
    #[error("it is another one than the anchor tells of")]
    NotAnchored,
}

/// Verifies all of the audit in `store`, and that it has `anchor`, if there is one.
pub async fn verify(
    store: &Store,
    audit: &Audit,
    anchor: Option<Anchor>,
) -> Result<Verdict, StoreError> {
    let audit = audit.clone();
    // One look at the database: records are added meanwhile.
    let verify = move |connection: &Connection| {
        connection.snapshot(|connection| audit.verify_in(connection, anchor.as_ref()))
    };
    store.read_long(verify).await
}

impl Audit {
    pub(super) fn verify_in(
        &self,
        connection: &Connection,
        anchor: Option<&Anchor>,
    ) -> Result<Verdict, StoreError> {
        let broken = |seq, problem| Verdict::Broken { seq, problem };
        let select = format!("SELECT {} FROM audit ORDER BY seq", Row::COLUMNS);
        let mut end = Anchor { seq: 0, hash: NOTHING_BEFORE.to_vec() };
        let mut anchored = anchor.is_none_or(|anchor| *anchor == end);
        let at_fault = connection.query_each(&select, &[], |row| {
            let (found, due) = (row.get::<i64>(0)?, end.seq.saturating_add(1));
            if found != due {
                let problem = if found > due { Problem::Missing } else { Problem::Changed };
                return Ok(ControlFlow::Break(broken(due.min(found), problem)));
            }
            let changed = Ok(ControlFlow::Break(broken(due, Problem::Changed)));
            let Ok((row, hash)) = Row::read(row) else { return changed };
            if hash != self.keys.hash(&row, &end.hash) {
                return changed;
            }
            end = Anchor { seq: due, hash };
            anchored |= anchor == Some(&end);
            Ok::<_, StoreError>(ControlFlow::Continue(()))
        })?;
        if let Some(verdict) = at_fault {
            return Ok(verdict);
        }
        let broken = |seq, problem| Ok(broken(seq, problem));
        let after = end.seq.saturating_add(1);
        let Ok(head) = self.head_in(connection) else { return broken(after, Problem::EndChanged) };
        if head.seq > end.seq {
            return broken(after, Problem::Cut);
        }
        if head != end {
            return broken(head.seq.saturating_add(1), Problem::EndChanged);
        }
        match anchor.filter(|_| !anchored) {
            Some(anchor) if anchor.seq > end.seq => broken(after, Problem::Cut),
            Some(anchor) => broken(anchor.seq, Problem::NotAnchored),
            None => Ok(Verdict::Whole(end)),
        }
    }
}
