//! What the workers agree on about one issuer: who fetches its keys, and when again.

use serde::{Deserialize, Serialize};

use crate::{
    time::UnixTime,
    zone::{Cell, Mark, NotWritten, Zone},
};

/// A moment in a plan, in milliseconds since 1970.
type Ms = u64;

/// How far in the future a moment of a plan can lie at most. What lies further was written by
/// another clock, or by nobody.
const HORIZON_MS: Ms = 7 * 24 * 60 * 60 * 1000;

/// The plan for one issuer. Every moment in it is one until which something holds; zero never did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Plan {
    /// The name of the cell. Cells can be mistaken for each other, so the name is checked.
    name: String,
    /// Somebody fetches.
    pub(super) busy_until: Ms,
    /// Who fetched is gone, and wanted the key with this id; the next tick takes the fetch over.
    #[serde(default)]
    pub(super) orphaned: Option<String>,
    /// No request may cause a fetch.
    pub(super) quiet_until: Ms,
    /// The last fetch came to nothing, so nobody knows which keys the issuer has by now.
    #[serde(default)]
    pub(super) unanswered: bool,
    /// No fetch in the background is needed.
    pub(super) rest_until: Ms,
    /// When the current keys were fetched; it names them, for no two sets have the same.
    pub(super) fetched_at: Ms,
}

/// The name of the cell with the plan for `issuer`.
pub(super) fn cell(issuer: &str) -> String {
    format!("kombi_gate:keys-plan:{issuer}")
}

impl Plan {
    /// The plan that the zone holds for `issuer`, and the mark to change it by.
    pub(super) fn read(zone: &dyn Zone, issuer: &str, now: UnixTime) -> (Option<Self>, Mark) {
        let name = cell(issuer);
        let Some(Cell { value, mark }) = zone.read(&name) else {
            return (None, Mark::default());
        };
        let plan = serde_json::from_slice::<Self>(&value).ok();
        (plan.filter(|plan| plan.name == name && plan.is_plausible(now)), mark)
    }

    /// Writes the plan into the zone.
    pub(super) fn write(
        &mut self,
        zone: &dyn Zone,
        issuer: &str,
        mark: Mark,
    ) -> Result<(), NotWritten> {
        self.name = cell(issuer);
        let value = serde_json::to_vec(self).map_err(|_| NotWritten)?;
        zone.write(&self.name, &value, mark)
    }

    /// Whether clocks that go right can have written this.
    pub(super) fn is_plausible(&self, now: UnixTime) -> bool {
        let latest = now.as_millis().saturating_add(HORIZON_MS);
        let soon = now.as_millis().saturating_add(super::LONGEST_PAUSE_MS);
        self.busy_until <= soon
            && self.quiet_until <= soon
            && self.rest_until <= latest
            && self.fetched_at <= soon
    }
}
