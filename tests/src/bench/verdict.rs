//! A figure, and whether that is what was wanted.

use std::fmt;

/// What was found, of what was wanted.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verdict {
    what: String,
    found: f64,
    wanted: Wanted,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

impl Verdict {
    pub(super) fn at_most(what: impl Into<String>, found: f64, most: f64) -> Self {
        Self { what: what.into(), found, wanted: Wanted::AtMost(most) }
    }

    pub(super) fn at_least(what: impl Into<String>, found: f64, least: f64) -> Self {
        Self { what: what.into(), found, wanted: Wanted::AtLeast(least) }
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    pub(super) const fn found(&self) -> f64 {
        self.found
    }

    pub(super) fn is_met(&self) -> bool {
        match self.wanted {
            Wanted::AtMost(most) => self.found <= most,
            Wanted::AtLeast(least) => self.found >= least,
        }
    }

    /// What was wanted, and whether it was found.
    pub(super) fn target(&self) -> String {
        let verdict = if self.is_met() { "met" } else { "missed" };
        match self.wanted {
            Wanted::AtMost(most) => format!("≤ {}: {verdict}", Figure(most)),
            Wanted::AtLeast(least) => format!("≥ {}: {verdict}", Figure(least)),
        }
    }
}

/// As a row of a table.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} |", self.what, Figure(self.found), self.target())
    }
}

/// A number with as many places as say something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figure(pub(super) f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match self.0.abs() {
            small if small < 1.0 => 3,
            middle if middle < 100.0 => 2,
            _ => 0,
        };
        write!(f, "{:.places$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_a_bound_that_may_be_reached() {
        assert!(Verdict::at_most("x", 2.0, 2.0).is_met());
        assert!(!Verdict::at_most("x", 2.1, 2.0).is_met());
        assert!(Verdict::at_least("x", 2.0, 2.0).is_met());
        assert!(!Verdict::at_least("x", f64::NAN, 2.0).is_met());
        assert!(!Verdict::at_most("x", f64::NAN, 2.0).is_met());
    }

    #[test]
    fn a_row_has_no_more_places_than_say_something() {
        let row = Verdict::at_most("ready after, ms", 33.333, 150.0).to_string();
        assert_eq!(row, "| ready after, ms | 33.33 | ≤ 150: met |");
        let row = Verdict::at_least("events", 2999.9, 5000.0).to_string();
        assert_eq!(row, "| events | 3000 | ≥ 5000: missed |");
        assert_eq!(Figure(0.0645).to_string(), "0.065");
    }
}
