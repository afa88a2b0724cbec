//! The results as one table for people, at most 80 columns wide.

use std::fmt::Write as _;
use std::time::Duration;

use super::histogram::Histogram;
use super::live::cores;
use super::profile::Profile;
use super::recorder::Tally;
use super::report::Report;
use super::words::{amount, bits, bytes, count, duration, percent, seconds};

/// Adds a line to a text.
macro_rules! line {
    ($text:ident, $($line:tt)*) => {{ let _ = writeln!($text, $($line)*); }};
}

/// The whole text, its headings without a blank in front.
pub(super) fn text(report: &Report) -> String {
    let mut text = String::new();
    let task = &report.task;
    line!(
        text,
        "Turnpike load: {} over {} to {}",
        task.profile.name(),
        task.target.transport,
        task.target.uri
    );
    text += &wrapped(&measured(report), 2);
    if let Some(note) = report.locality_note() {
        line!(text, "  {note}");
    }
    text += "\nResults\n";
    text += &columns(report);
    text += &set_up_and_cost(report);
    if !report.steps.is_empty() {
        text += "\nSteps\n";
        text += &steps(report);
    }
    if !report.warnings.is_empty() {
        text += "\nMind\n";
        report.warnings.iter().for_each(|warning| text += &wrapped(warning, 2));
    }
    text + "\n" + &wrapped(&report.verdict(), 0)
}

/// How much there was of it, and for how long.
pub(super) fn measured(report: &Report) -> String {
    let task = &report.task;
    let mut text = amount(report.level, task.profile.unit());
    if task.profile.has_media() && report.established < report.level {
        text += &format!(" wanted, {} up", count(u64::from(report.established)));
    }
    text += &format!(", measured for {}", seconds(report.seconds()));
    text += &format!(", {} {}/s", count(report.rate().round() as u64), task.profile.items());
    if task.profile.has_media() {
        text += &format!(", {}", bits(report.bits_per_second()));
    }
    text
}

/// The rows of the table of results: a name, and a cell for each series.
pub(super) fn rows(report: &Report) -> Vec<(&'static str, Vec<String>)> {
    let tallies = &report.sum.tallies;
    let row = |cell: &dyn Fn(&Tally) -> String| tallies.iter().map(cell).collect::<Vec<_>>();
    let time = |get: fn(&Histogram) -> Option<Duration>| row(&|tally| duration(get(&tally.latency)));
    let mut rows = vec![
        ("sent", row(&|tally| count(tally.sent))),
        (
            "lost",
            row(&|tally| match tally.lost() {
                0 => "0".to_owned(),
                lost => format!("{} ({})", count(lost), percent(tally.loss())),
            }),
        ),
    ];
    if tallies.iter().any(|tally| tally.no_room > 0) {
        rows.push(("no room to send", row(&|tally| count(tally.no_room))));
    }
    if tallies.iter().any(|tally| tally.failed > 0) {
        rows.push(("refused", row(&|tally| count(tally.failed))));
    }
    if report.task.profile != Profile::Churn {
        rows.push(("reordered", row(&|tally| count(tally.reordered))));
        rows.push(("duplicated", row(&|tally| count(tally.duplicated))));
    }
    rows.push(("latency p50", time(|latency| latency.quantile(0.5))));
    rows.push(("latency p99", time(|latency| latency.quantile(0.99))));
    rows.push(("latency p99.9", time(|latency| latency.quantile(0.999))));
    rows.push(("latency max", time(Histogram::max)));
    if report.task.profile.has_media() {
        let jitter = |nanoseconds: Option<u64>| duration(nanoseconds.map(Duration::from_nanos));
        rows.push(("jitter mean", row(&|tally| jitter(tally.jitter_mean()))));
        rows.push(("jitter max", row(&|tally| jitter((tally.received > 0).then_some(tally.jitter_max)))));
    }
    rows
}

