//! `turnpike load compare`: two results side by side, and what changed by more than noise.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use serde_json::Value;

use super::report::LOOPBACK;
use super::report_json::SCHEMA;
use super::words::{count, duration, percent};
use crate::terminal::{painted, print, shows_colour};

/// Runs the command. Exit status 2 if something became worse.
pub(super) fn run(arguments: &ArgMatches) -> Result<ExitCode> {
    let path = |name: &str| Path::new(arguments.get_one::<String>(name).map_or("", String::as_str));
    let tolerance = arguments.get_one::<f64>("tolerance").copied().unwrap_or(10.0) / 100.0;
    let comparison = Comparison::of(&read(path("old"))?, &read(path("new"))?, tolerance);
    let text = comparison.text();
    let _ = print(&painted(&text, |line| !line.starts_with(' '), shows_colour(&std::io::stdout())));
    let worse = comparison.rows.iter().any(|row| row.change == Change::Worse);
    Ok(if worse { ExitCode::from(super::TOO_MUCH_LOST) } else { ExitCode::SUCCESS })
}

/// What two results have in common, and what not.
struct Comparison {
    title: String,
    rows: Vec<Row>,
    /// Why they may not be comparable.
    remarks: Vec<String>,
}

/// One figure, before and after.
struct Row {
    name: String,
    old: String,
    new: String,
    /// Relative to the old one.
    by: Option<f64>,
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Better,
    Same,
    Worse,
    /// A latency that holds the lateness of the generator.
    Unsure,
}

/// What a figure is, and which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Microseconds that something took; less is better.
    Latency,
    /// Microseconds of processor time; less is better.
    Cost,
    /// A share of 0 to 1; less is better.
    Loss,
    /// A level; more is better.
    Carried,
}

impl Comparison {
    fn of(old: &Value, new: &Value, tolerance: f64) -> Self {
        let name = |value: &Value| {
            let word = |path: &str| value.pointer(path).and_then(Value::as_str).unwrap_or("?").to_owned();
            format!("{} over {}", word("/profile/name"), word("/target/transport").to_uppercase())
        };
        let mut comparison = Comparison {
            title: format!("Comparison: {}", name(new)),
            rows: Vec::new(),
            remarks: remarks(old, new),
        };
        let late = |value: &Value| value.pointer("/generator/keptUp") == Some(&Value::Bool(false));
        let late = late(old) || late(new);
        let mut compare = |name: &str, path: &str, kind| {
            let figures =
                old.pointer(path).and_then(Value::as_f64).zip(new.pointer(path).and_then(Value::as_f64));
            if let Some((old, new)) = figures {
                let mut row = Row::new(name, old, new, kind, tolerance);
                if late && kind == Kind::Latency && row.change != Change::Same {
                    row.change = Change::Unsure;
                }
                comparison.rows.push(row);
            }
        };
        compare("carried at the knee", "/knee/carried", Kind::Carried);
        for (index, series) in series_in_common(old, new).into_iter().enumerate() {
            for (name, path, kind) in SERIES_FIGURES {
                compare(&format!("{series}: {name}"), &format!("/series/{index}{path}"), kind);
            }
        }
        compare("set-up: p50", "/setUp/latency/p50", Kind::Latency);
        compare("server: CPU each", "/server/each", Kind::Cost);
        comparison
    }

