//! A report as comma-separated values (RFC 4180).

use kombi_spec::usage::report::{Dimension, Report};

use super::told;
use crate::csv::field;

/// The columns after those that are told apart.
const NUMBERS: &str = "currency,calls,requests,input_tokens,cached_tokens,output_tokens,\
                       reasoning_tokens,audio_tokens,cost_nano,estimated,open";

/// The report, with a line of names first.
#[must_use]
pub(crate) fn write(report: &Report) -> String {
    let names: String = report.by.iter().flat_map(|by| [by.as_str(), ","]).collect();
    let mut text = format!("{names}{NUMBERS}\r\n");
    for row in &report.rows {
        let apart = report.by.iter().map(|by: &Dimension| field(told(row, *by)));
        let numbers = [
            row.calls,
            row.requests,
            row.input_tokens,
            row.cached_tokens,
            row.output_tokens,
            row.reasoning_tokens,
            row.audio_tokens,
            row.cost_nano,
            row.estimated,
            row.open,
        ];
        let fields: Vec<String> = apart
            .chain([field(&row.currency)])
            .chain(numbers.iter().map(ToString::to_string))
            .collect();
        text.push_str(&fields.join(","));
        text.push_str("\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kombi_spec::usage::report::Sums;

    #[test]
    fn a_report_has_a_line_of_names_and_one_for_each_row() {
        let row = Sums {
            subject: Some("a,b".to_owned()),
            model: Some("=HYPERLINK(\"x\")".to_owned()),
            currency: "USD".to_owned(),
            calls: 2,
            cost_nano: -3,
            ..Sums::default()
        };
        let by = vec![Dimension::Subject, Dimension::Model];
        let report = Report { from: String::new(), to: String::new(), by, rows: vec![row] };
        let expected = format!(
            "subject,model,{NUMBERS}\r\n\"a,b\",\"'=HYPERLINK(\"\"x\"\")\",USD,2,0,0,0,0,0,0,-3,0,0\r\n"
        );
        assert_eq!(write(&report), expected);
    }
}
