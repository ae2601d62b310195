//! The report as a page: charts and tables by day, model and person, without any script.

mod chart;

use std::fmt::{self, Display, Write};

use kombi_spec::usage::report::{Dimension, Report, Sums};

use super::{Question, told};

/// What the page tells apart, in this order.
pub(crate) const VIEWS: [(Dimension, &str); 3] =
    [(Dimension::Day, "Days"), (Dimension::Model, "Models"), (Dimension::Subject, "People")];

/// What a browser may do with the page: show it with its own style, and ask again.
pub(crate) fn policy(nonce: &str) -> String {
    format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'"
    )
}

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;\
color:#1c2430;background:#fff}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2.5rem}\
form{display:flex;flex-wrap:wrap;gap:.75rem;align-items:end}\
label{display:grid;font-size:.85rem;color:#5a6675}\
input,button{font:inherit;padding:.25rem .5rem}\
table{border-collapse:collapse;width:100%;margin-top:1rem}\
th,td{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #e3e8ee}\
th:first-child,td:first-child{text-align:left;word-break:break-all}\
svg{display:block;width:100%;height:auto;margin-top:.5rem}\
svg text{font:12px system-ui,sans-serif;fill:#1c2430}svg rect{fill:#3a6fd8}\
p{color:#5a6675}";

/// The page that answers `question` with a report for each of [`VIEWS`].
pub(crate) fn write(question: &Question, reports: &[Report], nonce: &str) -> String {
    let mut page = String::new();
    // Writing to a String does not fail.
    let _ = page_into(&mut page, question, reports, nonce);
    page
}

fn page_into(
    page: &mut String,
    question: &Question,
    reports: &[Report],
    nonce: &str,
) -> fmt::Result {
    let (from, to) = (question.from, question.to);
    write!(
        page,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>AI usage</title>\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <style nonce=\"{nonce}\">{STYLE}</style>\
         <h1>AI usage from {from} until {to}</h1><form>"
    )?;
    field(page, "From", "from", "date", &from.to_string())?;
    field(page, "Until (not included)", "to", "date", &to.to_string())?;
    for dimension in Dimension::ALL {
        if dimension == Dimension::Day {
            continue;
        }
        let only = question.only.iter().find(|(chosen, _)| *chosen == dimension);
        let value = only.map_or("", |(_, value)| value);
        let name = dimension.as_str();
        field(page, name, name, "text", value)?;
    }
    page.push_str("<button>Show</button></form>");
    for ((dimension, title), report) in VIEWS.iter().zip(reports) {
        write!(page, "<h2>{title}</h2>")?;
        if report.rows.is_empty() {
            page.push_str("<p>There were no calls.</p>");
            continue;
        }
        charts(page, *dimension, &report.rows)?;
        table(page, *dimension, &report.rows)?;
    }
    page.push_str("</html>\n");
    Ok(())
}

fn field(page: &mut String, label: &str, name: &str, kind: &str, value: &str) -> fmt::Result {
    let value = Escaped(value);
    write!(page, "<label>{label}<input name=\"{name}\" type=\"{kind}\" value=\"{value}\"></label>")
}

/// One chart of money for each currency, or one of tokens where nothing has a price.
fn charts(page: &mut String, dimension: Dimension, rows: &[Sums]) -> fmt::Result {
    let mut currencies: Vec<&str> =
        rows.iter().filter(|row| row.cost_nano > 0).map(|row| &*row.currency).collect();
    currencies.sort_unstable();
    currencies.dedup();
    if currencies.is_empty() {
        let bar = |row: &Sums| chart::Bar {
            label: told(row, dimension).to_owned(),
            value: row.input_tokens + row.output_tokens,
            text: format!("{} tokens", row.input_tokens + row.output_tokens),
        };
        return chart::write(page, dimension, rows.iter().map(bar).collect());
    }
    for currency in currencies {
        let bar = |row: &Sums| chart::Bar {
            label: told(row, dimension).to_owned(),
            value: row.cost_nano,
            text: format!("{} {currency}", Money(row.cost_nano)),
        };
        let bars = rows.iter().filter(|row| row.currency == currency).map(bar).collect();
        chart::write(page, dimension, bars)?;
    }
    Ok(())
}

fn table(page: &mut String, dimension: Dimension, rows: &[Sums]) -> fmt::Result {
    write!(
        page,
        "<table><tr><th>{}</th><th>Calls</th><th>Input</th><th>Cached</th><th>Output</th>\
         <th>Reasoning</th><th>Cost</th><th>Estimated</th><th>Open</th></tr>",
        dimension.as_str()
    )?;
    for row in rows {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{} {}</td><td>{}</td><td>{}</td></tr>",
            Escaped(told(row, dimension)),
            row.calls,
            row.input_tokens,
            row.cached_tokens,
            row.output_tokens,
            row.reasoning_tokens,
            Money(row.cost_nano),
            Escaped(&row.currency),
            row.estimated,
            row.open
        )?;
    }
    page.push_str("</table>");
    Ok(())
}

/// Text of somebody else's, as HTML shows it.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            other => f.write_char(other),
        })
    }
}

/// Billionths, as people read money: cut to four places, while the table's sums stay exact.
struct Money(i64);

impl Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nano = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:04}", nano / 1_000_000_000, nano % 1_000_000_000 / 100_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    #[test]
    fn nothing_that_somebody_else_wrote_is_markup() {
        let now = UnixTime::from_secs(1_795_478_400);
        let question =
            Question::new(now).with([("model", "\"><script>alert(1)</script>")]).unwrap();
        let row = Sums { model: Some("<b>'&".to_owned()), calls: 1, ..Sums::default() };
        let reports = VIEWS.map(|(dimension, _)| Report {
            from: String::new(),
            to: String::new(),
            by: vec![dimension],
            rows: vec![row.clone()],
        });
        let page = write(&question, &reports, "n0nce");
        assert!(!page.contains("<script") && !page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;b&gt;&#39;&amp;"), "{page}");
        assert!(page.contains("<style nonce=\"n0nce\">"), "{page}");
        assert_eq!(page.matches("<svg").count(), 3, "{page}");
    }

    #[test]
    fn money_is_cut_to_four_places() {
        for (nano, text) in [
            (0, "0.0000"),
            (1, "0.0000"),
            (123_456_789, "0.1234"),
            (20_000_000_000, "20.0000"),
            (-1_500_000_000, "-1.5000"),
        ] {
            assert_eq!(Money(nano).to_string(), text);
        }
    }
}
