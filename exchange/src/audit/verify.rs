//! Whether the audit is what was written.

use rusqlite::Connection;

use super::{Anchor, Audit, NOTHING_BEFORE, Row};
use crate::store::{Store, StoreError};

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
    store.read_long(move |connection| audit.verify_in(connection, anchor.as_ref())).await
}

impl Audit {
    pub(super) fn verify_in(
        &self,
        connection: &Connection,
        anchor: Option<&Anchor>,
    ) -> Result<Verdict, StoreError> {
        // One look at the database: records are added meanwhile.
        let snapshot = connection.unchecked_transaction()?;
        let broken = |seq, problem| Ok(Verdict::Broken { seq, problem });
        let select = format!("SELECT {} FROM audit ORDER BY seq", Row::COLUMNS);
        let mut select = snapshot.prepare(&select)?;
        let mut rows = select.query([])?;
        let mut end = Anchor { seq: 0, hash: NOTHING_BEFORE.to_vec() };
        let mut anchored = anchor.is_none_or(|anchor| *anchor == end);
        while let Some(row) = rows.next()? {
            let (found, due) = (row.get::<_, i64>(0)?, end.seq.saturating_add(1));
            if found != due {
                let problem = if found > due { Problem::Missing } else { Problem::Changed };
                return broken(due.min(found), problem);
            }
            let Ok((row, hash)) = Row::read(row) else { return broken(due, Problem::Changed) };
            if hash != self.keys.hash(&row, &end.hash) {
                return broken(due, Problem::Changed);
            }
            end = Anchor { seq: due, hash };
            anchored |= anchor == Some(&end);
        }
        let after = end.seq.saturating_add(1);
        let Ok(head) = self.head_in(&snapshot) else { return broken(after, Problem::EndChanged) };
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
