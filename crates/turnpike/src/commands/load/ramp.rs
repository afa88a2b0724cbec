//! The search for the knee: step by step upwards until something gives, once more to be sure, then closer from both
//! sides. Only decides; knows no clock and sends nothing.

use super::words::{amount, count, were};
use std::time::Duration;

use super::recorder::Interval;

/// One step as it was measured.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) level: u32,
    /// Calls that did not come about at this step.
    pub(super) refused: u32,
    pub(super) sum: Interval,
    /// Seconds since the start.
    pub(super) from: f64,
    pub(super) to: f64,
    /// What gave, if anything.
    pub(super) limit: Option<Limit>,
}

/// What keeps the load from going up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// More than 1 % was lost.
    Loss,
    /// p99 is twice what it was at the start.
    Latency,
    /// The server refused calls.
    Refusals,
    /// The generator did not keep up: this says nothing about the server.
    Generator,
}

/// Where the search is.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    next: Option<u32>,
    most: u32,
    good: Option<u32>,
    bad: Option<(u32, Limit)>,
    /// p99 of the first good step that had one to be believed.
    baseline: Option<Duration>,
    /// Whether the level under way failed once already.
    doubted: bool,
    approaches: u32,
    steps: u32,
}

/// The end of the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knee {
    /// The highest level that was carried; `None` if not even one was.
    pub(super) level: Option<u32>,
    /// The lowest that was not, and why; `None` if the search ended before one was found.
    pub(super) beyond: Option<(u32, Limit)>,
}

impl Knee {
    /// The result of the search, for people; `unit` is what is counted.
    pub(super) fn in_words(&self, unit: &str) -> String {
        let carried = match self.level {
            Some(level) => format!("{} {}", amount(level, unit), were(level)),
            None => format!("no {unit} were"),
        };
        match self.beyond {
            Some((level, Limit::Generator)) => {
                format!(
                    "At least {carried} carried: at {} the generator itself could not keep up, so the server's knee was not found.",
                    count(u64::from(level))
                )
            }
            Some((level, limit)) => {
                format!("The knee: {carried} carried; at {} {}.", count(u64::from(level)), limit.meaning())
            }
            None => format!("No knee: {carried} carried, the most this search was to try."),
        }
    }
}

impl Ramp {
    /// A search from `first` up to `most`.
    pub(super) fn new(first: u32, most: u32) -> Self {
        let first = first.clamp(1, most.max(1));
        Ramp {
            next: Some(first),
            most: most.max(1),
            good: None,
            bad: None,
            baseline: None,
            doubted: false,
            approaches: 0,
            steps: 0,
        }
    }

    /// The level to try next; `None` when the search has ended.
    pub(super) fn next_level(&self) -> Option<u32> {
        self.next
    }

    /// Judges a step, and decides which is next.
    pub(super) fn judge(&mut self, step: &mut Step) {
        step.limit = self.limit_of(step);
        self.steps += 1;
        match step.limit {
            None => {
                self.doubted = false;
                self.good = self.good.max(Some(step.level));
                let p99 = step.worst_p99().filter(|_| step.latency_can_be_judged());
                self.baseline = self.baseline.or(p99);
            }
            // One bad step may be anybody's fault.
            Some(_) if !self.doubted => {
                self.doubted = true;
                self.next = Some(step.level);
                return;
            }
            Some(limit) => {
                self.doubted = false;
                self.bad = Some((step.level, limit));
            }
        }
        self.next = if self.steps >= MOST_STEPS { None } else { self.choose() };
    }

    /// What was found so far.
    pub(super) fn knee(&self) -> Knee {
        Knee { level: self.good, beyond: self.bad }
    }

    fn choose(&mut self) -> Option<u32> {
        match (self.good, self.bad) {
            (Some(good), None) => (good < self.most).then(|| grown(good).min(self.most)),
            (None, None) => self.next,
            (None, Some((bad, _))) => (bad > 1).then(|| (bad / 2).max(1)),
            (Some(good), Some((bad, _))) => {
                self.approaches += 1;
                let close = bad.saturating_sub(good) <= (good / 10).max(1);
                let middle = good + bad.saturating_sub(good) / 2;
                (!close && self.approaches <= MOST_APPROACHES).then_some(middle)
            }
        }
    }

