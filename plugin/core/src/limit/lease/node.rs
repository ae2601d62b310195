//! What a node is called, and since when the exchange has not answered it, in the zone.

use serde::{Deserialize, Serialize};

use super::{ATTEMPTS, Terms, millis};
use crate::{time::UnixTime, zone::Zone};

/// The name of the cell.
const CELL: &str = "kombi_gate:lease-node";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Node {
    /// Always [`CELL`].
    name: String,
    /// What the exchange knows the node by.
    pub(super) id: String,
    /// The memory that the exchange's store had last.
    pub(super) memory: Option<String>,
    /// When the first report was made that has not been answered, nor any since.
    silent_since: Option<u64>,
}

impl Node {
    pub(super) fn read(zone: &dyn Zone) -> Option<Self> {
        let cell = zone.read(CELL)?;
        serde_json::from_slice(&cell.value).ok().filter(|node: &Self| node.name == CELL)
    }

    /// The node makes a report now. `None` if the zone does not take its cell.
    pub(super) fn asks(zone: &dyn Zone, seed: &str, now: UnixTime) -> Option<Self> {
        Self::change(zone, |node| {
            let mut node = node.unwrap_or_else(|| Self {
                name: CELL.to_owned(),
                id: super::fingerprint(seed.as_bytes()),
                memory: None,
                silent_since: None,
            });
            node.silent_since.get_or_insert(now.as_millis());
            Some(node)
        })
    }

    /// The exchange answered.
    pub(super) fn heard(zone: &dyn Zone, memory: &str) {
        Self::change(zone, |node| {
            let node = node?;
            Some(Self { memory: Some(memory.to_owned()), silent_since: None, ..node })
        });
    }

    /// Whether the exchange has been silent for longer than `terms` allow.
    pub(super) fn is_silent(&self, terms: &Terms, now: UnixTime) -> bool {
        self.silent_since
            .is_some_and(|since| now.as_millis() >= since.saturating_add(millis(terms.grace)))
    }

    fn change(zone: &dyn Zone, change: impl Fn(Option<Self>) -> Option<Self>) -> Option<Self> {
        for _ in 0..ATTEMPTS {
            let mark = zone.read(CELL).map(|cell| cell.mark).unwrap_or_default();
            let node = change(Self::read(zone))?;
            if zone.write(CELL, &serde_json::to_vec(&node).ok()?, mark).is_ok() {
                return Some(node);
            }
        }
        None
    }
}
