//! How often something took how long: counts by upper bound, as monitoring systems want them.

use std::time::Duration;

/// Counts of durations. The bounds belong to the kind of histogram and never change, so that histograms of several
/// workers can be added up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<const BOUNDS: usize> {
    bounds: &'static [Duration; BOUNDS],
    /// How many lay at or below each bound and above the one before.
    counts: [u64; BOUNDS],
    /// How many lay above the last.
    beyond: u64,
    /// All of them together.
    sum: Duration,
}

impl<const BOUNDS: usize> Histogram<BOUNDS> {
    /// Nothing yet; bounds in ascending order.
    pub const fn new(bounds: &'static [Duration; BOUNDS]) -> Self {
        Histogram { bounds, counts: [0; BOUNDS], beyond: 0, sum: Duration::ZERO }
    }

    /// Counts one.
    pub fn note(&mut self, duration: Duration) {
        let bound = self.bounds.partition_point(|bound| *bound < duration);
        match self.counts.get_mut(bound) {
            Some(count) => *count += 1,
            None => self.beyond += 1,
        }
        self.sum = self.sum.saturating_add(duration);
    }

    /// Adds another one of the same kind.
    pub fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(other.counts).for_each(|(count, more)| *count += more);
        self.beyond += other.beyond;
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Each bound with how many lay at or below it.
    pub fn cumulative(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        self.bounds.iter().zip(self.counts).scan(0, |below, (bound, count)| {
            *below += count;
            Some((*bound, *below))
        })
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.beyond
    }

    /// All durations together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

    #[test]
    fn a_duration_counts_at_the_first_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&BOUNDS);
        for seconds in [0, 1, 2, 10, 11, 61, 600] {
            histogram.note(Duration::from_secs(seconds));
        }
        let counts: Vec<u64> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!((counts, histogram.count()), (vec![2, 4, 5], 7));
        assert_eq!(histogram.sum(), Duration::from_secs(685));
        let mut both = histogram.clone();
        both.add(&histogram);
        assert_eq!(both.count(), 14);
        assert_eq!(both.cumulative().last(), Some((BOUNDS[2], 10)));
    }
}
