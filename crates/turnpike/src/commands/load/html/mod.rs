//! The results as one page that needs nothing else: no script, no font, no picture from elsewhere.

mod plot;
mod style;

use std::fmt::Write as _;
use std::time::Duration;

use self::plot::{Bars, Line, Plot};
use self::style::STYLE;
use super::histogram::Histogram;
use super::ramp::Step;
use super::report::{Point, Report};
use super::table::{costs, measured, rows};
use super::words::{self, bits, bytes, count, duration, percent, seconds};

/// Adds a line to a text.
macro_rules! line {
    ($text:ident, $($line:tt)*) => {{ let _ = writeln!($text, $($line)*); }};
}

/// The page.
pub(super) fn page(report: &Report) -> String {
    let task = &report.task;
    let title = format!("{} over {} to {}", task.profile.name(), task.target.transport, task.target.uri);
    let mut page = String::new();
    line!(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>");
    line!(page, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>");
    line!(
        page,
        "<title>Turnpike load: {}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
        escaped(&title)
    );
    line!(page, "<header>\n<div class=\"kind\">Turnpike load · {}</div>", escaped(&title));
    line!(page, "<h1>{}</h1>", escaped(&report.verdict()));
    line!(page, "<p class=\"facts\">{}</p>", escaped(&measured(report)));
    if let Some(note) = report.locality_note() {
        line!(page, "<div class=\"badge\">{}</div>", escaped(note));
    }
    line!(page, "</header>\n<section class=\"tiles\">{}</section>", tiles(report));
    if !report.warnings.is_empty() {
        line!(page, "<aside class=\"mind\"><strong>Mind</strong><ul>");
        report.warnings.iter().for_each(|warning| line!(page, "<li>{}</li>", escaped(warning)));
        line!(page, "</ul></aside>");
    }
    if !report.steps.is_empty() {
        line!(page, "<h2>Steps</h2>\n<section class=\"plots\">{}</section>", step_plots(report));
        line!(page, "<h2>Every step</h2>\n<section class=\"card\">{}</section>", step_table(report));
    }
    line!(page, "<h2>Results</h2>\n<section class=\"card\">{}</section>", result_table(report));
    line!(page, "<h2>Latency</h2>\n<section class=\"plots\">{}</section>", histograms(report));
    line!(page, "<h2>Over time</h2>\n<section class=\"plots\">{}</section>", time_plots(report));
    line!(page, "<h2>What it took</h2>\n<section class=\"card\">{}</section>", cost_table(report));
    line!(page, "{}", footer(report));
    line!(page, "</main>\n</body>\n</html>");
    page
}

/// Text that cannot be taken for markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            character => safe.push(character),
        }
    }
    safe
}

fn tiles(report: &Report) -> String {
    let total = report.sum.total();
    let worst =
        |share: f64| report.sum.tallies.iter().filter_map(|tally| tally.latency.quantile(share)).max();
    let profile = report.task.profile;
    let loss = report.worst_loss();
    let mut tiles = vec![
        (count(u64::from(report.level)), profile.unit().to_owned(), ""),
        (count(report.rate().round() as u64), format!("{} a second", profile.items()), ""),
    ];
    if profile.has_media() {
        tiles.push((bits(report.bits_per_second()), "of payload, both ways".to_owned(), ""));
    }
    let lost = if total.lost() == 0 {
        "good"
    } else if loss > 0.01 {
        "bad"
    } else {
        ""
    };
    tiles.push((percent(loss), "lost, at worst".to_owned(), lost));
    tiles.push((duration(worst(0.5)), "p50".to_owned(), ""));
    tiles.push((duration(worst(0.99)), "p99".to_owned(), ""));
    if let Some(cost) = &report.server {
        tiles.push((super::live::cores(cost.cores), format!("the server, {}", cost.server.name), ""));
    }
    let tile = |(value, name, class): (String, String, &str)| {
        format!("<div class=\"tile {class}\"><b>{}</b><span>{}</span></div>", escaped(&value), escaped(&name))
    };
    tiles.into_iter().map(tile).collect()
}

