//! The results for people (text, Markdown) and for programs (JSON).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::facts::Facts;
use crate::rounds::{Round, RowResult};
use crate::rows::Sample;
use crate::server::Side;
use crate::table::{Table, grouped};

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
        text + "\n"
    }

    /// For the documentation.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.heading(), self.table().markdown());
        let rows =
            self.results.iter().map(|result| format!("**{}**: {}.", result.row.name, result.row.about));
        for paragraph in rows.chain(self.warnings()).chain(self.method()) {
            text.push_str(&format!("- {paragraph}\n"));
        }
        text
    }

    /// Writes everything, round by round.
    pub(crate) fn write_json(&self, path: &Path) -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
        }
        let text = serde_json::to_string_pretty(&self.json())? + "\n";
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }

    /// Replaces what stands between the markers; appends them to a file that has none.
    pub(crate) fn write_markdown(&self, path: &Path) -> Result<()> {
        let old = match fs::read_to_string(path) {
            Ok(old) => old,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let new = between_markers(&old, &self.markdown());
        fs::write(path, new).with_context(|| format!("write {}", path.display()))
    }

    fn heading(&self) -> String {
        let Facts { date, ours_version, coturn_version, rounds, .. } = &self.facts;
        format!(
            "Measured {date} on one {}. Ours: {ours_version}; coturn: {coturn_version}. Medians of {rounds} \
             rounds (hold: of at most 3); a ratio above 1 means that ours is better.",
            self.facts.machine()
        )
    }

    fn table(&self) -> Table {
        let mut rows = Vec::new();
        for result in &self.results {
            for metric in result.row.metrics {
                let Some(summary) = result.summary(metric) else { continue };
                let title = match metric.unit {
                    "" => metric.title.to_owned(),
                    unit => format!("{} ({unit})", metric.title),
                };
                let (ratio, spread) = match summary.ratio {
                    Some((median, smallest, largest)) => {
                        (format!("{median:.2}"), format!("{smallest:.2}–{largest:.2}"))
                    }
                    None => ("–".to_owned(), "–".to_owned()),
                };
                let number = |value: f64| grouped(value, metric.decimals);
                let coturn = summary.coturn.map_or("–".to_owned(), number);
                rows.push(vec![title, number(summary.ours), coturn, ratio, spread]);
            }
        }
        Table { headings: vec!["metric", "ours", "coturn", "ratio", "min–max"], rows }
    }

    /// What a reader must know before believing a row.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.facts.quick {
            warnings.push("These are short runs (--quick): do not quote them.".to_owned());
        }
        for result in &self.results {
            if result.disturbed > 0 {
                warnings.push(format!(
                    "{}: rounds thrown away because other work took over 20 % of the server's core: {}.",
                    result.row.name, result.disturbed
                ));
            }
            for (side, who) in [(Side::Ours, "ours"), (Side::Coturn, "coturn")] {
                let worst = |key: &str| result.worst(side, key).unwrap_or(0.0);
                let row = result.row.name;
                for (key, limit, words) in WARNINGS {
                    let value = worst(key);
                    if value > *limit {
                        let decimals = if key.ends_with("percent") { 1 } else { 0 };
                        let value = grouped(value, decimals);
                        warnings.push(format!("{row}, {who}: {}.", words.replace("{}", &value)));
                    }
                }
            }
        }
        warnings
    }

    fn method(&self) -> Vec<String> {
        let checksums = match self.facts.offloads.checksums {
            true => "The virtual devices leave checksums undone, as if a network card did them.",
            false => "Checksum offload is off: every packet's checksum is computed and checked.",
        };
        let segmentation = match self.facts.offloads.segmentation {
            true => {
                "What a server sends with UDP_SEGMENT leaves its core in one piece, as with a network \
                     card that cuts it."
            }
            false => "What a server sends with UDP_SEGMENT is cut on its own core.",
        };
        vec![
            format!(
                "The servers run alternately, each started anew and alone, with one relay thread (-m 1) \
                 pinned to one core; clients and peers share another core. The first round is discarded; \
                 the ratio is the median of the rounds' ratios. Packets are sent in groups, one every \
                 {} µs, as a network card that moderates its interrupts hands them on: the groups' size \
                 decides how often a server wakes up, and so every figure here. Clients' and peers' interfaces look for packets every 50 µs by themselves, so \
                 that no server pays for waking them. {checksums} {segmentation}",
                self.facts.tick.as_micros(),
            ),
            "CPU is what the scheduler charges to all threads of the server, to the kernel's receive threads \
             (threaded NAPI) of its two interfaces and to its core's soft-interrupt thread, divided by the \
             packets that arrived whole: every packet's length, content, order, sender and receiver are checked. \
             What the kernel does in interrupts while the core is otherwise idle is charged to nobody."
                .to_owned(),
            "No network card took part: the packets travel through veth pairs between network namespaces of \
             one machine, whose few cores are shared with whatever else runs. Figures from real hardware \
             will differ; compare within this table only."
                .to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let rows: Vec<Value> = self.results.iter().map(row_json).collect();
        json!({
            "facts": self.facts.json(),
            "method": self.method(),
            "warnings": self.warnings(),
            "rows": rows,
        })
    }
}

