//! A histogram of durations with a bounded size and a bounded error.
//!
//! Up to 64 ns each value has a place of its own; from there on each power of two is cut into 64 places, so that no
//! answer is off by more than 1/64 of itself. What exceeds 68 s counts as 68 s.

use std::time::Duration;

/// How often each duration was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Histogram {
    /// Empty until something is noted: most histograms of a run never see anything.
    counts: Vec<u64>,
    count: u64,
    total: u128,
    min: u64,
    max: u64,
}

impl Histogram {
    /// Notes one duration, in nanoseconds.
    pub(super) fn note(&mut self, nanoseconds: u64) {
        if self.counts.is_empty() {
            self.counts.resize(PLACES, 0);
        }
        let nanoseconds = nanoseconds.min(LARGEST);
        self.counts[place_of(nanoseconds)] += 1;
        self.min = if self.count == 0 { nanoseconds } else { self.min.min(nanoseconds) };
        self.max = self.max.max(nanoseconds);
        self.count += 1;
        self.total += u128::from(nanoseconds);
    }

    /// Adds what another one has seen.
    pub(super) fn merge(&mut self, other: &Histogram) {
        if other.count == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.counts.resize(PLACES, 0);
        }
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.min = if self.count == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.total += other.total;
    }

    /// How many durations were noted.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The smallest duration such that this share (0 to 1) of all is no longer; `None` if nothing was noted.
    pub(super) fn quantile(&self, share: f64) -> Option<Duration> {
        if self.count == 0 {
            return None;
        }
        let wanted = ((self.count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut seen = 0;
        let place = self.counts.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        // The extremes are known exactly.
        Some(Duration::from_nanos(middle_of(place).clamp(self.min, self.max)))
    }

    /// The shortest.
    pub(super) fn min(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.min))
    }

    /// The longest.
    pub(super) fn max(&self) -> Option<Duration> {
        (self.count > 0).then(|| Duration::from_nanos(self.max))
    }

    /// The mean.
    pub(super) fn mean(&self) -> Option<Duration> {
        let mean = self.total.checked_div(u128::from(self.count))?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// What was seen: from, to (exclusive) and how often, in order; places nobody fell into are left out.
    pub(super) fn places(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(place, count)| (start_of(place), start_of(place + 1), *count))
    }
}

fn place_of(nanoseconds: u64) -> usize {
    let octave = nanoseconds.max(1).ilog2();
    match octave.checked_sub(PARTS_LOG2) {
        None => nanoseconds as usize,
        Some(shift) => (shift as usize) * PARTS + (nanoseconds >> shift) as usize,
    }
}

fn start_of(place: usize) -> u64 {
    match (place / PARTS).checked_sub(1) {
        None => place as u64,
        Some(shift) => ((place % PARTS + PARTS) as u64) << shift,
    }
}

fn middle_of(place: usize) -> u64 {
    let (start, end) = (start_of(place), start_of(place + 1));
    start + (end - start) / 2
}

const PARTS_LOG2: u32 = 6;
const PARTS: usize = 1 << PARTS_LOG2;
/// About 68 s.
const LARGEST: u64 = (1 << 36) - 1;
const PLACES: usize = (36 - PARTS_LOG2 as usize + 1) * PARTS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_within_its_place_and_places_follow_each_other() {
        let mut values: Vec<u64> =
            (0..36).flat_map(|bits| [1 << bits, (1 << bits) - 1, (1 << bits) + 1]).collect();
        values.extend([0, 77, 12_345, 999_999_999, LARGEST]);
        for value in values {
            let place = place_of(value);
            assert!(start_of(place) <= value && value < start_of(place + 1), "{value} in {place}");
            assert!(place < PLACES, "{value}");
        }
        assert!((0..PLACES).all(|place| start_of(place) < start_of(place + 1)));
    }

    #[test]
    fn quantiles_are_off_by_no_more_than_a_sixty_fourth() {
        let mut histogram = Histogram::default();
        (1..=100_000_u64).for_each(|value| histogram.note(value * 1000));
        for (share, exact) in [(0.5, 50_000_000.0), (0.99, 99_000_000.0), (0.999, 99_900_000.0)] {
            let found = histogram.quantile(share).unwrap().as_nanos() as f64;
            assert!((found - exact).abs() / exact < 1.0 / 64.0, "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), histogram.max());
        assert_eq!(histogram.max(), Some(Duration::from_millis(100)));
        assert_eq!(histogram.min(), Some(Duration::from_micros(1)));
        assert_eq!(histogram.mean(), Some(Duration::from_nanos(50_000_500)));
    }

    #[test]
    fn nothing_noted_has_no_quantiles_and_merging_it_changes_nothing() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.quantile(0.5), histogram.mean(), histogram.max()), (None, None, None));
        histogram.note(5);
        let before = histogram.clone();
        histogram.merge(&Histogram::default());
        assert_eq!(histogram, before);
    }

    #[test]
    fn merging_is_the_same_as_noting_everything_in_one() {
        let (mut one, mut other, mut both) = Default::default();
        let mut noted = |histogram: &mut Histogram, value| {
            histogram.note(value);
            Histogram::note(&mut both, value);
        };
        (0..500).for_each(|value| noted(&mut one, value * value * 1000));
        (0..300).for_each(|value| noted(&mut other, value * 77));
        one.merge(&other);
        assert_eq!(one, both);
    }

    #[test]
    fn what_takes_for_ever_counts_as_the_longest_there_is() {
        let mut histogram = Histogram::default();
        histogram.note(u64::MAX);
        assert_eq!(histogram.max(), Some(Duration::from_nanos(LARGEST)));
        assert_eq!(histogram.places().map(|(_, _, count)| count).sum::<u64>(), 1);
    }
}