/// Names and values of what it took: set-up, server, generator.
pub(super) fn costs(report: &Report) -> Vec<(&'static str, String)> {
    let mut costs = Vec::new();
    let set_up = &report.recorder.set_up;
    if set_up.count() > 0 {
        costs.push((
            "set-up",
            format!(
                "{} calls, p50 {}, p99 {}",
                count(set_up.count()),
                duration(set_up.quantile(0.5)),
                duration(set_up.quantile(0.99))
            ),
        ));
    }
    if let Some(cost) = &report.server {
        let mut text = format!("{} ({}): {}", cost.server.name, cost.server.process, cores(cost.cores));
        if let Some(each) = cost.each {
            text += &format!(
                ", {} a {}",
                duration(Some(each)),
                report.task.profile.items().trim_end_matches('s')
            );
        }
        if let Some(memory) = cost.memory {
            text += &format!(", {}", bytes(memory));
        }
        costs.push(("server", text));
    }
    let late = duration(report.sum.lateness.quantile(0.99));
    let threads = report.task.threads;
    let threads = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
    costs.push((
        "generator",
        format!("{threads}, {}, p99 of being late {late}", cores(report.generator.cores)),
    ));
    costs
}

fn columns(report: &Report) -> String {
    let mut text = String::new();
    let cell = |text: &str| format!("{text:>17}");
    let series: Vec<&str> = report.task.profile.series().to_vec();
    // Four columns of 15 or two of 17 fit 80 columns.
    let width = if series.len() > 2 { 15 } else { 17 };
    let cell = |text: &str| if width == 17 { cell(text) } else { format!("{text:>15}") };
    let joined = |cells: &mut dyn Iterator<Item = String>| cells.collect::<String>();
    line!(text, "  {:<16}{}", "", joined(&mut series.iter().map(|name| cell(name))));
    for (name, cells) in rows(report) {
        line!(text, "  {name:<16}{}", joined(&mut cells.iter().map(|text| cell(text))));
    }
    text
}

fn set_up_and_cost(report: &Report) -> String {
    let mut text = String::from("\n");
    for (name, value) in costs(report) {
        line!(text, "  {name:<16}{value}");
    }
    text
}

fn steps(report: &Report) -> String {
    let mut text = String::new();
    line!(text, "  {:>12}{:>11}{:>12}{:>12}   {}", report.task.profile.unit(), "loss", "p50", "p99", "");
    for step in &report.steps {
        let total = step.sum.total();
        let outcome = step.limit.map_or("carried".to_owned(), |limit| limit.word().to_owned());
        line!(
            text,
            "  {:>12}{:>11}{:>12}{:>12}   {outcome}",
            count(u64::from(step.level)),
            percent(step.worst_loss()),
            duration(total.latency.quantile(0.5)),
            duration(step.worst_p99()),
        );
    }
    text
}

/// A paragraph of at most 80 columns, indented; what follows its first line by two more, if it is at all.
fn wrapped(paragraph: &str, indent: usize) -> String {
    let hanging = if indent == 0 { 0 } else { indent + 2 };
    let (mut text, mut column) = (" ".repeat(indent), indent);
    for (index, word) in paragraph.split_whitespace().enumerate() {
        let length = word.chars().count();
        if index > 0 && column + 1 + length > 80 {
            text += &format!("\n{}", " ".repeat(hanging));
            column = hanging;
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text += word;
        column += length;
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_are_wrapped_at_eighty_columns_and_lose_no_word() {
        let paragraph = "the generator itself was late and so on ".repeat(9);
        let text = wrapped(&paragraph, 2);
        assert!(text.lines().all(|line| line.chars().count() <= 80 && line.starts_with("  ")), "{text}");
        assert_eq!(
            text.split_whitespace().collect::<Vec<_>>(),
            paragraph.split_whitespace().collect::<Vec<_>>()
        );
        assert_eq!(wrapped("short one", 2), "  short one\n");
        assert!(wrapped(&paragraph, 0).lines().all(|line| !line.starts_with(' ')));
    }
}
