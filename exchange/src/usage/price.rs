//! What models cost, and since when: the file that `KOMBI_EXCHANGE_PRICES` names. How it is written
//! is shown in `spec/examples/usage/prices.toml`.

use std::{collections::HashSet, fmt};

use serde::Deserialize;

use super::{file::Mistake, period::midnight, tokens::Tokens};
use crate::time::UnixTime;

/// The most that a million tokens can cost: ten thousand of the currency's units. With it, no sum
/// that SQLite makes of costs overflows.
const MAX_NANO: u64 = 10_000_000_000_000;

/// How many tokens a price is for.
const PER_TOKENS: u64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    currency: String,
    #[serde(default)]
    price: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    provider: String,
    model: String,
    from: toml::value::Date,
    input: u64,
    cached_input: Option<u64>,
    output: u64,
    reasoning: Option<u64>,
}

/// What a million tokens of one model cost, in billionths of the currency's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Price {
    input: u64,
    cached_input: u64,
    output: u64,
    reasoning: u64,
}

/// The prices of all models, at all times. The default has none.
#[derive(Debug, Default)]
pub(super) struct Prices {
    currency: String,
    /// More specific names first; of those for one name, later ones first.
    tariffs: Vec<Tariff>,
}

#[derive(Debug)]
struct Tariff {
    provider: String,
    model: Model,
    from: UnixTime,
    price: Price,
}

/// Which models a price is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Model {
    Named(String),
    Beginning(String),
}

impl Model {
    fn parse(text: &str) -> Self {
        text.strip_suffix('*')
            .map_or_else(|| Self::Named(text.to_owned()), |begin| Self::Beginning(begin.to_owned()))
    }

    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Named(model) => model == name,
            Self::Beginning(begin) => name.starts_with(begin),
        }
    }

    /// A name is more specific than any beginning, a long beginning than a short one.
    fn specificity(&self) -> usize {
        match self {
            Self::Named(_) => usize::MAX,
            Self::Beginning(begin) => begin.len(),
        }
    }
}

/// As the file has it.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Beginning(begin) => write!(f, "{begin}*"),
        }
    }
}

impl Price {
    /// What `tokens` cost, rounded up to a whole billionth.
    pub(super) fn of(&self, tokens: Tokens) -> i64 {
        let part = |tokens: u32, price: u64| u128::from(tokens) * u128::from(price);
        let sum = part(tokens.input.saturating_sub(tokens.cached), self.input)
            + part(tokens.cached, self.cached_input)
            + part(tokens.output.saturating_sub(tokens.reasoning), self.output)
            + part(tokens.reasoning, self.reasoning);
        i64::try_from(sum.div_ceil(u128::from(PER_TOKENS))).unwrap_or(i64::MAX)
    }

    /// The most that `tokens` can cost, however much of them is cached or reasoning.
    pub(super) fn at_most(&self, tokens: Tokens) -> i64 {
        let dearest = Self {
            input: self.input.max(self.cached_input),
            cached_input: self.input.max(self.cached_input),
            output: self.output.max(self.reasoning),
            reasoning: self.output.max(self.reasoning),
        };
        dearest.of(tokens)
    }
}

impl Prices {
    /// Reads the file's text.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let File { currency, price } = super::file::parse(text)?;
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            let found = format!("{currency:?}");
            return Err(Mistake::new("currency", "three capital letters (ISO 4217)", found));
        }
        let mut tariffs = Vec::with_capacity(price.len());
        let mut seen = HashSet::new();
        for (index, entry) in price.into_iter().enumerate() {
            let place = format!("price {}", index + 1);
            let tariff = Tariff::parse(entry).map_err(|mistake| mistake.within(&place))?;
            let Tariff { provider, model, from, .. } = &tariff;
            if !seen.insert((provider.clone(), model.clone(), from.as_sql())) {
                let found = format!("a second one for {model}");
                let expected = "one price for a model and a day";
                return Err(Mistake::new("from", expected, found).within(&place));
            }
            tariffs.push(tariff);
        }
        tariffs.sort_by_key(|tariff| {
            std::cmp::Reverse((tariff.model.specificity(), tariff.from.as_sql()))
        });
        Ok(Self { currency, tariffs })
    }

    /// The currency's name; empty if there are no prices.
    pub(super) fn currency(&self) -> &str {
        &self.currency
    }

    /// What `model` costs at `provider` at the time `at`.
    pub(super) fn price(&self, provider: &str, model: &str, at: UnixTime) -> Option<Price> {
        self.tariffs
            .iter()
            .find(|tariff| {
                tariff.from <= at && tariff.provider == provider && tariff.model.fits(model)
            })
            .map(|tariff| tariff.price)
    }
}

