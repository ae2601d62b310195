//! The chain: a keyed hash (HMAC-SHA256, RFC 2104) over each record and the hash before it.

use std::{fmt, str::FromStr};

use ring::hmac;

use super::Record;
use crate::{
    store::{self, Connection, StoreError, params},
    time::UnixTime,
};

/// Length of the audit's key, in bytes.
pub(super) const KEY_BYTES: usize = 32;

/// Length of a hash, in bytes.
const HASH_BYTES: usize = 32;

/// What stands before the first record.
pub(super) const NOTHING_BEFORE: [u8; HASH_BYTES] = [0; HASH_BYTES];

/// How many characters of a pseudonym tell people apart.
const PSEUDONYM_BYTES: usize = 16;

/// What is hashed with the audit's key, so that nothing passes for something else.
const RECORD: &[u8] = b"record/1";
const HEAD: &[u8] = b"head/1";
const PERSON: &[u8] = b"person/1";

/// A place in the chain, as it was once: written down elsewhere, it shows later that nothing up
/// to there was changed. Its text is the record's number and the hash in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The record's number; 0 before the first.
    pub seq: i64,
    /// Its hash.
    pub hash: Vec<u8>,
}

/// This is not an anchor.
#[derive(Debug, thiserror::Error)]
#[error("expected NUMBER:HASH as `audit verify` prints it, found something else")]
pub struct NotAnAnchor;

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, hex(&self.hash))
    }
}

impl FromStr for Anchor {
    type Err = NotAnAnchor;

    fn from_str(text: &str) -> Result<Self, NotAnAnchor> {
        let (seq, hash) = text.split_once(':').ok_or(NotAnAnchor)?;
        let seq = seq.parse().ok().filter(|seq| *seq >= 0).ok_or(NotAnAnchor)?;
        let digits = hash.as_bytes().chunks(2);
        let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let hash: Vec<u8> = digits.map(byte).collect::<Option<_>>().ok_or(NotAnAnchor)?;
        if hash.len() == HASH_BYTES { Ok(Self { seq, hash }) } else { Err(NotAnAnchor) }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A record in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) at: i64,
    /// In the order of [`Record::texts`].
    pub(super) texts: [String; 9],
}

impl Row {
    /// What [`Row::read`] reads, with the hash after it.
    pub(super) const COLUMNS: &'static str = "seq, at, actor_kind, actor, action, instance, \
                                              subject, detail, reason, request_id, outcome, hash";

    pub(super) fn new(seq: i64, now: UnixTime, record: &Record) -> Self {
        Self { seq, at: now.as_sql(), texts: record.texts().map(str::to_owned) }
    }

    pub(super) fn insert(&self, connection: &Connection, hash: &[u8]) -> Result<(), StoreError> {
        let [kind, actor, action, instance, subject, detail, reason, request_id, outcome] =
            &self.texts;
        connection.execute(
            "INSERT INTO audit VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12)",
            params![
                self.seq, self.at, kind, actor, action, instance, subject, detail, reason,
                request_id, outcome, hash
            ],
        )?;
        Ok(())
    }

    pub(super) fn read(row: &store::Row<'_>) -> Result<(Self, Vec<u8>), StoreError> {
        let mut texts = [const { String::new() }; 9];
        for (text, column) in texts.iter_mut().zip(2..) {
            *text = row.get(column)?;
        }
        Ok((Self { seq: row.get(0)?, at: row.get(1)?, texts }, row.get(11)?))
    }
}

/// Everything that is done with the audit's key.
pub(super) struct Keys(hmac::Key);

impl Keys {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The hash of `row` after the record with the hash `before`.
    pub(super) fn hash(&self, row: &Row, before: &[u8]) -> Vec<u8> {
        let mut hash = self.about(RECORD);
        hash.update(before);
        hash.update(&row.seq.to_be_bytes());
        hash.update(&row.at.to_be_bytes());
        for text in &row.texts {
            // With its length, or "ab" and "c" would be "a" and "bc".
            hash.update(&text.len().to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.sign().as_ref().to_vec()
    }

    /// The proof that the chain ends with `head`.
    pub(super) fn proof(&self, head: &Anchor) -> Vec<u8> {
        let mut hash = self.about(HEAD);
        hash.update(&head.seq.to_be_bytes());
        hash.update(&head.hash);
        hash.sign().as_ref().to_vec()
    }

    /// Whether `proof` is that of `head`. Whoever can measure this has the database.
    pub(super) fn proves(&self, head: &Anchor, proof: &[u8]) -> bool {
        self.proof(head) == proof
    }

    /// What stands for the person `subject` in exports: the same for the same person, and nothing
    /// that could be found by trying all ids there are.
    pub(super) fn pseudonym(&self, subject: &str) -> String {
        if subject.is_empty() {
            return String::new();
        }
        let mut hash = self.about(PERSON);
        hash.update(subject.as_bytes());
        let tag = hash.sign();
        format!("person-{}", hex(tag.as_ref().get(..PSEUDONYM_BYTES).unwrap_or_default()))
    }

    fn about(&self, what: &[u8]) -> hmac::Context {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(what);
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_read_as_it_is_written_and_nothing_else_is() {
        let anchor = Anchor { seq: 7, hash: vec![0xab; HASH_BYTES] };
        let text = anchor.to_string();
        assert_eq!(text.parse::<Anchor>().unwrap(), anchor);
        for bad in [
            "",
            "7",
            "7:",
            "7:ab",
            "-1:00",
            text.trim_start_matches('7'),
            &format!("{text}00"),
            "7:é",
        ] {
            assert!(bad.parse::<Anchor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pseudonym_is_the_persons_own_and_no_persons_name() {
        let (keys, others) = (Keys::new(&[1; 32]), Keys::new(&[2; 32]));
        assert_eq!(keys.pseudonym("ada"), keys.pseudonym("ada"));
        assert_ne!(keys.pseudonym("ada"), keys.pseudonym("grace"));
        assert_ne!(keys.pseudonym("ada"), others.pseudonym("ada"));
        assert_eq!(keys.pseudonym(""), "");
    }
}