    fn limit_of(&self, step: &Step) -> Option<Limit> {
        let total = step.sum.total();
        let behind = total.unsent > 0 || step.sum.lateness.quantile(0.5).is_some_and(|late| late > LATE);
        let twice = self.baseline.map(|baseline| baseline.max(SHORTEST_BASELINE) * 2);
        let slow = twice.zip(step.worst_p99()).is_some_and(|(twice, p99)| p99 > twice);
        if step.refused > 0 && f64::from(step.refused) > f64::from(step.level) * MOST_LOSS {
            Some(Limit::Refusals)
        } else if behind {
            Some(Limit::Generator)
        } else if step.worst_loss() > MOST_LOSS {
            Some(Limit::Loss)
        } else if slow && step.latency_can_be_judged() {
            Some(Limit::Latency)
        } else {
            None
        }
    }
}

impl Step {
    /// The p99 of the series that is worst off.
    pub(super) fn worst_p99(&self) -> Option<Duration> {
        self.sum.tallies.iter().filter_map(|tally| tally.latency.quantile(0.99)).max()
    }

    /// Whether the latencies are the server's: those of a generator that is late now and then hold its own lateness.
    fn latency_can_be_judged(&self) -> bool {
        self.sum.lateness.quantile(0.99).is_none_or(|late| late <= LATE)
    }

    /// The loss of the series that is worst off, 0 to 1.
    pub(super) fn worst_loss(&self) -> f64 {
        self.sum.tallies.iter().map(super::recorder::Tally::loss).fold(0.0, f64::max)
    }
}

impl Limit {
    /// The word for it in results.
    pub(super) fn word(self) -> &'static str {
        match self {
            Limit::Loss => "loss",
            Limit::Latency => "latency",
            Limit::Refusals => "refusals",
            Limit::Generator => "generator",
        }
    }

    /// What it means.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Limit::Loss => "more than 1 % was lost",
            Limit::Latency => "p99 more than doubled",
            Limit::Refusals => "the server refused calls",
            Limit::Generator => "the generator itself could not keep up",
        }
    }
}

/// Half as much again, rounded to two digits.
fn grown(level: u32) -> u32 {
    let more = level.saturating_add(level / 2).max(level.saturating_add(1));
    let unit = 10_u32.pow(more.max(1).ilog10().saturating_sub(1));
    (more / unit * unit).max(level.saturating_add(1))
}

