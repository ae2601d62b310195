//! Admission: how many requests are under way at once, and whether any is answered at all. Beyond
//! that a request is refused before anything about it is looked at, so that those who are in are
//! answered in time however many come.

use std::sync::OnceLock;

use kombi_spec::code::Code;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::refusal::Refusal;

/// Lets requests in.
pub struct Admission {
    room: Semaphore,
    closed: OnceLock<String>,
}

impl Admission {
    /// Lets in so many requests at once, over so many connections. Not every connection has a place,
    /// so that there are always some on which to say so.
    #[must_use]
    pub fn new(requests: usize, connections: u32) -> Self {
        let room = requests.min((connections as usize * 3).div_ceil(4));
        Self { room: Semaphore::new(room), closed: OnceLock::new() }
    }

    /// Lets a request in, for as long as the permit lives.
    pub fn admit(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        if let Some(why) = self.closed.get() {
            let detail = "nothing is stored any more";
            return Err(Refusal::new(Code::StorageUnavailable, detail).because(why));
        }
        self.room.try_acquire().map_err(|_| {
            Refusal::new(Code::Overloaded, "more requests are under way than the exchange takes")
        })
    }

    /// Lets nobody in any more, because of `why`.
    pub fn close(&self, why: String) {
        let _ = self.closed.set(why);
    }

    /// Why nobody is let in any more, if that is so.
    pub fn closed(&self) -> Option<&str> {
        self.closed.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_is_refused_until_somebody_leaves() {
        let admission = Admission::new(8, 4);
        let mut within: Vec<_> = (0..3).map(|_| admission.admit().unwrap()).collect();
        assert_eq!(admission.admit().unwrap_err().code, Code::Overloaded);
        within.pop();
        assert!(admission.admit().is_ok());
    }

    #[test]
    fn once_it_is_closed_nobody_is_let_in() {
        let admission = Admission::new(8, 4);
        assert_eq!(admission.closed(), None);
        admission.close("the disk burns".to_owned());
        let refusal = admission.admit().unwrap_err();
        assert_eq!(refusal.code, Code::StorageUnavailable);
        assert_eq!(refusal.cause.as_deref(), Some("the disk burns"));
    }
}
