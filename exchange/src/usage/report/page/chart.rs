//! Charts, as SVG within the page.

use std::fmt::{self, Write};

use kombi_spec::usage::report::Dimension;

use super::Escaped;

/// How many bars a chart of models or people has; the largest.
const MOST: usize = 20;

/// How wide a chart is, in its own units.
const WIDTH: i64 = 960;

/// One bar.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: i64,
    pub(super) text: String,
}

/// Writes columns for days, in their order, and bars for everything else, the largest first.
pub(super) fn write(page: &mut String, dimension: Dimension, mut bars: Vec<Bar>) -> fmt::Result {
    if dimension == Dimension::Day {
        return columns(page, &bars);
    }
    bars.sort_by(|a, b| b.value.cmp(&a.value).then_with(|| a.label.cmp(&b.label)));
    bars.truncate(MOST);
    lying(page, &bars)
}

fn columns(page: &mut String, bars: &[Bar]) -> fmt::Result {
    const HEIGHT: i64 = 160;
    let each = WIDTH / count(bars);
    let (width, most) = ((each * 4 / 5).max(1), largest(bars));
    write!(page, "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", HEIGHT + 20)?;
    for (index, bar) in (0_i64..).zip(bars) {
        let height = share(bar.value, HEIGHT, most);
        write!(
            page,
            "<rect x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{height}\">\
             <title>{}: {}</title></rect>",
            index * each,
            HEIGHT - height,
            Escaped(&bar.label),
            Escaped(&bar.text)
        )?;
    }
    let ends = [(bars.first(), 0, "start"), (bars.last(), each * count(bars), "end")];
    for (bar, x, anchor) in ends {
        let label = Escaped(bar.map_or("", |bar| &bar.label));
        let y = HEIGHT + 16;
        write!(page, "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{label}</text>")?;
    }
    page.push_str("</svg>");
    Ok(())
}

fn lying(page: &mut String, bars: &[Bar]) -> fmt::Result {
    const ROW: i64 = 24;
    const LABEL: i64 = 280;
    const TEXT: i64 = 180;
    let most = largest(bars);
    write!(page, "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\">", ROW * count(bars))?;
    for (index, bar) in (0_i64..).zip(bars) {
        let (y, width) = (index * ROW, share(bar.value, WIDTH - LABEL - TEXT, most));
        let (label, text) = (Escaped(&bar.label), Escaped(&bar.text));
        write!(
            page,
            "<text x=\"0\" y=\"{}\">{label}</text>\
             <rect x=\"{LABEL}\" y=\"{}\" width=\"{width}\" height=\"{}\"></rect>\
             <text x=\"{}\" y=\"{}\">{text}</text>",
            y + 16,
            y + 4,
            ROW - 8,
            LABEL + width + 8,
            y + 16
        )?;
    }
    page.push_str("</svg>");
    Ok(())
}

/// How long the bar of `value` is, if that of `most` is `length`; never quite nothing.
fn share(value: i64, length: i64, most: i64) -> i64 {
    let share = i128::from(value.max(0)) * i128::from(length) / i128::from(most);
    i64::try_from(share).unwrap_or(length).max(1)
}

fn largest(bars: &[Bar]) -> i64 {
    bars.iter().map(|bar| bar.value).max().unwrap_or(1).max(1)
}

fn count(bars: &[Bar]) -> i64 {
    i64::try_from(bars.len()).unwrap_or(i64::MAX).max(1)
}