/// The share of packets that may be lost.
const MOST_LOSS: f64 = 0.01;
/// Below this the scheduler of the machine decides, not the server: p99 counts as at least this at the start.
const SHORTEST_BASELINE: Duration = Duration::from_millis(1);
/// A generator that sends its last percent later than this is too late to judge others.
pub(super) const LATE: Duration = Duration::from_millis(2);
const MOST_STEPS: u32 = 60;
/// How often the gap between good and bad is halved.
const MOST_APPROACHES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that carries so much, and what becomes of the rest.
    fn search(first: u32, most: u32, behave: impl Fn(u32, usize, &mut Step)) -> (Knee, Vec<u32>) {
        let (mut ramp, mut levels) = (Ramp::new(first, most), Vec::new());
        while let Some(level) = ramp.next_level() {
            assert!(levels.len() < 100, "{levels:?}");
            let mut sum = Interval::new(2);
            for tally in &mut sum.tallies {
                tally.sent = 10_000;
                tally.received = 10_000;
                (0..100).for_each(|_| tally.latency.note(500_000));
            }
            sum.lateness.note(1000);
            let mut step = Step { level, refused: 0, sum, from: 0.0, to: 1.0, limit: None };
            behave(level, levels.len(), &mut step);
            levels.push(level);
            ramp.judge(&mut step);
        }
        (ramp.knee(), levels)
    }

    #[test]
    fn loss_beyond_one_percent_is_the_knee_and_is_closed_in_on() {
        let (knee, levels) = search(10, 10_000, |level, _, step| {
            if level > 700 {
                step.sum.tallies[1].received = 9_800;
            }
        });
        let (good, (bad, limit)) = (knee.level.unwrap(), knee.beyond.unwrap());
        assert!((600..=700).contains(&good) && (701..=800).contains(&bad), "{knee:?} by {levels:?}");
        assert_eq!(limit, Limit::Loss);
        assert!(levels.len() < 25, "{levels:?}");
    }

    #[test]
    fn a_doubled_p99_is_the_knee_once_it_is_long_enough_to_mean_anything() {
        let slow = |nanoseconds: u64| {
            move |level: u32, _: usize, step: &mut Step| {
                if level > 100 {
                    (0..100).for_each(|_| step.sum.tallies[0].latency.note(nanoseconds));
                }
            }
        };
        let (knee, _) = search(50, 1000, slow(3_000_000));
        assert_eq!(knee.beyond.map(|(_, limit)| limit), Some(Limit::Latency));
        // Half a millisecond became one and a half: that is the scheduler.
        let (knee, _) = search(50, 1000, slow(1_500_000));
        assert_eq!(knee, Knee { level: Some(1000), beyond: None });
    }

    #[test]
    fn one_bad_step_is_repeated_and_forgiven() {
        let (knee, levels) = search(100, 300, |_, number, step| {
            if number == 1 {
                step.sum.tallies[0].received = 0;
            }
        });
        assert_eq!(levels, [100, 150, 150, 220, 300]);
        assert_eq!(knee, Knee { level: Some(300), beyond: None });
    }

    #[test]
    fn a_late_generator_is_not_taken_for_a_slow_server() {
        let (knee, _) = search(100, 1000, |level, _, step| {
            if level > 200 {
                step.sum.tallies[0].received = 5_000;
                (0..100).for_each(|_| step.sum.lateness.note(50_000_000));
            }
        });
        assert_eq!(knee.beyond.map(|(_, limit)| limit), Some(Limit::Generator));
    }

    #[test]
    fn a_generator_that_is_late_now_and_then_does_not_end_the_search() {
        let (knee, _) = search(100, 1000, |_, number, step| {
            if number > 0 {
                (0..5).for_each(|_| step.sum.tallies[0].latency.note(9_000_000));
                (0..100).for_each(|_| step.sum.lateness.note(1000));
                (0..5).for_each(|_| step.sum.lateness.note(9_000_000));
            }
        });
        assert_eq!(knee, Knee { level: Some(1000), beyond: None });
    }

    #[test]
    fn refused_calls_are_a_knee_of_their_own() {
        let (knee, _) = search(10, 1000, |level, _, step| step.refused = level.saturating_sub(40));
        assert_eq!(knee.beyond.map(|(_, limit)| limit), Some(Limit::Refusals));
        assert!(knee.level.unwrap() <= 41);
    }

    #[test]
    fn a_first_step_that_fails_is_gone_down_from_until_one_is_carried_or_none_is() {
        let (knee, levels) = search(64, 1000, |level, _, step| {
            if level > 5 {
                step.sum.tallies[0].received = 0;
            }
        });
        assert!(knee.level.unwrap() <= 5, "{levels:?}");
        let (knee, levels) = search(64, 1000, |_, _, step| step.sum.tallies[0].received = 0);
        assert_eq!((knee.level, levels.last()), (None, Some(&1)));
    }

    #[test]
    fn levels_grow_by_half_and_never_stand_still() {
        let levels: Vec<u32> = std::iter::successors(Some(1), |level| Some(grown(*level))).take(14).collect();
        assert_eq!(levels, [1, 2, 3, 4, 6, 9, 13, 19, 28, 42, 63, 94, 140, 210]);
        assert_eq!(grown(u32::MAX), u32::MAX);
    }
}
