//! Roles that stand for other roles.

use std::collections::{BTreeMap, BTreeSet};

/// Which roles each role implies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hierarchy {
    implied_by: BTreeMap<String, BTreeSet<String>>,
}

impl Hierarchy {
    /// The hierarchy in which each role implies those listed with it.
    pub fn new(implies: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let mut implied_by: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (role, implied) in implies {
            for other in implied {
                implied_by.entry(other).or_default().insert(role.clone());
            }
        }
        Self { implied_by }
    }

    /// All roles that are as good as `role`: itself, and whatever implies it, however far up.
    /// Roles that imply each other in a circle are as good as each other.
    #[must_use]
    pub fn as_good_as(&self, role: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![role.to_owned()];
        while let Some(role) = open.pop() {
            if let Some(above) = self.implied_by.get(&role) {
                open.extend(above.iter().filter(|role| !found.contains(*role)).cloned());
            }
            found.insert(role);
        }
        found
    }
}
