//! The index of SQLite's write-ahead log (sqlite.org/walformat.html section 2): which pages are in
//! it. It stays behind when a process dies, and says how long the log must be.

use std::io::{self, Read};

use super::wal::{Sum, filled, part};

/// Its header is there twice; then comes how much of the log was moved into the database.
const HEADER: usize = 48;

/// What the index says of its log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index {
    /// What the frames of the log are known by.
    pub(super) salts: [u8; 8],
    /// The last frame of a committed transaction, which is on the disk.
    pub(super) last: u32,
    /// How many frames are in the database, too.
    pub(super) moved: u32,
}

impl Index {
    /// Reads an index, if there is one and it was not being written.
    pub(super) fn read(mut index: impl Read) -> io::Result<Option<Self>> {
        let mut bytes = [0; 2 * HEADER + 4];
        if !filled(&mut index, &mut bytes)? {
            return Ok(None);
        }
        let mut sum = Sum::native();
        sum.add(bytes.get(..40).unwrap_or_default());
        let twice = part::<HEADER>(&bytes, 0) == part::<HEADER>(&bytes, HEADER);
        if !twice || !sum.is_native(part(&bytes, 40)) {
            return Ok(None);
        }
        let word = |at| u32::from_ne_bytes(part(&bytes, at));
        Ok(Some(Self { salts: part(&bytes, 32), last: word(16), moved: word(2 * HEADER) }))
    }
}
