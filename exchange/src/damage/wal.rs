//! SQLite's write-ahead log, as far as it tells whether it is whole (sqlite.org/fileformat2.html
//! section 4). It is a header and then frames, each of them a page. The checksum of a frame covers
//! everything before it, so from the first wrong one on SQLite reads nothing.

use std::io::{self, Read};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// A log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Log {
    /// What its frames are known by.
    pub(super) salts: [u8; 8],
    /// How many frames can be read.
    pub(super) whole: u32,
    /// How many transactions were committed after those.
    pub(super) committed_after: u32,
}

impl Log {
    /// Reads a log, if there is one.
    pub(super) fn read(mut log: impl Read) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER];
        if !filled(&mut log, &mut header)? {
            return Ok(None);
        }
        let word = |at| u32::from_be_bytes(part(&header, at));
        let (magic, page) = (word(0), word(8));
        let mut sum = Sum::of(magic);
        sum.add(header.get(..24).unwrap_or_default());
        let mut whole = magic & !1 == 0x377f_0682 && sum.is(part(&header, 24));
        let mut salts = whole.then_some(part(&header, 16));
        let page =
            if page.is_power_of_two() && (512..=65536).contains(&page) { page } else { 4096 };
        let mut frame = vec![0; FRAME_HEADER + page as usize];
        let (mut frames, mut committed_after) = (0, 0);
        while filled(&mut log, &mut frame)? {
            // Pages of an earlier log, which are in the database, may follow those of this one.
            let of_this_log = *salts.get_or_insert(part(&frame, 8)) == part(&frame, 8);
            if whole {
                sum.add(frame.get(..8).unwrap_or_default());
                sum.add(frame.get(FRAME_HEADER..).unwrap_or_default());
                whole = of_this_log && sum.is(part(&frame, 16));
            }
            if whole {
                frames += 1;
            } else if of_this_log && part::<4>(&frame, 4) != [0; 4] {
                committed_after += 1;
            }
        }
        Ok(salts.map(|salts| Self { salts, whole: frames, committed_after }))
    }
}

/// Whether all of `buffer` could be read.
pub(super) fn filled(log: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match log.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The running checksum.
pub(super) struct Sum {
    word: fn([u8; 4]) -> u32,
    sum: [u32; 2],
}

impl Sum {
    /// Of a log with this magic number, which says how words are read.
    fn of(magic: u32) -> Self {
        let word = if magic & 1 == 1 { u32::from_be_bytes } else { u32::from_le_bytes };
        Self { word, sum: [0; 2] }
    }

    /// As this machine reads words.
    pub(super) fn native() -> Self {
        Self { word: u32::from_ne_bytes, sum: [0; 2] }
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let [mut one, mut two] = self.sum;
        for pair in bytes.chunks_exact(8) {
            one = one.wrapping_add((self.word)(part(pair, 0))).wrapping_add(two);
            two = two.wrapping_add((self.word)(part(pair, 4))).wrapping_add(one);
        }
        self.sum = [one, two];
    }

    /// Whether it is this one, as the log has it.
    fn is(&self, written: [u8; 8]) -> bool {
        self.sum.map(u32::to_be_bytes).concat() == written
    }

    /// Whether it is this one, as this machine writes words.
    pub(super) fn is_native(&self, written: [u8; 8]) -> bool {
        self.sum.map(u32::to_ne_bytes).concat() == written
    }
}

/// The bytes from `at` on; zeros where there are none.
pub(super) fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}
