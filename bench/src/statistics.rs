//! Medians, percentiles and the ratios of rounds.

/// The middle value; the mean of the two middle ones when their number is even. `None` without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The smallest value that at least `share` (0 to 1) of the values do not exceed.
pub(crate) fn percentile(values: &mut [u64], share: f64) -> Option<u64> {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied()
}

/// Smallest and largest value.
pub(crate) fn spread(values: &[f64]) -> Option<(f64, f64)> {
    let smallest = values.iter().copied().min_by(f64::total_cmp)?;
    let largest = values.iter().copied().max_by(f64::total_cmp)?;
    Some((smallest, largest))
}

/// Whether more or less of something is the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// How many times better `ours` is than `theirs`, above 1 when ours is; `None` where a zero makes it senseless.
pub(crate) fn advantage(better: Better, ours: f64, theirs: f64) -> Option<f64> {
    let ratio = match better {
        Better::Lower => theirs / ours,
        Better::Higher => ours / theirs,
    };
    (ratio.is_finite() && ratio > 0.0).then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_value_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let mut values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut values, 0.5), Some(50));
        assert_eq!(percentile(&mut values, 0.99), Some(99));
        assert_eq!(percentile(&mut values, 1.0), Some(100));
        assert_eq!(percentile(&mut [7], 0.01), Some(7));
        assert_eq!(percentile(&mut [], 0.5), None);
    }

    #[test]
    fn spread_is_smallest_and_largest() {
        assert_eq!(spread(&[2.0, 1.5, 1.9]), Some((1.5, 2.0)));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn advantage_is_above_one_when_ours_is_better() {
        assert_eq!(advantage(Better::Lower, 2.0, 4.0), Some(2.0));
        assert_eq!(advantage(Better::Higher, 2.0, 4.0), Some(0.5));
        assert_eq!(advantage(Better::Lower, 0.0, 4.0), None);
        assert_eq!(advantage(Better::Higher, 1.0, 0.0), None);
    }
}