fn result_table(report: &Report) -> String {
    let heads = report.task.profile.series().iter().map(|name| format!("<th>{}</th>", escaped(name)));
    let mut table = format!("<table><thead><tr><th></th>{}</tr></thead><tbody>", heads.collect::<String>());
    for (name, cells) in rows(report) {
        let class = if name == "lost" { " class=\"lost\"" } else { "" };
        let cell = |cell: &String| {
            let class = if cell == "0" { "" } else { class };
            format!("<td{class}>{}</td>", escaped(cell))
        };
        line!(table, "<tr><th>{}</th>{}</tr>", escaped(name), cells.iter().map(cell).collect::<String>());
    }
    table + "</tbody></table>"
}

fn cost_table(report: &Report) -> String {
    let row = |(name, value): (&str, String)| {
        format!("<tr><th>{}</th><td class=\"wide\">{}</td></tr>", escaped(name), escaped(&value))
    };
    format!("<table><tbody>{}</tbody></table>", costs(report).into_iter().map(row).collect::<String>())
}

fn step_table(report: &Report) -> String {
    let unit = escaped(report.task.profile.unit());
    let mut table = format!(
        "<table><thead><tr><th>{unit}</th><th>lost</th><th>p50</th><th>p99</th><th>outcome</th></tr></thead><tbody>"
    );
    for step in &report.steps {
        let outcome = match step.limit {
            None => "<td class=\"carried\">carried</td>".to_owned(),
            Some(limit) => format!("<td class=\"lost\">not carried: {}</td>", escaped(limit.word())),
        };
        line!(
            table,
            "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td>{outcome}</tr>",
            count(u64::from(step.level)),
            escaped(&percent(step.worst_loss())),
            duration(step.sum.total().latency.quantile(0.5)),
            duration(step.worst_p99()),
        );
    }
    table + "</tbody></table>"
}

fn step_plots(report: &Report) -> String {
    let mut steps: Vec<&Step> = report.steps.iter().collect();
    // Of a level that was tried twice, the second time counts: it comes last.
    steps.sort_by_key(|step| step.level);
    steps.reverse();
    steps.dedup_by_key(|step| step.level);
    steps.reverse();
    let knee = report.knee.and_then(|knee| knee.level);
    let marks = || {
        knee.map(|level| (f64::from(level), format!("{} carried", count(u64::from(level)))))
            .into_iter()
            .collect()
    };
    let level = |place: f64| count(place.max(0.0) as u64);
    let latency = |share: f64| {
        let of = move |step: &&Step| {
            Some((f64::from(step.level), step.sum.total().latency.quantile(share)?.as_secs_f64()))
        };
        steps.iter().filter_map(of).collect::<Vec<_>>()
    };
    let loss = steps.iter().map(|step| (f64::from(step.level), step.worst_loss())).collect();
    let plots = [
        Plot {
            title: "Latency by load",
            lines: vec![
                Line { name: "p99", colour: 1, filled: false, points: latency(0.99) },
                Line { name: "p50", colour: 0, filled: false, points: latency(0.5) },
            ],
            value: time,
            place: level,
            band: None,
            marks: marks(),
            least_top: 0.0,
            logarithmic: true,
        },
        Plot {
            title: "Loss by load",
            lines: vec![Line { name: "the worse direction", colour: 4, filled: true, points: loss }],
            value: percent,
            place: level,
            band: None,
            marks: marks(),
            least_top: 0.01,
            logarithmic: false,
        },
    ];
    plots.iter().map(Plot::svg).collect()
}

fn time_plots(report: &Report) -> String {
    let of = |value: &dyn Fn(&Point) -> Option<f64>| -> Vec<(f64, f64)> {
        report.points.iter().filter_map(|point| Some((point.at, value(point)?))).collect()
    };
    let plot = |title, lines, value, least_top| Plot {
        title,
        lines,
        value,
        place: seconds,
        band: Some((report.from, report.to)),
        marks: Vec::new(),
        least_top,
        logarithmic: title == LATENCY,
    };
    let line = |name, colour, filled, points| Line { name, colour, filled, points };
    let number = |value: f64| count(value.round().max(0.0) as u64);
    let mut plots = Vec::new();
    if report.task.profile.has_media() {
        let calls = of(&|point| Some(f64::from(point.established)));
        plots.push(plot("Calls", vec![line("up", 2, true, calls)], number, 1.0));
    }
    let (sent, received) = (of(&|point| Some(point.sent)), of(&|point| Some(point.received)));
    let rates = vec![line("sent", 0, true, sent), line("received", 2, false, received)];
    let rate_title = if report.task.profile.has_media() { "Packets a second" } else { "Requests a second" };
    plots.push(plot(rate_title, rates, number, 1.0));
    plots.push(plot("Loss", vec![line("all series", 4, true, of(&|point| Some(point.loss)))], percent, 0.01));
    let p99 = of(&|point| point.p99.map(|time| time.as_secs_f64()));
    let p50 = of(&|point| point.p50.map(|time| time.as_secs_f64()));
    plots.push(plot(LATENCY, vec![line("p99", 1, false, p99), line("p50", 0, false, p50)], time, 0.0));
    let (server, generator) = (of(&|point| point.server_cores), of(&|point| point.generator_cores));
    let mut busy = vec![line("generator", 3, false, generator)];
    if !server.is_empty() {
        busy.insert(0, line("server", 2, true, server));
    }
    let late = of(&|point| point.late.map(|time| time.as_secs_f64()));
    plots.push(plot(LATENESS, vec![line("p99", 3, true, late)], time, 0.001));
    plots.push(plot("Cores kept busy", busy, |cores| format!("{cores:.2}"), 0.05));
    plots.iter().map(Plot::svg).collect()
}

