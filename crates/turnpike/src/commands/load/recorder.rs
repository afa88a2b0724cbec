//! Everything that was counted, by the interval in which it was to be sent: what arrives later still counts for the
//! moment that caused it, so that the loss of an interval is exact once its last packets are in.

use std::collections::BTreeMap;

use super::histogram::Histogram;

/// What one thread has counted.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    /// Nanoseconds of an interval.
    interval: u64,
    series: usize,
    pub(super) intervals: Vec<Interval>,
    /// How long calls took from the first request to the bound channel.
    pub(super) set_up: Histogram,
    /// What the server or the system said to calls that did not come about, and how often.
    pub(super) failures: BTreeMap<String, u64>,
}

/// What was to be sent within one interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Interval {
    /// One for each series of the profile.
    pub(super) tallies: Vec<Tally>,
    /// How late the generator was.
    pub(super) lateness: Histogram,
}

/// The packets or requests of one series.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) sent: u64,
    /// Of those sent, what arrived whole, each once.
    pub(super) received: u64,
    /// What the generator gave up, having fallen too far behind.
    pub(super) unsent: u64,
    /// What its own sockets had no room for.
    pub(super) no_room: u64,
    pub(super) reordered: u64,
    pub(super) duplicated: u64,
    pub(super) damaged: u64,
    pub(super) failed: u64,
    pub(super) latency: Histogram,
    jitter_total: u128,
    jitter_samples: u64,
    pub(super) jitter_max: u64,
}

impl Recorder {
    pub(super) fn new(series: usize, interval: u64) -> Self {
        Recorder {
            interval: interval.max(1),
            series,
            intervals: Vec::new(),
            set_up: Histogram::default(),
            failures: BTreeMap::new(),
        }
    }

    /// The interval of a moment.
    pub(super) fn at(&mut self, due: u64) -> &mut Interval {
        let index = usize::try_from(due / self.interval).unwrap_or(usize::MAX).min(MOST_INTERVALS - 1);
        if index >= self.intervals.len() {
            let series = self.series;
            self.intervals.resize_with(index + 1, || Interval::new(series));
        }
        &mut self.intervals[index]
    }

    /// The tally of a series at a moment.
    pub(super) fn tally(&mut self, due: u64, series: usize) -> &mut Tally {
        &mut self.at(due).tallies[series]
    }

    /// Notes why something failed.
    pub(super) fn note_failure(&mut self, why: String) {
        let full = self.failures.len() >= MOST_FAILURES && !self.failures.contains_key(&why);
        let why = if full { "other failures".to_owned() } else { why };
        *self.failures.entry(why).or_default() += 1;
    }

    /// Adds what another thread has counted.
    pub(super) fn merge(&mut self, other: &Recorder) {
        for (index, interval) in other.intervals.iter().enumerate() {
            self.at(index as u64 * self.interval).merge(interval);
        }
        self.set_up.merge(&other.set_up);
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
    }

    /// The sum of some intervals.
    pub(super) fn sum(&self, range: std::ops::Range<usize>) -> Interval {
        let mut sum = Interval::new(self.series);
        let end = range.end.min(self.intervals.len());
        self.intervals[range.start.min(end)..end].iter().for_each(|interval| sum.merge(interval));
        sum
    }
}

impl Interval {
    pub(super) fn new(series: usize) -> Self {
        Interval { tallies: vec![Tally::default(); series], lateness: Histogram::default() }
    }

    pub(super) fn merge(&mut self, other: &Interval) {
        self.tallies.iter_mut().zip(&other.tallies).for_each(|(mine, theirs)| mine.merge(theirs));
        self.lateness.merge(&other.lateness);
    }

    /// All series together.
    pub(super) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.tallies.iter().for_each(|tally| total.merge(tally));
        total
    }
}

impl Tally {
    pub(super) fn note_jitter(&mut self, nanoseconds: u64) {
        self.jitter_total += u128::from(nanoseconds);
        self.jitter_samples += 1;
        self.jitter_max = self.jitter_max.max(nanoseconds);
    }

    pub(super) fn merge(&mut self, other: &Tally) {
        self.sent += other.sent;
        self.received += other.received;
        self.unsent += other.unsent;
        self.no_room += other.no_room;
        self.reordered += other.reordered;
        self.duplicated += other.duplicated;
        self.damaged += other.damaged;
        self.failed += other.failed;
        self.latency.merge(&other.latency);
        self.jitter_total += other.jitter_total;
        self.jitter_samples += other.jitter_samples;
        self.jitter_max = self.jitter_max.max(other.jitter_max);
    }

    /// What was sent and did not arrive.
    pub(super) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// The same as a share of what was sent, 0 to 1.
    pub(super) fn loss(&self) -> f64 {
        if self.sent == 0 { 0.0 } else { self.lost() as f64 / self.sent as f64 }
    }

    /// The mean over all packets of their flow's jitter, in nanoseconds.
    pub(super) fn jitter_mean(&self) -> Option<u64> {
        let mean = self.jitter_total.checked_div(u128::from(self.jitter_samples))?;
        u64::try_from(mean).ok()
    }
}

/// Bounds the memory of a run.
pub(super) const MOST_INTERVALS: usize = 1024;
const MOST_FAILURES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_arrives_late_counts_for_the_interval_it_was_sent_in() {
        let mut recorder = Recorder::new(2, 100);
        recorder.tally(50, 0).sent += 2;
        recorder.tally(150, 0).sent += 2;
        recorder.tally(50, 0).received += 1;
        recorder.tally(150, 0).received += 2;
        let losses: Vec<f64> = recorder.intervals.iter().map(|interval| interval.tallies[0].loss()).collect();
        assert_eq!(losses, [0.5, 0.0]);
        assert!((recorder.sum(0..9).total().loss() - 0.25).abs() < 1e-12);
        assert_eq!(recorder.sum(5..9).total().sent, 0);
    }

    #[test]
    fn memory_stays_bounded_however_long_the_run_and_whatever_fails() {
        let mut recorder = Recorder::new(1, 1);
        recorder.tally(u64::MAX, 0).sent += 1;
        assert_eq!(recorder.intervals.len(), MOST_INTERVALS);
        (0..1000).for_each(|number| recorder.note_failure(format!("failure {number}")));
        assert_eq!(recorder.failures.len(), MOST_FAILURES + 1);
        assert_eq!(recorder.failures.values().sum::<u64>(), 1000);
    }

    #[test]
    fn threads_add_up() {
        let (mut one, mut other) = (Recorder::new(1, 10), Recorder::new(1, 10));
        one.tally(5, 0).sent += 1;
        other.tally(5, 0).sent += 2;
        other.tally(25, 0).sent += 4;
        other.note_failure("403".to_owned());
        one.merge(&other);
        assert_eq!(
            one.intervals.iter().map(|interval| interval.tallies[0].sent).collect::<Vec<_>>(),
            [3, 0, 4]
        );
        assert_eq!(one.failures["403"], 1);
    }
}