fn row_json(result: &RowResult) -> Value {
    let metrics: Vec<Value> = result
        .row
        .metrics
        .iter()
        .filter_map(|metric| {
            let summary = result.summary(metric)?;
            let (ratio, smallest, largest) =
                summary.ratio.map_or((None, None, None), |(a, b, c)| (Some(a), Some(b), Some(c)));
            Some(json!({
                "key": metric.key,
                "title": metric.title,
                "unit": metric.unit,
                "ours": summary.ours,
                "coturn": summary.coturn,
                "ratio": ratio,
                "ratio_min": smallest,
                "ratio_max": largest,
            }))
        })
        .collect();
    let round = |round: &Round| json!({ "ours": sample_json(&round.ours), "coturn": round.coturn.as_ref().map(sample_json) });
    let rounds: Vec<Value> = result.rounds.iter().map(round).collect();
    json!({
        "name": result.row.name,
        "about": result.row.about,
        "metrics": metrics,
        "rounds": rounds,
        "disturbed_rounds": result.disturbed,
    })
}

fn sample_json(sample: &Sample) -> Value {
    let entries = sample.iter().map(|(key, value)| ((*key).to_owned(), json!(value)));
    Value::Object(entries.collect::<Map<String, Value>>())
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

/// Values beside the metrics above which a row is doubtful, and how to say so.
const WARNINGS: &[(&str, f64, &str)] = &[
    ("bad_packets", 0.0, "{} packets arrived damaged or misdirected"),
    ("bad_answers", 0.0, "{} Binding answers were wrong"),
    ("out_of_order_packets", 0.0, "{} packets arrived out of order or twice"),
    ("server_loss_percent", 1.0, "up to {} % of the packets were lost"),
    ("generator_dropped_packets", 100.0, "the generator itself lost up to {} packets"),
    (
        "generator_limited",
        0.0,
        "the generator, not the server, was the limit of the rate in some rounds: read it as \"at least\"",
    ),
    ("retransmitted_requests", 0.0, "up to {} requests had to be sent again"),
    ("other_work_percent", 10.0, "other work took up to {} % of the server's core"),
];
const BEGIN: &str = "<!-- bench: begin -->";
const END: &str = "<!-- bench: end -->";

#[cfg(test)]
mod tests {
    use super::*;

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
            |ours: f64, coturn: f64| Round { ours: sample(ours, 2.0), coturn: Some(sample(coturn, 0.0)) };
        let report = Report {
            facts: facts(),
            results: vec![RowResult {
                row: &crate::rows::ROWS[0],
                disturbed: 0,
                rounds: vec![round(2.0, 4.0), round(2.0, 3.0), round(2.0, 5.0)],
            }],
        };
        let text = report.text();
        assert!(text.contains("2.00    4.00   2.00  1.50–2.50"), "{text}");
        assert!(text.contains("audio, ours: 2 packets arrived damaged"), "{text}");
        assert!(!text.contains("audio, coturn"), "{text}");
        let json = report.json();
        assert_eq!(json["rows"][0]["metrics"][0]["ratio"], 2.0);
        assert_eq!(json["rows"][0]["rounds"][2]["coturn"]["cpu_us_per_packet"], 5.0);
        assert!(report.markdown().contains("| CPU per relayed packet, audio (µs) | 2.00 | 4.00 | 2.00 |"));
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
            coturn_version: "b".to_owned(),
            ours_arguments: Vec::new(),
            coturn_arguments: Vec::new(),
            rounds: 3,
            quick: false,
            offloads: crate::lab::Offloads { checksums: true, segmentation: true },
            tick: std::time::Duration::from_micros(200),
            bench_version: "0",
        }
    }
}
