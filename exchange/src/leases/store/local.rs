//! Quotas in the memory of a single exchange.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Change, Memory, Ms, Pending, Reading, Store, Written};
use crate::random;

/// Most quotas: with three nodes each, some 60 MB.
const MOST: usize = 100_000;

/// The store of an exchange that is alone. It forgets everything with the exchange.
pub struct Local {
    kept: Mutex<Kept>,
    most: usize,
}

struct Kept {
    memory: Memory,
    cells: HashMap<String, (Vec<u8>, Ms)>,
}

impl Local {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::with_room_for(MOST)
    }

    /// An empty store for so many quotas.
    #[must_use]
    pub fn with_room_for(most: usize) -> Self {
        let memory = Memory { id: random::request_id(), born_at: clock(), lost_at: None };
        Self { kept: Mutex::new(Kept { memory, cells: HashMap::new() }), most }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Whoever panicked with it left whole cells.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_now(&self, changes: &[Change], now: Ms) -> Vec<Written> {
        let mut kept = self.kept();
        if kept.cells.len() + changes.len() > self.most {
            kept.cells.retain(|_, (_, until)| *until > now);
        }
        let write = |change: &Change| {
            let found = kept.cells.get(&change.name).filter(|(_, until)| *until > now);
            if found.map(|(cell, _)| cell) != change.before.as_ref() {
                return Written::Outdated;
            }
            if !kept.cells.contains_key(&change.name) && kept.cells.len() >= self.most {
                return Written::NoRoom;
            }
            let until = now.saturating_add(millis(change.keep_for));
            kept.cells.insert(change.name.clone(), (change.after.clone(), until));
            Written::Made
        };
        changes.iter().map(write).collect()
    }
}

impl Default for Local {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for Local {
    fn read<'a>(&'a self, names: &'a [String]) -> Pending<'a, Reading> {
        let (kept, now) = (self.kept(), clock());
        let cell = |name: &String| {
            let (cell, until) = kept.cells.get(name)?;
            (*until > now).then(|| cell.clone())
        };
        let cells = names.iter().map(cell).collect();
        let reading = Reading { now, memory: kept.memory.clone(), cells };
        Box::pin(async { Ok(reading) })
    }

    fn write<'a>(&'a self, changes: &'a [Change]) -> Pending<'a, Vec<Written>> {
        let written = self.write_now(changes, clock());
        Box::pin(async { Ok(written) })
    }

    fn forgot<'a>(&'a self, memory: &'a Memory, now: Ms) -> Pending<'a, ()> {
        let mut kept = self.kept();
        if kept.memory == *memory {
            kept.memory.lost_at.get_or_insert(now);
        }
        Box::pin(async { Ok(()) })
    }
}

fn clock() -> Ms {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