    fn text(&self) -> String {
        let mut text = format!("{}\n", self.title);
        let _ = writeln!(text, "  {:<32}{:>13}{:>13}{:>9}", "", "old", "new", "change");
        for Row { name, old, new, by, change } in &self.rows {
            let by = by.map_or_else(String::new, |by| format!("{:+.0} %", by * 100.0));
            let word = match change {
                Change::Better => "better",
                Change::Same => "",
                Change::Worse => "WORSE",
                Change::Unsure => "unsure",
            };
            let line = format!("  {name:<32}{old:>13}{new:>13}{by:>9}  {word}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if !self.remarks.is_empty() {
            text += "\nMind\n";
            self.remarks.iter().for_each(|remark| text += &format!("  {remark}\n"));
        }
        let number = |wanted| self.rows.iter().filter(|row| row.change == wanted).count();
        let unsure = match number(Change::Unsure) {
            0 => String::new(),
            unsure => format!(" {unsure} differ, and nobody knows whether that is the server."),
        };
        let verdict = match (number(Change::Better), number(Change::Worse)) {
            (0, 0) => format!("No difference beyond noise.{unsure}"),
            (better, worse) => format!("{better} better, {worse} worse, the rest within noise.{unsure}"),
        };
        text + &format!("\n{verdict}\n")
    }
}

impl Row {
    fn new(name: &str, old: f64, new: f64, kind: Kind, tolerance: f64) -> Self {
        let shown = |figure: f64| match kind {
            Kind::Latency | Kind::Cost => duration(Some(Duration::from_secs_f64((figure / 1e6).max(0.0)))),
            Kind::Loss => percent(figure),
            Kind::Carried => count(figure.max(0.0) as u64),
        };
        let by = (old != 0.0 && kind != Kind::Loss).then(|| (new - old) / old);
        let matters = match kind {
            Kind::Latency | Kind::Cost => {
                (new - old).abs() > SHORTEST_DIFFERENCE && by.is_none_or(|by| by.abs() > tolerance)
            }
            Kind::Loss => (new - old).abs() > SMALLEST_LOSS,
            Kind::Carried => by.is_none_or(|by| by.abs() > tolerance),
        };
        let change = match (matters, new < old, kind) {
            (false, _, _) => Change::Same,
            (true, true, Kind::Latency | Kind::Cost | Kind::Loss) | (true, false, Kind::Carried) => {
                Change::Better
            }
            _ => Change::Worse,
        };
        Row { name: name.to_owned(), old: shown(old), new: shown(new), by, change }
    }
}

fn read(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let value: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    match value["schema"].as_str() {
        Some(schema) if schema == SCHEMA => Ok(value),
        Some(schema) => bail!("{} is of schema {schema}, and this version reads {SCHEMA}", path.display()),
        None => bail!("{} is no result of turnpike load --json", path.display()),
    }
}

/// The names of the series, where both have the same.
fn series_in_common(old: &Value, new: &Value) -> Vec<String> {
    let names = |value: &Value| -> Vec<String> {
        let series = value["series"].as_array().into_iter().flatten();
        series.filter_map(|series| series["name"].as_str().map(str::to_owned)).collect()
    };
    let (old, new) = (names(old), names(new));
    if old == new { new } else { Vec::new() }
}

fn remarks(old: &Value, new: &Value) -> Vec<String> {
    let mut remarks = Vec::new();
    for (what, path) in [
        ("profile", "/profile"),
        ("transport", "/target/transport"),
        ("kind of run", "/plan/kind"),
        ("processor", "/machine/processor"),
        ("number of cores", "/machine/cores"),
        ("distance to the server", "/target/locality"),
        ("number of generator threads", "/generator/threads"),
    ] {
        if old.pointer(path) != new.pointer(path) {
            remarks.push(format!("the two differ in {what}: compare only what is alike"));
        }
    }
    let is_ramp = new.pointer("/plan/kind").and_then(Value::as_str) == Some("ramp");
    if old.pointer("/measured/level") != new.pointer("/measured/level") {
        remarks.push(match is_ramp {
            true => "latency and CPU are those at each run's own knee".to_owned(),
            false => "the two were made at different loads".to_owned(),
        });
    }
    for (name, value) in [("old", old), ("new", new)] {
        if value.pointer("/generator/keptUp") == Some(&Value::Bool(false)) {
            remarks.push(format!(
                "in the {name} run the generator itself was late: its latencies are not the server's"
            ));
        }
    }
    if [old, new]
        .iter()
        .any(|value| value.pointer("/target/locality").and_then(Value::as_str) == Some("loopback"))
    {
        remarks.push(LOOPBACK.to_owned());
    }
    remarks
}

/// What is compared of each series.
const SERIES_FIGURES: [(&str, &str, Kind); 5] = [
    ("lost", "/loss", Kind::Loss),
    ("p50", "/latency/p50", Kind::Latency),
    ("p99", "/latency/p99", Kind::Latency),
    ("p99.9", "/latency/p999", Kind::Latency),
    ("jitter", "/jitter/mean", Kind::Latency),
];
/// Microseconds below which a difference means nothing.
const SHORTEST_DIFFERENCE: f64 = 1.0;
/// The same for loss: a tenth of a percent.
const SMALLEST_LOSS: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn result(p99: f64, loss: f64, carried: u32) -> Value {
        json!({
            "schema": SCHEMA,
            "profile": { "name": "audio" },
            "target": { "transport": "udp", "locality": "private" },
            "plan": { "kind": "ramp" },
            "measured": { "level": 100 },
            "series": [{ "name": "client to peer", "loss": loss, "latency": { "p50": 100.0, "p99": p99 } }],
            "knee": { "carried": carried },
            "server": { "each": 5.0 },
        })
    }

    fn changes(comparison: &Comparison) -> Vec<(&str, Change)> {
        let changed = comparison.rows.iter().filter(|row| row.change != Change::Same);
        changed.map(|row| (row.name.as_str(), row.change)).collect()
    }

    #[test]
    fn what_became_better_or_worse_is_told_from_noise() {
        let old = result(1000.0, 0.0, 400);
        let same = Comparison::of(&old, &result(1050.0, 0.0005, 390), 0.1);
        assert_eq!(changes(&same), []);
        assert!(same.text().contains("No difference beyond noise."));
        let new = Comparison::of(&old, &result(2000.0, 0.02, 800), 0.1);
        assert_eq!(
            changes(&new),
            [
                ("carried at the knee", Change::Better),
                ("client to peer: lost", Change::Worse),
                ("client to peer: p99", Change::Worse)
            ]
        );
        assert!(new.text().contains("1 better, 2 worse"), "{}", new.text());
        assert!(new.text().contains("+100 %"), "{}", new.text());
    }

    #[test]
    fn a_wider_tolerance_forgives_more() {
        let (old, new) = (result(1000.0, 0.0, 400), result(1400.0, 0.0, 400));
        assert_eq!(changes(&Comparison::of(&old, &new, 0.1)), [("client to peer: p99", Change::Worse)]);
        assert_eq!(changes(&Comparison::of(&old, &new, 0.5)), []);
    }

    #[test]
    fn runs_that_are_not_alike_are_said_to_be() {
        let (old, mut new) = (result(1.0, 0.0, 1), result(1.0, 0.0, 1));
        new["profile"]["name"] = json!("video");
        new["generator"] = json!({ "keptUp": false });
        let remarks = Comparison::of(&old, &new, 0.1).remarks;
        assert!(remarks.iter().any(|remark| remark.contains("profile")), "{remarks:?}");
        assert!(remarks.iter().any(|remark| remark.contains("new run the generator")), "{remarks:?}");
    }

    #[test]
    fn latencies_of_a_late_generator_are_blamed_on_nobody() {
        let (old, mut new) = (result(1000.0, 0.0, 400), result(9000.0, 0.05, 400));
        new["generator"] = json!({ "keptUp": false });
        let comparison = Comparison::of(&old, &new, 0.1);
        assert_eq!(
            changes(&comparison),
            [("client to peer: lost", Change::Worse), ("client to peer: p99", Change::Unsure)]
        );
    }
}
