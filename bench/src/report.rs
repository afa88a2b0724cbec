//! The results for people: text, Markdown, and the chart beside it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::arguments::Against;
use crate::caveats;
use crate::chart::Chart;
use crate::facts::Facts;
use crate::results_json;
use crate::rounds::{RowResult, Summary};
use crate::rows::Metric;
use crate::table::{Table, grouped};
use crate::targets::{Target, is_met};

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) facts: Facts,
    pub(crate) results: Vec<RowResult>,
}

impl Report {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("\n{}\n\n", self.heading());
        text.push_str(&self.table().text());
        for paragraph in self.warnings().iter().chain(&self.method()) {
            text.push_str(&format!("\n* {paragraph}"));
        }
        text + &format!("\n\n{}\n", self.verdict())
    }

    /// For the documentation; `chart` is the name of the picture beside it.
    pub(crate) fn markdown(&self, chart: Option<&str>) -> String {
        let picture = chart.map_or(String::new(), |chart| format!("![{CHART_WORDS}]({chart})\n\n"));
        let mut text =
            format!("{}\n\n{}\n\n{picture}{}\n", self.heading(), self.verdict(), self.table().markdown());
        let rows =
            self.results.iter().map(|result| format!("**{}**: {}.", result.row.name, result.row.about));
        for paragraph in rows.chain(self.warnings()).chain(self.method()) {
            text.push_str(&format!("- {paragraph}\n"));
        }
        text
    }

    /// Writes everything, round by round.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(&results_json::of(self))? + "\n";
        write(path, &text)
    }

    /// Draws the ratios.
    pub(crate) fn write_chart(&self, path: &Path) -> Result<()> {
        write(path, &Chart::of(self).svg())
    }

    /// Replaces what stands between the markers; appends them to a file that has none.
    pub(crate) fn write_markdown(&self, path: &Path, chart: Option<&Path>) -> Result<()> {
        let old = match fs::read_to_string(path) {
            Ok(old) => old,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let chart = chart.and_then(Path::file_name).and_then(|name| name.to_str());
        write(path, &between_markers(&old, &self.markdown(chart)))
    }

    /// Whether something went wrong, rather than cannot be measured here.
    pub(crate) fn has_failed(&self) -> bool {
        self.results.iter().any(|result| result.stopped.as_ref().is_some_and(|stopped| stopped.failed))
    }

    pub(crate) fn heading(&self) -> String {
        let Facts { date, ours_version, theirs_version, rounds, against, .. } = &self.facts;
        let [ours, theirs] = against.names();
        format!(
            "Measured {date} on one {}. {}: {ours_version}; {theirs}: {theirs_version}. Medians of {rounds} \
             rounds, of at most 3 where one takes long; a ratio above 1 means that {ours} is better.",
            self.facts.machine(),
            if *against == Against::Coturn { "Ours" } else { "New" },
        )
    }

    /// Each metric that has a figure: its row, itself, its summary.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (&RowResult, &Metric, Summary)> {
        self.results.iter().flat_map(|result| {
            result
                .row
                .metrics
                .iter()
                .filter_map(move |metric| Some((result, metric, result.summary(metric)?)))
        })
    }

    /// What a metric is to reach, if it is compared with coturn.
    pub(crate) fn target(&self, result: &RowResult, metric: &Metric) -> Option<Target> {
        (self.facts.against == Against::Coturn).then(|| Target::of(result.row.name, metric.key))?
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        caveats::warnings(&self.facts, &self.results)
    }

    pub(crate) fn method(&self) -> Vec<String> {
        caveats::method(&self.facts)
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for result in &self.results {
            for metric in result.row.metrics {
                let target = self.target(result, metric);
                let title = match metric.unit {
                    "" => metric.title.to_owned(),
                    unit => format!("{} ({unit})", metric.title),
                };
                let Some(summary) = result.summary(metric) else {
                    let wanted = target.map_or(NOTHING.to_owned(), |target| target.words(metric));
                    let nothing = || NOTHING.to_owned();
                    rows.push(vec![
                        title,
                        nothing(),
                        nothing(),
                        nothing(),
                        nothing(),
                        wanted,
                        UNKNOWN.to_owned(),
                    ]);
                    continue;
                };
                let (ratio, spread) = match summary.ratio {
                    Some((median, smallest, largest)) => {
                        (format!("{median:.2}"), format!("{smallest:.2}–{largest:.2}"))
                    }
                    None => (NOTHING.to_owned(), NOTHING.to_owned()),
                };
                let number = |value: f64| grouped(value, metric.decimals);
                let theirs = summary.theirs.map_or(NOTHING.to_owned(), number);
                let mut cells = vec![title, number(summary.ours), theirs, ratio, spread];
                match self.facts.against {
                    Against::Coturn => cells.extend(judged(target, metric, &summary)),
                    Against::Older => cells.push(summary.change().to_owned()),
                }
                rows.push(cells);
            }
        }
        let [ours, theirs] = self.facts.against.names();
        let mut headings = vec!["metric", ours, theirs, "ratio", "min–max"];
        match self.facts.against {
            Against::Coturn => headings.extend(["target", "met"]),
            Against::Older => headings.push("change"),
        }
        rows.iter_mut().for_each(|cells| cells.truncate(headings.len()));
        Table { headings, rows }
    }

    /// How many targets are met, in a sentence; between two versions, how many figures changed.
    pub(crate) fn verdict(&self) -> String {
        if self.facts.against == Against::Older {
            let rounds = self.facts.rounds;
            let count = |word: &str| self.figures().filter(|(.., summary)| summary.change() == word).count();
            return format!(
                "{} better, {} worse, {} within noise. Noise is what changes sides between rounds, or by less than 2 %; \
                 chance alone makes all of {rounds} rounds agree once in {} times.",
                count("better"),
                count("WORSE"),
                count("noise"),
                1u64 << rounds.saturating_sub(1).min(63)
            );
        }
        let judged = |(result, metric, summary): (&RowResult, &Metric, Summary)| {
            Some((metric.title, self.target(result, metric)?.reached(&summary)?))
        };
        let reached: Vec<(&str, f64)> = self.figures().filter_map(judged).collect();
        let missed: Vec<String> = reached
            .iter()
            .filter(|(_, reached)| !is_met(*reached))
            .map(|(title, reached)| format!("{title} ({:.0} % of it)", reached * 100.0))
            .collect();
        let met = reached.len() - missed.len();
        match missed.is_empty() {
            true => format!("Targets met: {met} of {}.", reached.len()),
            false => format!("Targets met: {met} of {}. Missed: {}.", reached.len(), missed.join(", ")),
        }
    }
}

