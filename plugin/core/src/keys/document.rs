//! A key set as the workers hand it to each other: a line that says what it is, then the document
//! as the issuer sent it.

use serde::{Deserialize, Serialize};

use crate::zone::{Mark, Zone};

/// The line before the document.
#[derive(Serialize, Deserialize)]
struct Label {
    /// The name of the cell. Cells can be mistaken for each other, so the name is checked.
    name: String,
    fetched_at: u64,
    fresh_until: u64,
}

/// A key set in the zone.
pub(super) struct Shared {
    pub(super) document: Vec<u8>,
    pub(super) fetched_at: u64,
    pub(super) fresh_until: u64,
}

/// The name of the cell with the key set of `issuer`.
pub(super) fn cell(issuer: &str) -> String {
    format!("kombi_gate:keys:{issuer}")
}

impl Shared {
    /// The key set of `issuer` in the zone, if it is there and is what it says.
    pub(super) fn read(zone: &dyn Zone, issuer: &str) -> Option<Self> {
        let name = cell(issuer);
        let value = zone.read(&name)?.value;
        let end = value.iter().position(|byte| *byte == b'\n')?;
        let (label, document) = value.split_at(end);
        let label: Label = serde_json::from_slice(label).ok().filter(|l: &Label| l.name == name)?;
        let document = document.strip_prefix(b"\n")?.to_vec();
        let Label { fetched_at, fresh_until, .. } = label;
        Some(Self { document, fetched_at, fresh_until })
    }

    /// Puts the key set into the zone, unless somebody else does at this very moment.
    pub(super) fn write(&self, zone: &dyn Zone, issuer: &str) {
        let name = cell(issuer);
        let mark = zone.read(&name).map_or_else(Mark::default, |cell| cell.mark);
        let label = Label {
            name: name.clone(),
            fetched_at: self.fetched_at,
            fresh_until: self.fresh_until,
        };
        let Ok(mut value) = serde_json::to_vec(&label) else { return };
        value.push(b'\n');
        value.extend_from_slice(&self.document);
        // Whoever was faster fetched just now as well; and without a zone to write to, each
        // worker still has what it fetched itself.
        let _ = zone.write(&name, &value, mark);
    }
}
