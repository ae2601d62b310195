//! What is told of many measurements.

use std::cmp::Ordering;

/// The value that `percent` of 100 are below, of values in any order; of an even number, the median
/// is the upper of the two in the middle. `None` if there are none.
pub(crate) fn quantile<T: Copy + PartialOrd>(
    values: impl IntoIterator<Item = T>,
    percent: usize,
) -> Option<T> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable_by(|one, other| one.partial_cmp(other).unwrap_or(Ordering::Equal));
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        assert_eq!(quantile([3, 1, 2], 50), Some(2));
        assert_eq!(quantile([4.0, 1.0, 3.0, 2.0], 50), Some(3.0));
        assert_eq!(quantile(1..=200, 99), Some(199));
        assert_eq!(quantile([7], 99), Some(7));
        assert_eq!(quantile([7, 8], 100), Some(8));
        assert_eq!(quantile(Vec::<u64>::new(), 50), None);
    }
}
