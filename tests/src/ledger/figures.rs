//! The ledger, compared with what was served.

use std::{collections::BTreeMap, fmt::Write as _};

use kombi_spec::usage::report::Sums;
use serde_json::{Value, json};

use super::{
    KILLED_WORKER, Kind, RELOADED,
    load::Seen,
    provider::{Book, Served},
};
use crate::statistics::quantile;

/// Largest median error of estimates, as a part of what the provider served.
const LARGEST_ERROR: f64 = 0.10;

/// How many of the calls that speak against the ledger are shown.
const SUSPECTS: usize = 10;

/// What was compared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Calls that clients made.
    pub calls: usize,
    /// Of these, those that reached the provider.
    pub served: usize,
    /// Rows of those.
    pub rows: usize,
    /// Rows with the provider's numbers, which are right.
    pub exact: usize,
    /// Calls of which the provider's numbers were lost with a worker; the reaper closed them.
    pub lost: usize,
    /// Calls that had left when their worker died, and reached no provider; nobody else can know,
    /// so the reaper closed them.
    pub adrift: usize,
    /// Calls that the ledger has out of the gateway's log.
    pub replayed: u64,
    /// Estimated calls.
    pub estimated: usize,
    /// The median of the estimates' errors, as a part of what was served.
    pub median_error: f64,
    /// Rows with tokens of calls that never reached the provider.
    pub invented: usize,
    /// Calls without a row.
    pub missing: usize,
    /// Rows, or requests to the provider, that are too many.
    pub twice: usize,
    /// Rows with numbers that are not the provider's, although it told them.
    pub wrong: usize,
    /// Rows that are still open.
    pub open: usize,
    /// Calls that the gateway refused because the exchange was away, or that broke.
    pub refused_or_broken: usize,
    /// What is known of the calls that speak against the ledger; of the first ones.
    pub suspects: Vec<String>,
    /// What died or was reloaded meanwhile.
    pub faults: Vec<&'static str>,
}

impl Figures {
    /// Compares the ledger's rows with what the provider served and what clients saw.
    #[must_use]
    pub fn compare(seen: &[Seen], book: &Book, rows: &BTreeMap<usize, Sums>) -> Self {
        let mut figures = Self { calls: seen.len(), ..Self::default() };
        let mut errors = Vec::new();
        for (number, seen) in seen.iter().enumerate() {
            let served = book.get(&number).copied().unwrap_or_default();
            let bad = figures.bad();
            figures.add(number, *seen, served, rows.get(&number), &mut errors);
            if figures.bad() != bad && figures.suspects.len() < SUSPECTS {
                let row = rows.get(&number);
                figures.suspects.push(format!("{number}: {seen:?}, {served:?}, {row:?}"));
            }
        }
        figures.estimated = errors.len();
        figures.median_error = quantile(errors, 50).unwrap_or_default();
        figures
    }

    fn add(
        &mut self,
        number: usize,
        seen: Seen,
        served: Served,
        row: Option<&Sums>,
        errors: &mut Vec<f64>,
    ) {
        // 502: the gateway's own second pass broke.
        let broken = matches!(seen, Seen::Broken | Seen::Error(502));
        let refused = matches!(seen, Seen::Error(_)) && Kind::of(number) != Kind::Fails;
        self.refused_or_broken += usize::from(broken || refused);
        self.served += usize::from(served.requests > 0);
        self.twice += usize::from(served.requests > 1);
        let Some(row) = row else {
            self.missing += usize::from(served.requests > 0);
            return;
        };
        self.twice += usize::from(row.calls + row.open > 1);
        let tokens = (row.input_tokens, row.output_tokens);
        if served.requests == 0 {
            let counts = tokens != (0, 0) || row.open > 0;
            let adrift = counts && broken && row.estimated > 0;
            self.adrift += usize::from(adrift);
            self.invented += usize::from(counts && !adrift);
            return;
        }
        self.rows += 1;
        let right = (served.input as i64, served.output as i64);
        if row.open > 0 {
            self.open += 1;
        } else if row.estimated == 0 {
            let exact = served.told && tokens == right;
            self.exact += usize::from(exact);
            self.wrong += usize::from(!exact);
        } else if broken {
            self.lost += 1;
        } else if served.told {
            self.wrong += 1;
        } else {
            let (estimate, real) = ((tokens.0 + tokens.1) as f64, (right.0 + right.1) as f64);
            errors.push((estimate - real).abs() / real.max(1.0));
        }
    }

    /// Whether the ledger is right.
    #[must_use]
    pub fn held(&self) -> bool {
        let died = self.faults.contains(&KILLED_WORKER);
        let reloaded = self.faults.contains(&RELOADED);
        self.served > 0
            && self.rows == self.served
            && self.bad() == [0; 5]
            && (self.lost + self.adrift == 0 || died)
            && (self.replayed == 0 || died || reloaded)
            && self.median_error <= LARGEST_ERROR
    }

