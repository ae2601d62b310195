//! The buckets that a worker has just written, so that it need not read them again for the same
//! caller's next request.
//!
//! Others may have written since. So what is kept is good for nothing but to be changed and written
//! over the version that this worker's own write made: if there is another by then, the zone
//! refuses, and the bucket is read as ever.

use std::time::Duration;

use super::{bucket::Bucket, counters::Name};
use crate::{time::UnixTime, zone::Mark};

/// Places; a bucket has one of them.
const PLACES: usize = 64;

/// How long a bucket is kept. On Kong the marks of a cell begin anew when it was evicted; in so short
/// a time they do not come as far again.
const LIFE: Duration = Duration::from_secs(1);

/// How often nothing is kept after something was kept in vain: with many workers, the same caller
/// seldom comes to the same one twice, or the host's marks do not count on by one.
const REST: u8 = 16;

/// What is kept of a bucket: the name of its cell, the mark of the version that was written over,
/// and the bucket as it was written.
pub(super) type Written = (Name, Mark, Bucket);

/// The buckets.
#[derive(Default)]
pub(super) struct Kept {
    places: Vec<Option<Place>>,
    rest: u8,
}

struct Place {
    number: u32,
    since: UnixTime,
    written: Written,
}

impl Kept {
    /// The bucket with this number, with the mark to write it over.
    pub(super) fn take(&mut self, number: u32, now: UnixTime) -> Option<Written> {
        let place = self.place(number)?.take_if(|place| place.number == number)?;
        let fresh = now >= place.since && now.since(place.since) < LIFE;
        fresh.then_some(place.written)
    }

    /// Keeps the bucket with this number, which has just been written over the version `mark`.
    pub(super) fn put(&mut self, number: u32, (name, mark, bucket): Written, now: UnixTime) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        let Some(mark) = mark.next() else { return };
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        if let Some(place) = self.place(number) {
            *place = Some(Place { number, since: now, written: (name, mark, bucket) });
        }
    }

    /// What was taken was not so any more.
    pub(super) fn in_vain(&mut self) {
        self.rest = REST;
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<Place>> {
        let index = usize::try_from(number).ok()? % PLACES;
        self.places.get_mut(index)
    }
}
