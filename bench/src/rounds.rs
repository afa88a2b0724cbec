//! Rounds: both servers in turn, the order changing, the first round thrown away.

use std::time::Instant;

use anyhow::{Context, Result};

use crate::arguments::{Against, Options};
use crate::rows::{Bench, Metric, NotMeasured, Row, Sample};
use crate::server::{ServerCommand, Side};
use crate::statistics::{advantage, median, spread};

/// All rounds of one row.
pub(crate) struct RowResult {
    pub(crate) row: &'static Row,
    pub(crate) rounds: Vec<Round>,
    /// Rounds that were thrown away because other work used the server's core; at most as many as count.
    pub(crate) disturbed: usize,
    /// Why there are no rounds, or no more.
    pub(crate) stopped: Option<Stopped>,
}

/// Why a row ended early.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) why: String,
    /// Something went wrong, rather than cannot be here.
    pub(crate) failed: bool,
}

/// One round that counted.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) ours: Sample,
    /// Absent in rows that are not compared.
    pub(crate) theirs: Option<Sample>,
}

impl Round {
    /// The larger share of the server's core that something else used while either side was measured.
    fn other_work_percent(&self) -> f64 {
        let of = |sample: &Sample| sample.get("other_work_percent").copied().unwrap_or(0.0);
        of(&self.ours).max(self.theirs.as_ref().map_or(0.0, of))
    }
}

/// One metric over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// Median.
    pub(crate) ours: f64,
    /// Median.
    pub(crate) theirs: Option<f64>,
    /// Median of the rounds' ratios, above 1 when ours is better, with the smallest and the largest.
    pub(crate) ratio: Option<(f64, f64, f64)>,
}

impl Summary {
    /// Between two versions: whether the new one is better, or worse, or whether nobody can tell. Noise is what is now on
    /// one side and now on the other, or less than the machine's own unsteadiness.
    pub(crate) fn change(&self) -> &'static str {
        match self.ratio {
            Some((median, smallest, _)) if smallest > 1.0 && median > 1.0 + UNSTEADY => "better",
            Some((median, _, largest)) if largest < 1.0 && median < 1.0 - UNSTEADY => "WORSE",
            Some(_) => "noise",
            None => "–",
        }
    }
}

impl RowResult {
    /// One metric's medians and ratio; `None` if it was never measured.
    pub(crate) fn summary(&self, metric: &Metric) -> Option<Summary> {
        let ours: Vec<f64> =
            self.rounds.iter().filter_map(|round| round.ours.get(metric.key).copied()).collect();
        let pairs: Vec<(f64, f64)> = self
            .rounds
            .iter()
            .filter_map(|round| {
                Some((*round.ours.get(metric.key)?, *round.theirs.as_ref()?.get(metric.key)?))
            })
            .collect();
        let theirs: Vec<f64> = pairs.iter().map(|(_, theirs)| *theirs).collect();
        let ratios: Vec<f64> =
            pairs.iter().filter_map(|(ours, theirs)| advantage(metric.better, *ours, *theirs)).collect();
        let ratio = match (median(&ratios), spread(&ratios)) {
            (Some(median), Some((smallest, largest))) => Some((median, smallest, largest)),
            _ => None,
        };
        Some(Summary { ours: median(&ours)?, theirs: median(&theirs), ratio })
    }

    /// The largest value of something noted beside the metrics, on one side.
    pub(crate) fn worst(&self, side: Side, key: &str) -> Option<f64> {
        self.rounds
            .iter()
            .filter_map(|round| match side {
                Side::Ours => Some(&round.ours),
                Side::Theirs => round.theirs.as_ref(),
            })
            .filter_map(|sample| sample.get(key).copied())
            .max_by(f64::total_cmp)
    }
}

