//! What Turnpike is to reach: the one table that terminal, documentation, chart and JSON take their targets from.

use crate::rounds::Summary;
use crate::rows::Metric;
use crate::statistics::Better;
use crate::table::grouped;

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// At least so many times better than coturn in the same run.
    Ratio(f64),
    /// At most this, in the metric's unit, whatever coturn does.
    AtMost(f64),
}

impl Target {
    /// That of a row's metric.
    pub(crate) fn of(row: &str, key: &str) -> Option<Self> {
        TARGETS
            .iter()
            .find(|(of_row, of_key, _)| (*of_row, *of_key) == (row, key))
            .map(|(_, _, target)| *target)
    }

    /// As in a table: `≥ 1.40 ×`, `≤ 16 KiB`.
    pub(crate) fn words(self, metric: &Metric) -> String {
        match self {
            Target::Ratio(ratio) => format!("≥ {ratio:.2} ×"),
            Target::AtMost(most) => {
                let decimals = if most.fract() == 0.0 { 0 } else { 1 };
                format!("≤ {} {}", grouped(most, decimals), metric.unit).trim_end().to_owned()
            }
        }
    }

    /// How much of it was reached: 1 is all of it, more is better than asked. `None` if it cannot be told.
    pub(crate) fn reached(self, summary: &Summary) -> Option<f64> {
        match self {
            Target::Ratio(wanted) => Some(summary.ratio?.0 / wanted),
            Target::AtMost(most) => Some(most / summary.ours),
        }
        .filter(|reached| reached.is_finite())
    }

    /// The advantage over coturn at which it would be met exactly.
    pub(crate) fn as_ratio(self, metric: &Metric, summary: &Summary) -> Option<f64> {
        match (self, metric.better) {
            (Target::Ratio(ratio), _) => Some(ratio),
            (Target::AtMost(most), Better::Lower) => Some(summary.theirs? / most),
            (Target::AtMost(_), Better::Higher) => None,
        }
    }
}

/// Whether what was reached is enough. A target is met when it is met to the digits that are printed.
pub(crate) fn is_met(reached: f64) -> bool {
    reached >= 0.995
}

/// The targets, by row and metric.
const TARGETS: &[(&str, &str, Target)] = &[
    ("audio", "cpu_us_per_packet", Target::Ratio(1.4)),
    ("video", "cpu_us_per_packet", Target::Ratio(1.5)),
    // 1.3 against coturn's own few-ports mode, which was 1.28 times as good as its plain mode.
    ("few-ports", "cpu_us_per_packet", Target::Ratio(1.3 * 1.28)),
    ("tc-audio", "cpu_us_per_packet", Target::Ratio(2.5)),
    ("tc-video", "cpu_us_per_packet", Target::Ratio(2.0)),
    ("xdp-audio", "cpu_us_per_packet", Target::Ratio(2.6)),
    ("xdp-frames", "xdp_200k_us", Target::Ratio(4.5)),
    ("xdp-frames", "xdp_flat_out_us", Target::Ratio(15.0)),
    ("program", "xdp_to_peer_ns", Target::AtMost(150.0)),
    ("program", "xdp_to_client_ns", Target::AtMost(150.0)),
    ("latency", "p99_us", Target::Ratio(1.0)),
    // At most 0.75 of coturn's.
    ("tc-latency", "p99_us", Target::Ratio(1.0 / 0.75)),
    ("xdp-latency", "p99_us", Target::Ratio(1.0 / 0.75)),
    ("allocate", "calls_per_second", Target::Ratio(2.0)),
    ("allocate", "cpu_us_per_call", Target::Ratio(2.0)),
    ("churn", "cycles_per_second", Target::Ratio(2.0)),
    ("churn", "cpu_us_per_cycle", Target::Ratio(2.0)),
    // At most 2.5 µs where coturn needs 3.7.
    ("binding", "cpu_us_per_answer", Target::Ratio(3.7 / 2.5)),
    ("memory", "resident_mb_per_1000", Target::AtMost(2.0)),
    ("hold", "growth_16000", Target::AtMost(1.1)),
    ("tls", "handshake_us", Target::AtMost(450.0)),
    ("tls", "idle_kib", Target::AtMost(16.0)),
    ("tls", "allocated_kib", Target::AtMost(24.0)),
    ("dtls", "allocated_kib", Target::AtMost(45.0)),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::ROWS;

    const METRIC: Metric =
        Metric { key: "cost", title: "cost", unit: "µs", better: Better::Lower, decimals: 2 };

    #[test]
    fn every_target_belongs_to_a_metric_that_is_measured() {
        for (row, key, target) in TARGETS {
            let row = ROWS.iter().find(|known| known.name == *row).unwrap();
            assert!(row.metrics.iter().any(|metric| metric.key == *key), "{} {key}", row.name);
            assert!(
                row.compared || matches!(target, Target::AtMost(_)),
                "{}: nothing to compare with",
                row.name
            );
        }
    }

    #[test]
    fn a_ratio_is_judged_by_the_ratio_and_a_limit_by_our_own_figure() {
        let summary = Summary { ours: 3.0, theirs: Some(6.0), ratio: Some((2.0, 1.9, 2.1)) };
        assert_eq!(Target::Ratio(2.5).reached(&summary), Some(0.8));
        assert_eq!(Target::AtMost(1.5).reached(&summary), Some(0.5));
        assert_eq!(Target::AtMost(1.5).as_ratio(&METRIC, &summary), Some(4.0));
        assert!(is_met(Target::AtMost(3.0).reached(&summary).unwrap()) && !is_met(0.8));
        let alone = Summary { theirs: None, ratio: None, ..summary };
        assert_eq!(Target::Ratio(2.5).reached(&alone), None);
        assert_eq!(Target::AtMost(3.0).as_ratio(&METRIC, &alone), None);
    }

    #[test]
    fn targets_are_written_as_in_the_table() {
        assert_eq!(Target::Ratio(1.4).words(&METRIC), "≥ 1.40 ×");
        assert_eq!(Target::AtMost(450.0).words(&METRIC), "≤ 450 µs");
        assert_eq!(Target::AtMost(1.1).words(&Metric { unit: "", ..METRIC }), "≤ 1.1");
    }
}