fn histograms(report: &Report) -> String {
    let series = report.task.profile.series().iter().zip(&report.sum.tallies).enumerate();
    let figure = |(index, (name, tally)): (usize, (&&str, &super::recorder::Tally))| {
        let marked = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];
        let mark = |(word, share): (&str, f64)| {
            Some((tally.latency.quantile(share)?.as_secs_f64(), word.to_owned()))
        };
        let title = format!("How long: {name}");
        let bars = Bars {
            title: &title,
            name,
            colour: index % 4,
            bars: bars(&tally.latency),
            place: time,
            marks: marked.into_iter().filter_map(mark).collect(),
        };
        bars.svg()
    };
    series.map(figure).collect()
}

/// Eight bars a doubling, as shares of all.
fn bars(histogram: &Histogram) -> Vec<(f64, f64, f64)> {
    let edge = |index: i32| 2_f64.powf(f64::from(index) / 8.0) * 1e-9;
    let mut bars: Vec<(i32, u64)> = Vec::new();
    for (from, to, count) in histogram.places() {
        let index = ((from + to) as f64 / 2.0).max(1.0).log2() * 8.0;
        let index = index.floor() as i32;
        match bars.last_mut() {
            Some((last, sum)) if *last == index => *sum += count,
            _ => bars.push((index, count)),
        }
    }
    let all = histogram.count().max(1) as f64;
    bars.into_iter().map(|(index, count)| (edge(index), edge(index + 1), count as f64 / all)).collect()
}

fn footer(report: &Report) -> String {
    let machine = &report.machine;
    let mut facts = vec![
        format!("turnpike load {}", env!("CARGO_PKG_VERSION")),
        report.started.clone(),
        format!("{}, {} cores, {}", machine.processor, machine.cores, machine.kernel),
        format!("server at {}", report.task.target.address),
    ];
    for stream in &report.task.streams {
        let (payload, rate) = (stream.payload as u64, stream.packets_per_second().round() as u64);
        facts.push(format!(
            "{} of payload, {} packets a second each way of a call",
            small_bytes(payload),
            count(rate)
        ));
    }
    if let Some(memory) = report.server.as_ref().and_then(|cost| cost.memory) {
        facts.push(format!("server memory {}", bytes(memory)));
    }
    facts.extend(report.locality_note().map(str::to_owned));
    let facts: Vec<String> = facts.iter().map(|fact| escaped(fact)).collect();
    format!("<footer>{}</footer>", facts.join(" · "))
}

fn small_bytes(number: u64) -> String {
    format!("{} bytes", count(number))
}

fn time(seconds: f64) -> String {
    duration(Some(Duration::from_secs_f64(seconds.clamp(0.0, 1e6))))
}

const LATENCY: &str = "Latency";
const LATENESS: &str = "How late the generator was";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_typed_cannot_become_markup() {
        assert_eq!(escaped("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
    }

    #[test]
    fn bars_hold_everything_and_follow_each_other() {
        let mut histogram = Histogram::default();
        (1..5000_u64).for_each(|value| histogram.note(value * value));
        let bars = bars(&histogram);
        assert!((bars.iter().map(|(_, _, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(bars.windows(2).all(|pair| pair[0].1 <= pair[1].0 * 1.000_001));
    }
}
