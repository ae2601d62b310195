//! Reports: sums over calls, told apart as somebody asks. See [`kombi_spec::usage::report`].

pub(crate) mod csv;
pub(super) mod page;

use kombi_spec::{
    code::Code,
    usage::report::{Dimension, MAX_DAYS, MAX_ROWS, Report, Sums},
};
use time::Date;

use super::period::{Window, day, midnight};
use crate::{
    refusal::Refusal,
    store::{Connection, Row, StoreError, Value},
    time::UnixTime,
};

/// Which calls, and what of them is told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    from: Date,
    to: Date,
    only: Vec<(Dimension, String)>,
    by: Vec<Dimension>,
}

/// What cannot be asked: the parameter, and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: expected {expected}")]
pub struct Unclear {
    /// The parameter at fault.
    pub parameter: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

/// The columns that are summed up over settled calls, in the order of [`Sums`].
const SUMMED: [&str; 7] = [
    "requests",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_tokens",
    "cost_nano",
];

/// How long a day is, in seconds.
const DAY_S: i64 = 86_400;

/// The number of a call's day since 1970.
const DAY: &str = "reserved_at / 86400";

/// What a parameter that chooses calls must be.
const ONCE: &str = "one value";

impl Question {
    /// This month, by day and model.
    #[must_use]
    pub fn new(now: UnixTime) -> Self {
        let month = Window::of(kombi_spec::usage::reserve::Period::Month, now);
        Self {
            from: day(month.starts_at),
            to: day(month.ends_at),
            only: Vec::new(),
            by: vec![Dimension::Day, Dimension::Model],
        }
    }

    /// Reads the pairs of a query. What is not in it stays as it is.
    pub fn with<'a>(
        mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Unclear> {
        let mut seen = Vec::new();
        for (name, value) in pairs {
            let parameter = parameter(name)?;
            if seen.contains(&parameter) {
                return Err(Unclear { parameter, expected: ONCE });
            }
            seen.push(parameter);
            match parameter {
                "from" => self.from = a_day("from", value)?,
                "to" => self.to = a_day("to", value)?,
                "by" => self.by = dimensions(value)?,
                // A field of a form that was left empty.
                _ if value.is_empty() => {}
                _ => {
                    let dimension = Dimension::ALL.into_iter().find(|d| d.as_str() == parameter);
                    self.only.extend(dimension.map(|dimension| (dimension, value.to_owned())));
                }
            }
        }
        let days = (self.to - self.from).whole_days();
        if days <= 0 || days.unsigned_abs() > MAX_DAYS {
            let expected = "a day after `from`, and at most 400 days after it";
            return Err(Unclear { parameter: "to", expected });
        }
        Ok(self)
    }

    /// The same question about one person.
    #[must_use]
    pub fn of(mut self, subject: &str) -> Self {
        self.only.retain(|(dimension, _)| *dimension != Dimension::Subject);
        self.only.push((Dimension::Subject, subject.to_owned()));
        self
    }

    /// The same question, with these told apart.
    #[must_use]
    pub fn by(&self, dimension: Dimension) -> Self {
        Self { by: vec![dimension], ..self.clone() }
    }

    /// The days that it is about, and what it tells apart.
    #[must_use]
    pub fn about(&self) -> String {
        let by: Vec<_> = self.by.iter().map(|dimension| dimension.as_str()).collect();
        format!("{} to {} by {}", self.from, self.to, by.join(","))
    }

    /// The person that it is about, if it is about one.
    #[must_use]
    pub fn person(&self) -> Option<&str> {
        let one = self.only.iter().find(|(dimension, _)| *dimension == Dimension::Subject);
        one.map(|(_, subject)| &**subject)
    }