/// Runs all rows one after the other. A row that cannot be measured does not keep the others from it.
pub(crate) fn run_all(bench: &Bench, options: &Options, rows: &[&'static Row]) -> Result<Vec<RowResult>> {
    rows.iter().map(|row| run_row(bench, options, row)).collect()
}

fn run_row(bench: &Bench, options: &Options, row: &'static Row) -> Result<RowResult> {
    bench.lab.set_checksums(!row.full_checksums)?;
    let mut result = RowResult { row, rounds: Vec::new(), disturbed: 0, stopped: None };
    let ended = take_rounds(bench, options, &mut result);
    bench.stop.check()?;
    if let Err(error) = ended {
        eprintln!("{:<11} not measured: {error:#}", row.name);
        let failed = error.downcast_ref::<NotMeasured>().is_none();
        result.stopped = Some(Stopped { why: format!("{:#}", error), failed });
    }
    Ok(result)
}

fn take_rounds(bench: &Bench, options: &Options, result: &mut RowResult) -> Result<()> {
    let row = result.row;
    let wanted = options.rounds.min(row.most_rounds);
    let mut number = 0;
    while result.rounds.len() < wanted {
        let ours = || measure(bench, options, row, &options.ours, number);
        let both = row.compared || options.against == Against::Older;
        let theirs = || both.then(|| measure(bench, options, row, &options.theirs, number)).transpose();
        let round = if number % 2 == 0 {
            let ours = ours()?;
            Round { ours, theirs: theirs()? }
        } else {
            let theirs = theirs()?;
            Round { ours: ours()?, theirs }
        };
        // Round 0 warms the machine up and is thrown away.
        if number > 0 {
            if round.other_work_percent() > DISTURBED && result.disturbed < wanted {
                eprintln!("{:<11} round {number} is repeated: other work used the server's core", row.name);
                result.disturbed += 1;
            } else {
                result.rounds.push(round);
            }
        }
        number += 1;
    }
    Ok(())
}

fn measure(
    bench: &Bench,
    options: &Options,
    row: &Row,
    command: &ServerCommand,
    number: usize,
) -> Result<Sample> {
    bench.stop.check()?;
    let begun = Instant::now();
    let [ours, theirs] = options.against.names();
    let who = if command.side == Side::Ours { ours } else { theirs };
    let measured = (row.measure)(bench, command);
    // A signal to the whole process group ends the server too: say what really happened.
    bench.stop.check()?;
    let sample = match measured {
        Err(error) if error.downcast_ref::<NotMeasured>().is_some() => return Err(error),
        measured => measured.with_context(|| format!("measure {} of {who}", row.name))?,
    };
    let values: Vec<String> = row
        .metrics
        .iter()
        .filter_map(|metric| {
            let value = sample.get(metric.key)?;
            Some(format!("{} {:.*} {}", metric.key, metric.decimals, value, metric.unit))
        })
        .collect();
    let round = if number == 0 { "discarded round".to_owned() } else { format!("round {number}") };
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{:<11} {round:<16} {who:<7} {} ({seconds:.1} s)", row.name, values.join(", "));
    Ok(sample)
}

/// A difference that means nothing, even where all rounds agree.
const UNSTEADY: f64 = 0.02;
/// Percent of the server's core that other work may use in a round that counts.
const DISTURBED: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statistics::Better;

    const METRIC: Metric =
        Metric { key: "cost", title: "cost", unit: "µs", better: Better::Lower, decimals: 2 };

    fn result(rounds: &[(f64, Option<f64>)]) -> RowResult {
        let sample = |value: f64| Sample::from([("cost", value)]);
        let rounds = rounds
            .iter()
            .map(|(ours, theirs)| Round { ours: sample(*ours), theirs: theirs.map(sample) })
            .collect();
        RowResult { row: &crate::rows::ROWS[0], rounds, disturbed: 0, stopped: None }
    }

    #[test]
    fn the_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() {
        let result = result(&[(1.0, Some(2.0)), (4.0, Some(4.0)), (2.0, Some(8.0))]);
        let summary = result.summary(&METRIC).unwrap();
        assert_eq!((summary.ours, summary.theirs), (2.0, Some(4.0)));
        assert_eq!(summary.ratio, Some((2.0, 1.0, 4.0)));
    }

    #[test]
    fn a_row_of_ours_alone_has_no_ratio() {
        let summary = result(&[(1.0, None), (3.0, None)]).summary(&METRIC).unwrap();
        assert_eq!(summary, Summary { ours: 2.0, theirs: None, ratio: None });
    }

    #[test]
    fn a_change_is_noise_unless_all_rounds_agree_on_more_than_the_machine_wavers() {
        let change = |ratio| Summary { ours: 1.0, theirs: Some(1.0), ratio }.change();
        assert_eq!(change(Some((1.2, 1.1, 1.3))), "better");
        assert_eq!(change(Some((0.8, 0.7, 0.9))), "WORSE");
        assert_eq!(change(Some((1.2, 0.9, 1.3))), "noise");
        assert_eq!(change(Some((1.01, 1.005, 1.015))), "noise");
        assert_eq!(change(None), "–");
    }

    #[test]
    fn the_worst_is_looked_for_on_one_side() {
        let result = result(&[(1.0, Some(9.0)), (3.0, Some(4.0))]);
        assert_eq!(result.worst(Side::Ours, "cost"), Some(3.0));
        assert_eq!(result.worst(Side::Theirs, "cost"), Some(9.0));
        assert_eq!(result.worst(Side::Theirs, "loss"), None);
    }
}
