//! The chart: a row for each half second, a column for each gateway.

use std::{iter::repeat_n, time::Duration};

use super::{Fault, Figures, Settings, load::Counts};
use crate::shared_store::StoreKind;

/// Characters in a column's bar.
const WIDTH: usize = 16;

pub(super) fn heading(settings: Settings, store: Option<StoreKind>) -> String {
    let keeper = store.map_or("the exchange's memory", StoreKind::program);
    let mut text = format!(
        "{} requests per user and day, shared by {} gateways over {keeper}; {} per second at each\n\
         █ admitted   ░ denied   ! neither\n\n       ",
        settings.amount, settings.nodes, settings.rate
    );
    for node in 1..=settings.nodes {
        text.push_str(&format!("  {:<26}", format!("node {node}")));
    }
    text
}

/// What became of the requests that were sent in the time of one row; `most` of them fill a bar.
pub(super) fn row(at: Duration, nodes: &[Counts], most: u64) -> String {
    let mut text = format!("{:5.1} s", at.as_secs_f64());
    for node in nodes {
        let Counts { admitted, denied, unavailable, failed, .. } = *node;
        let each = most.div_ceil(WIDTH as u64).max(1);
        let bar = |count: u64, mark: char| repeat_n(mark, WIDTH.min(whole(count, each)));
        let neither = unavailable + failed;
        let shown = bar(admitted, '█').chain(bar(denied, '░')).chain(bar(neither, '!'));
        let shown: String = shown.take(WIDTH).collect();
        text.push_str(&format!("  {shown:<WIDTH$} {admitted:>4} {denied:>4}"));
    }
    text
}

fn whole(count: u64, each: u64) -> usize {
    usize::try_from(count.div_ceil(each)).unwrap_or(usize::MAX)
}

pub(super) fn event(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "",
        Fault::KillNode => "        the last gateway is killed",
        Fault::KillStore => {
            "        the store is killed; it comes back, empty, after as long again"
        }
        Fault::PauseStore => "        the store hangs; it goes on after as long again",
    }
}

pub(super) fn verdict(figures: &Figures) -> String {
    let Figures { amount, most, .. } = figures;
    let (admitted, denied) = (figures.admitted(), figures.denied());
    let verdict = match (figures.held(), denied) {
        (true, _) => "it held",
        (false, 0) => "it was not put to the test: nothing was denied",
        (false, _) => "it did NOT hold",
    };
    let slowest = figures.nodes.iter().map(|node| node.slowest).max().unwrap_or_default();
    format!(
        "\n{admitted} of {amount} admitted ({most} may be), {denied} denied, slowest answer {} ms: \
         {verdict}",
        slowest.as_millis()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_what_became_of_the_requests_to_each_node() {
        let counts = |admitted, denied, unavailable| Counts {
            admitted,
            denied,
            unavailable,
            ..Counts::default()
        };
        let nodes = [counts(16, 48, 0), counts(0, 1, 63), counts(1_000, 7, 0)];
        let row = row(Duration::from_millis(1_500), &nodes, 64);
        assert_eq!(
            row,
            "  1.5 s  ████░░░░░░░░░░░░   16   48  ░!!!!!!!!!!!!!!!    0    1  ████████████████ 1000    7"
        );
    }
}