    /// What must not be.
    const fn bad(&self) -> [usize; 5] {
        [self.invented, self.missing, self.twice, self.wrong, self.open]
    }

    /// As `--json` prints them.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "held": self.held(), "calls": self.calls, "served": self.served, "rows": self.rows,
            "exact": self.exact, "estimated": self.estimated, "median_error": self.median_error,
            "lost": self.lost, "adrift": self.adrift, "replayed": self.replayed,
            "invented": self.invented, "missing": self.missing,
            "twice": self.twice, "wrong": self.wrong, "open": self.open,
            "refused_or_broken": self.refused_or_broken, "faults": self.faults,
            "suspects": self.suspects,
        })
    }

    /// For a person to read.
    pub(super) fn table(&self) -> String {
        let mut table = format!("meanwhile: {}\n\n", self.faults.join(", "));
        for (count, what) in [
            (self.calls, "calls were made"),
            (self.refused_or_broken, "of these were refused without the exchange, or broke"),
            (self.served, "reached the provider"),
            (self.rows, "have a row"),
            (self.exact, "have the provider's numbers"),
            (self.estimated, "are estimated: the client left"),
            (self.lost, "were lost with a worker, and closed by the reaper"),
            (self.adrift, "had left when their worker died, and never arrived: the same"),
            (self.missing, "have no row"),
            (self.twice, "are there twice"),
            (self.wrong, "have wrong numbers"),
            (self.invented, "rows are of calls that never arrived"),
            (self.open, "rows are still open"),
        ] {
            // Writing to a String cannot fail.
            let _ = writeln!(table, "{count:>8}  {what}");
        }
        let _ = writeln!(table, "{:>8}  are there by usage replay", self.replayed);
        let _ = writeln!(
            table,
            "{:>7.1}%  is the median error of estimates",
            self.median_error * 100.0
        );
        for suspect in &self.suspects {
            let _ = writeln!(table, "    call {suspect}");
        }
        let verdict = if self.held() { "the ledger is right" } else { "THE LEDGER IS WRONG" };
        let _ = writeln!(table, "\n{verdict}");
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(input: i64, output: i64, estimated: i64) -> Sums {
        Sums { calls: 1, input_tokens: input, output_tokens: output, estimated, ..Sums::default() }
    }

    fn served(input: u64, output: u64, told: bool) -> Served {
        Served { requests: 1, input, output, told }
    }

    /// One stream of which these things are known.
    fn one(seen: Seen, served: Option<Served>, row: Option<Sums>) -> Figures {
        let mut calls = [Seen::Error(503); 3];
        calls[2] = seen;
        let book = served.into_iter().map(|served| (2, served)).collect();
        let rows = row.into_iter().map(|row| (2, row)).collect();
        Figures::compare(&calls, &book, &rows)
    }

    #[test]
    fn a_ledger_is_right_if_every_served_call_has_one_row_with_the_right_numbers() {
        let told = Some(served(9, 5, true));
        let cut = Some(served(90, 10, false));
        for (what, figures, held) in [
            ("exact", one(Seen::Whole, told, Some(row(9, 5, 0))), true),
            ("wrong", one(Seen::Whole, told, Some(row(9, 6, 0))), false),
            ("estimated though told", one(Seen::Whole, told, Some(row(9, 5, 1))), false),
            ("no row", one(Seen::Whole, told, None), false),
            ("twice", one(Seen::Whole, told, Some(Sums { calls: 2, ..row(9, 5, 0) })), false),
            (
                "open",
                one(Seen::Whole, told, Some(Sums { calls: 0, open: 1, ..row(0, 0, 0) })),
                false,
            ),
            ("well estimated", one(Seen::Left, cut, Some(row(95, 14, 1))), true),
            ("badly estimated", one(Seen::Left, cut, Some(row(95, 16, 1))), false),
            ("lost, and nothing died", one(Seen::Broken, told, Some(row(99, 9, 1))), false),
            ("served nothing", one(Seen::Error(503), None, None), false),
            ("invented", one(Seen::Error(503), None, Some(row(1, 1, 0))), false),
        ] {
            assert_eq!(figures.held(), held, "{what}: {figures:?}");
        }
        let lost = one(Seen::Broken, told, Some(row(99, 9, 1)));
        assert!(Figures { faults: vec![KILLED_WORKER], ..lost }.held());
        let adrift = one(Seen::Broken, None, Some(row(9, 5, 1)));
        assert_eq!((adrift.adrift, adrift.invented, adrift.held()), (1, 0, false));
        let half_way = one(Seen::Error(502), None, Some(row(9, 5, 1)));
        assert_eq!((half_way.adrift, half_way.invented), (1, 0));
        let replayed = Figures { replayed: 1, ..one(Seen::Whole, told, Some(row(9, 5, 0))) };
        assert!(!replayed.held(), "nothing died, so the gateway should have told it");
        assert!(Figures { faults: vec![RELOADED], ..replayed }.held());
    }
}