fn judged(target: Option<Target>, metric: &Metric, summary: &Summary) -> [String; 2] {
    let Some(target) = target else { return [NOTHING.to_owned(), NOTHING.to_owned()] };
    let met = match target.reached(summary) {
        Some(reached) if is_met(reached) => "yes",
        Some(_) => "NO",
        None => UNKNOWN,
    };
    [target.words(metric), met.to_owned()]
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn between_markers(old: &str, new: &str) -> String {
    let section = format!("{BEGIN}\n{new}{END}");
    let around = old.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    match around {
        Some((before, after)) => format!("{before}{section}{after}"),
        None if old.is_empty() => section + "\n",
        None => format!("{}\n\n{section}\n", old.trim_end()),
    }
}

const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";
/// What stands where there is nothing to tell.
const NOTHING: &str = "–";
/// Whether a target is met that could not be measured.
const UNKNOWN: &str = "not measured";
const CHART_WORDS: &str = "How many times better than coturn each figure is, with its target";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::Round;
    use crate::rows::Sample;

    #[test]
    fn only_the_part_between_the_markers_is_replaced() {
        let old = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nafter\n");
        assert_eq!(between_markers(&old, "new\n"), format!("# Title\n\n{BEGIN}\nnew\n{END}\n\nafter\n"));
    }

    #[test]
    fn a_file_without_markers_gets_them_at_its_end() {
        assert_eq!(between_markers("# Title\n", "new\n"), format!("# Title\n\n{BEGIN}\nnew\n{END}\n"));
        assert_eq!(between_markers("", "new\n"), format!("{BEGIN}\nnew\n{END}\n"));
    }

    #[test]
    fn a_report_tells_ratios_spread_and_doubts() {
        let sample = |cost: f64, bad: f64| Sample::from([("cpu_us_per_packet", cost), ("bad_packets", bad)]);
        let round =
            |ours: f64, coturn: f64| Round { ours: sample(ours, 2.0), theirs: Some(sample(coturn, 0.0)) };
        let report = Report {
            facts: facts(),
            results: vec![RowResult {
                row: &crate::rows::ROWS[0],
                disturbed: 0,
                stopped: None,
                rounds: vec![round(2.0, 4.0), round(2.0, 3.0), round(2.0, 5.0)],
            }],
        };
        let text = report.text();
        assert!(text.contains("2.00    4.00   2.00  1.50–2.50"), "{text}");
        assert!(text.contains("audio, ours: 2 packets arrived damaged"), "{text}");
        assert!(!text.contains("audio, coturn"), "{text}");
        assert!(text.contains("≥ 1.40 ×  yes"), "{text}");
        assert!(text.contains("Targets met: 1 of 1."), "{text}");
        let json = results_json::of(&report);
        assert_eq!(json["rows"][0]["metrics"][0]["target"]["met"], true);
        assert_eq!(json["rows"][0]["metrics"][0]["ratio"], 2.0);
        assert_eq!(json["rows"][0]["rounds"][2]["coturn"]["cpu_us_per_packet"], 5.0);
        assert!(
            report
                .markdown(Some("chart.svg"))
                .contains("| CPU per relayed packet, audio (µs) | 2.00 | 4.00 | 2.00 |")
        );
    }

    fn facts() -> Facts {
        Facts {
            date: "2026-01-02".to_owned(),
            processor: "Chip".to_owned(),
            cores: 2,
            kernel: "6.0".to_owned(),
            virtual_machine: true,
            memory_mb: 1000,
            ours_version: "a".to_owned(),
            theirs_version: "b".to_owned(),
            ours_arguments: Vec::new(),
            theirs_arguments: Vec::new(),
            against: Against::Coturn,
            rounds: 3,
            quick: false,
            offloads: crate::lab::Offloads { checksums: true, segmentation: true },
            tick: std::time::Duration::from_micros(200),
            bench_version: "0",
        }
    }
}