impl Tariff {
    fn parse(entry: Entry) -> Result<Self, Mistake> {
        let Entry { provider, model, from, input, cached_input, output, reasoning } = entry;
        for (field, text) in [("provider", &provider), ("model", &model)] {
            if text.is_empty() {
                return Err(Mistake::new(field, "a name", "nothing".to_owned()));
            }
        }
        let price = Price {
            input,
            cached_input: cached_input.unwrap_or(input),
            output,
            reasoning: reasoning.unwrap_or(output),
        };
        for (field, nano) in [
            ("input", price.input),
            ("cached_input", price.cached_input),
            ("output", price.output),
            ("reasoning", price.reasoning),
        ] {
            if nano > MAX_NANO {
                let expected = "at most 10000 of the currency's units for a million tokens";
                return Err(Mistake::new(field, expected, format!("{nano} billionths")));
            }
        }
        let from = super::file::date(from)
            .map(midnight)
            .ok_or_else(|| Mistake::new("from", "a day of the calendar", from.to_string()))?;
        Ok(Self { provider, model: Model::parse(&model), from, price })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::{Date, Month};

    const FILE: &str = r#"
        currency = "USD"

        [[price]]
        provider = "openai"
        model = "gpt-4o*"
        from = 2026-01-01
        input = 2_500_000_000
        output = 10_000_000_000

        [[price]]
        provider = "openai"
        model = "gpt-4o-mini*"
        from = 2026-01-01
        input = 150_000_000
        cached_input = 75_000_000
        output = 600_000_000

        [[price]]
        provider = "openai"
        model = "gpt-4o-mini"
        from = 2026-06-01
        input = 100_000_001
        output = 500_000_000
        reasoning = 700_000_000
    "#;

    fn at(year: i32, month: u8, day: u8) -> UnixTime {
        let month = Month::try_from(month).unwrap();
        midnight(Date::from_calendar_date(year, month, day).unwrap())
    }

    fn input_price(model: &str, at: UnixTime) -> Option<u64> {
        Prices::parse(FILE).unwrap().price("openai", model, at).map(|price| price.input)
    }

    #[test]
    fn the_example_can_be_used() {
        let prices = Prices::parse(include_str!("../../../spec/examples/usage/prices.toml"));
        let price = prices.unwrap().price("openai", "gpt-4o-mini-2024", at(2026, 1, 1));
        assert_eq!(price.map(|price| price.input), Some(150_000_000));
    }

    #[test]
    fn the_most_specific_price_that_has_begun_is_the_price() {
        let (before, spring, june) = (at(2025, 12, 31), at(2026, 5, 31), at(2026, 6, 1));
        for (model, at, price) in [
            ("gpt-4o-mini", before, None),
            ("gpt-4o-mini", spring, Some(150_000_000)),
            ("gpt-4o-mini", june, Some(100_000_001)),
            ("gpt-4o-mini-2024", june, Some(150_000_000)),
            ("gpt-4o", june, Some(2_500_000_000)),
            ("gpt-4", june, None),
        ] {
            assert_eq!(input_price(model, at), price, "{model} {at:?}");
        }
        assert_eq!(Prices::parse(FILE).unwrap().price("gemini", "gpt-4o", june), None);
    }

    #[test]
    fn a_cost_is_exact_and_rounded_up() {
        let prices = Prices::parse(FILE).unwrap();
        let tokens = |input, cached, output, reasoning| Tokens {
            input,
            cached,
            output,
            reasoning,
            audio: 0,
        };
        let mini = prices.price("openai", "gpt-4o-mini", at(2026, 5, 1)).unwrap();
        assert_eq!(mini.of(tokens(1_000_000, 0, 0, 0)), 150_000_000);
        assert_eq!(mini.of(tokens(1_000, 400, 10, 4)), 600 * 150 + 400 * 75 + 10 * 600);
        assert_eq!(mini.of(Tokens::default()), 0);
        let later = prices.price("openai", "gpt-4o-mini", at(2026, 6, 1)).unwrap();
        assert_eq!(later.of(tokens(1, 0, 0, 0)), 101, "100.000001 is rounded up");
        assert_eq!(later.of(tokens(0, 0, 10, 4)), 6 * 500 + 4 * 700);
        assert_eq!(later.at_most(tokens(0, 0, 10, 0)), 10 * 700);
        let most = tokens(1_000_000_000, 0, 1_000_000_000, 0);
        let dearest = Price {
            input: MAX_NANO,
            cached_input: MAX_NANO,
            output: MAX_NANO,
            reasoning: MAX_NANO,
        };
        assert_eq!(dearest.of(most), 20_000_000_000_000_000);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        let price = |change: &str| {
            let entry = format!(
                "currency = \"USD\"\n[[price]]\nprovider = \"o\"\nmodel = \"m\"\n\
                 from = 2026-01-01\ninput = 1\n{change}\n"
            );
            Prices::parse(&entry)
        };
        assert!(price("output = 1").is_ok());
        let second = "output = 1\n[[price]]\nprovider = \"o\"\nmodel = \"m\"\n\
                      from = 2026-01-01\ninput = 2\noutput = 1";
        for (change, sentence) in [
            ("", "missing field `output`"),
            ("output = -1", "line 7: expected"),
            ("output = 0.5", "line 7: expected"),
            ("output = \"1\"", "line 7: expected"),
            ("output = 1\ncached = 1", "line 8: expected"),
            ("output = 10_000_000_000_001", "price 1, output: expected at most 10000"),
            (second, "price 2, from: expected one price for a model and a day, found a second"),
        ] {
            let mistake = price(change).unwrap_err().to_string();
            assert!(mistake.contains(sentence), "{change}: {mistake}");
            assert_eq!(mistake.lines().count(), 1, "{mistake}");
        }
        for (text, sentence) in [
            ("", "missing field `currency`"),
            ("currency = \"usd\"", "currency: expected three capital letters"),
            ("currency = \"USD\"\n[[price", "line 2"),
            (
                "currency = \"USD\"\n[[price]]\nprovider = \"\"\nmodel = \"m\"\n\
                 from = 2026-01-01\ninput = 1\noutput = 1",
                "price 1, provider: expected a name, found nothing",
            ),
        ] {
            let mistake = Prices::parse(text).unwrap_err().to_string();
            assert!(mistake.contains(sentence), "{text}: {mistake}");
        }
    }
}
