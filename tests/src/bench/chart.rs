//! Charts of bars, as files of SVG.

use std::fmt::{self, Write};

use super::verdict::Figure;

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// Whether it is ours; the rest is what it is compared with.
    pub(super) own: bool,
}

/// Lying bars, under a title with their unit. A value below zero, lost in the noise, has none.
#[derive(Debug)]
pub(super) struct Chart {
    pub(super) title: &'static str,
    pub(super) bars: Vec<Bar>,
}

const WIDTH: f64 = 760.0;
const ROW: f64 = 22.0;
const LABEL: f64 = 300.0;
const VALUE: f64 = 70.0;

/// Readable on light pages and on dark ones.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#57606a}.own{fill:#1f6feb}.other{fill:#8c959f}\
     @media(prefers-color-scheme:dark){text{fill:#9198a1}}";

impl fmt::Display for Chart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let mut rows = String::new();
        let mut top = ROW * 1.5;
        for Bar { label, value, own } in &self.bars {
            let width = (value.max(0.0) / most * (WIDTH - LABEL - VALUE)).round();
            let (text, bar, end) = (top + 15.0, top + 4.0, LABEL + width + 6.0);
            let (class, label) = (if *own { "own" } else { "other" }, Escaped(label));
            writeln!(
                rows,
                "<text x=\"0\" y=\"{text}\">{label}</text>\
                 <rect class=\"{class}\" x=\"{LABEL}\" y=\"{bar}\" width=\"{width}\" height=\"14\"/>\
                 <text x=\"{end}\" y=\"{text}\">{}</text>",
                Figure(*value)
            )?;
            top += ROW;
        }
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" role=\"img\">\n\
             <style>{STYLE}</style>\n<text x=\"0\" y=\"16\" font-weight=\"bold\">{}</text>\n{rows}</svg>",
            Escaped(self.title)
        )
    }
}

/// Text within XML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_bar_takes_all_the_room_and_the_others_their_share() {
        let bar = |label: &str, value, own| Bar { label: label.to_owned(), value, own };
        let bars = vec![bar("a < b", 2.0, true), bar("c", 4.0, false), bar("d", -1.0, false)];
        let chart = Chart { title: "ms", bars }.to_string();
        for part in [
            ">a &lt; b<",
            "class=\"own\" x=\"300\" y=\"37\" width=\"195\"",
            "class=\"other\" x=\"300\" y=\"59\" width=\"390\"",
            "y=\"81\" width=\"0\"",
            "viewBox=\"0 0 760 99\"",
            ">-1.00<",
        ] {
            assert!(chart.contains(part), "{part}: {chart}");
        }
    }
}
