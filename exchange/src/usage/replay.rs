//! Settlements read out of a gateway's log, where the gate left a second trace of each. See
//! [`kombi_spec::usage::trace`].

use std::io::{self, BufRead, Read};

use kombi_spec::usage::{
    settle::{MAX_SETTLEMENTS, Outcome, Settlement},
    trace::{MARK, TYP},
};
use serde::Serialize;

use super::{
    ledger::{Ledger, Settings},
    settle::Settling,
    terms::TermsError,
};
use crate::{
    assertion::{self, GateKey},
    store::{Store, StoreError},
    time::UnixTime,
};

/// How much of a line is looked at; nginx cuts at 2 KiB, others write longer ones.
const MAX_LINE_BYTES: u64 = 64 * 1024;

/// The replay ended early. Started again, it goes over what it did without effect.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    #[error("the log cannot be read: {0}")]
    Log(#[from] io::Error),
    #[error("{variable}: expected a file that can be used, found {0}", variable = .0.variable())]
    Terms(#[from] TermsError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a log had in it, and what became of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Replayed {
    pub(crate) lines: u64,
    /// Rows that nobody had settled.
    pub(crate) accepted: u64,
    /// Rows that had worse numbers.
    pub(crate) replaced: u64,
    /// Rows that had these numbers or better ones.
    pub(crate) duplicate: u64,
    /// Signed by the gate, and yet no settlement.
    pub(crate) malformed: u64,
    /// Cut, or not signed by the gate.
    pub(crate) refused: u64,
}

/// Settles in `store` what `log` has signed by one of `keys`.
pub(crate) async fn replay(
    mut log: impl BufRead,
    keys: &[GateKey],
    store: Store,
    settings: Settings,
) -> Result<Replayed, ReplayError> {
    let ledger = Ledger::open(store, settings)?;
    let (mut replayed, mut found, mut line) = (Replayed::default(), Vec::new(), Vec::new());
    loop {
        line.clear();
        let length = log.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line)?;
        for jws in traces(&line) {
            match assertion::signed::<Settlement>(keys, TYP, jws) {
                Ok(settlement) => match Settling::parse(settlement) {
                    Ok(settling) => found.push(settling),
                    Err(_) => replayed.malformed += 1,
                },
                Err(_) => replayed.refused += 1,
            }
        }
        replayed.lines += u64::from(line.ends_with(b"\n") || (length > 0 && at_end(&mut log)?));
        if found.len() >= MAX_SETTLEMENTS || (length == 0 && !found.is_empty()) {
            let settled = ledger.settle(std::mem::take(&mut found), UnixTime::now()).await?;
            settled.into_iter().for_each(|outcome| replayed.count(outcome));
        }
        if length == 0 {
            return Ok(replayed);
        }
    }
}

impl Replayed {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Accepted => self.accepted += 1,
            Outcome::Replaced => self.replaced += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Malformed => self.malformed += 1,
        }
    }
}

fn at_end(log: &mut impl BufRead) -> io::Result<bool> {
    Ok(log.fill_buf()?.is_empty())
}

/// What follows each mark in a line, up to the log's own text.
fn traces(line: &[u8]) -> Vec<&str> {
    let mark = MARK.as_bytes();
    let starts = line.windows(mark.len()).enumerate();
    starts
        .filter(|(_, window)| *window == mark)
        .filter_map(|(start, _)| line.get(start + mark.len()..))
        .map(|rest| {
            let part = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
            let end = rest.iter().position(|byte| !part(byte)).unwrap_or(rest.len());
            rest.get(..end).and_then(|jws| std::str::from_utf8(jws).ok()).unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_ends_where_the_logs_own_text_goes_on() {
        for (line, found) in [
            (
                "2026/11/24 [notice] [wasm] kombi-usage/1 a-.b_.c9 <module>, client: 1",
                vec!["a-.b_.c9"],
            ),
            ("kombi-usage/1 a.b.c", vec!["a.b.c"]),
            ("kombi-usage/1 a.b.c, request: \"GET /kombi-usage/1 x.y.z\"", vec!["a.b.c", "x.y.z"]),
            ("kombi-usage/1 \n", vec![""]),
            ("kombi-usage/2 a.b.c", vec![]),
            ("kombi-usage/1", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(traces(line.as_bytes()), found, "{line}");
        }
        assert_eq!(traces(b"\xff kombi-usage/1 a\xff"), ["a"]);
    }
}