    /// The answer to it; `None` if it would be longer than anybody gets at once.
    pub fn answer(&self, connection: &Connection) -> Result<Option<Report>, StoreError> {
        let apart: Vec<&str> = self.by.iter().map(|dimension| column(*dimension)).collect();
        let apart: String = apart.iter().flat_map(|column| [*column, ", "]).collect();
        let only: String = self
            .only
            .iter()
            .zip(3..)
            .map(|((dimension, _), number)| format!(" AND {} = ?{number}", column(*dimension)))
            .collect();
        let sums: String = SUMMED
            .iter()
            .map(|column| {
                format!(
                    "CAST(coalesce(sum({column}) FILTER (WHERE state = 'settled'), 0) AS BIGINT), "
                )
            })
            .collect();
        let sql = format!(
            "SELECT {apart} currency,
                    count(*) FILTER (WHERE state = 'settled'), {sums}
                    count(*) FILTER (WHERE state = 'settled' AND usage_source <> 'provider'),
                    count(*) FILTER (WHERE state = 'open')
             FROM usage_metrics WHERE reserved_at >= ?1 AND reserved_at < ?2{only}
             GROUP BY {apart} currency ORDER BY {apart} currency LIMIT {}",
            MAX_ROWS + 1
        );
        let bounds = [self.from, self.to].map(|day| Value::Integer(midnight(day).as_sql()));
        let only = self.only.iter().map(|(_, value)| Value::Text(value));
        let values: Vec<_> = bounds.into_iter().chain(only).collect();
        let rows = connection.query_all(&sql, &values, |row| self.sums(row))?;
        if rows.len() > MAX_ROWS {
            return Ok(None);
        }
        let (from, to) = (self.from.to_string(), self.to.to_string());
        Ok(Some(Report { from, to, by: self.by.clone(), rows }))
    }

    fn sums(&self, row: &Row<'_>) -> Result<Sums, StoreError> {
        let mut sums = Sums::default();
        for (index, dimension) in self.by.iter().enumerate() {
            let told = match dimension {
                Dimension::Day => {
                    let midnight = row.get::<i64>(index)?.saturating_mul(DAY_S);
                    day(UnixTime::from_sql(midnight)).to_string()
                }
                _ => row.get(index)?,
            };
            *sums_of(&mut sums, *dimension) = Some(told);
        }
        let next = self.by.len();
        sums.currency = row.get(next)?;
        sums.calls = row.get(next + 1)?;
        sums.requests = row.get(next + 2)?;
        sums.input_tokens = row.get(next + 3)?;
        sums.cached_tokens = row.get(next + 4)?;
        sums.output_tokens = row.get(next + 5)?;
        sums.reasoning_tokens = row.get(next + 6)?;
        sums.audio_tokens = row.get(next + 7)?;
        sums.cost_nano = row.get(next + 8)?;
        sums.estimated = row.get(next + 9)?;
        sums.open = row.get(next + 10)?;
        Ok(sums)
    }
}

impl From<Unclear> for Refusal {
    fn from(unclear: Unclear) -> Self {
        Self::new(Code::QueryMalformed, unclear.to_string())
    }
}

fn parameter(name: &str) -> Result<&'static str, Unclear> {
    const KNOWN: [&str; 8] = ["from", "to", "by", "subject", "org", "plan", "provider", "model"];
    let expected = "from, to, by, subject, org, plan, provider or model";
    KNOWN.into_iter().find(|known| *known == name).ok_or(Unclear { parameter: "query", expected })
}

fn dimensions(list: &str) -> Result<Vec<Dimension>, Unclear> {
    let expected = "day, subject, org, plan, provider and model, each once, with commas";
    let unclear = Unclear { parameter: "by", expected };
    let mut by = Vec::new();
    for name in list.split(',') {
        let dimension = Dimension::ALL.into_iter().find(|known| known.as_str() == name);
        let dimension = dimension.filter(|dimension| !by.contains(dimension)).ok_or(unclear)?;
        by.push(dimension);
    }
    Ok(by)
}

fn a_day(parameter: &'static str, text: &str) -> Result<Date, Unclear> {
    super::file::day(text).ok_or(Unclear { parameter, expected: "a day like 2026-11-24" })
}

const fn column(dimension: Dimension) -> &'static str {
    match dimension {
        // By number: databases differ in how they write a day.
        Dimension::Day => DAY,
        Dimension::Subject => "subject",
        Dimension::Org => "org",
        Dimension::Plan => "plan",
        Dimension::Provider => "provider",
        Dimension::Model => "model",
    }
}

/// Where a row keeps what it has of `dimension`.
const fn sums_of(sums: &mut Sums, dimension: Dimension) -> &mut Option<String> {
    match dimension {
        Dimension::Day => &mut sums.day,
        Dimension::Subject => &mut sums.subject,
        Dimension::Org => &mut sums.org,
        Dimension::Plan => &mut sums.plan,
        Dimension::Provider => &mut sums.provider,
        Dimension::Model => &mut sums.model,
    }
}

/// What a row has of `dimension`.
fn told(sums: &Sums, dimension: Dimension) -> &str {
    let told = match dimension {
        Dimension::Day => &sums.day,
        Dimension::Subject => &sums.subject,
        Dimension::Org => &sums.org,
        Dimension::Plan => &sums.plan,
        Dimension::Provider => &sums.provider,
        Dimension::Model => &sums.model,
    };
    told.as_deref().unwrap_or_default()
}
