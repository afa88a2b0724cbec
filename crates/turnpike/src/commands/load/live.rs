//! What is to be seen while a run goes on: on a terminal a few lines that change in place, elsewhere a line now and then.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use super::generator::Task;
use super::ramp::Step;
use super::recorder::Interval;
use super::words::{bits, count, duration, percent, seconds};
use crate::drawing::{CYAN, GREEN, History, MAGENTA, Paint, RED, YELLOW, bar, cut};
use crate::terminal::shows_colour;

/// The view of a run.
pub(super) struct Live {
    style: Style,
    title: String,
    unit: &'static str,
    items: &'static str,
    has_media: bool,
    bits_per_packet: f64,
    /// The level that fills the bar.
    full: u32,
    /// Lines that stand below the cursor's first.
    drawn: usize,
    rates: History,
    losses: History,
    p99s: History,
    servers: History,
    /// When the last plain line was written.
    written: Option<Duration>,
}

/// What there is to show.
#[derive(Clone, Debug)]
pub(super) struct Glance {
    pub(super) phase: &'static str,
    /// Until the phase ends; zero if nobody knows.
    pub(super) left: Duration,
    pub(super) elapsed: Duration,
    pub(super) level: u32,
    pub(super) established: u32,
    pub(super) failed: u32,
    /// The last intervals that are complete, and how long they are together.
    pub(super) sum: Interval,
    pub(super) span: Duration,
    /// Cores that are busy.
    pub(super) server: Option<f64>,
    pub(super) generator: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Lines that change in place, in colour or not.
    Moving { colour: bool },
    /// A line now and then.
    Plain,
}

impl Live {
    /// On standard error, so that standard output holds the results alone.
    pub(super) fn new(task: &Task, full: u32) -> Self {
        let terminal =
            io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let style =
            if terminal { Style::Moving { colour: shows_colour(&io::stderr()) } } else { Style::Plain };
        Live {
            style,
            title: format!("{} over {} to {}", task.profile.name(), task.target.transport, task.target.uri),
            unit: task.profile.unit(),
            items: task.profile.items(),
            has_media: task.profile.has_media(),
            bits_per_packet: task.bits_per_call() / task.packets_per_call().max(1e-9),
            full: full.max(1),
            drawn: 0,
            rates: History::default(),
            losses: History::default(),
            p99s: History::default(),
            servers: History::default(),
            written: None,
        }
    }

    /// How long to wait between two calls of [`Live::show`].
    pub(super) fn pause(&self) -> Duration {
        match self.style {
            Style::Moving { .. } => Duration::from_millis(250),
            Style::Plain => Duration::from_secs(1),
        }
    }

    pub(super) fn show(&mut self, glance: &Glance) {
        match self.style {
            Style::Moving { colour } => {
                let width = terminal_size::terminal_size_of(io::stderr()).map_or(80, |(width, _)| width.0);
                let lines = self.lines(glance, usize::from(width), colour);
                self.redraw(&lines);
            }
            Style::Plain if self.is_time(glance.elapsed) => {
                self.written = Some(glance.elapsed);
                let _ = writeln!(io::stderr(), "{}", self.plain_line(glance));
            }
            Style::Plain => {}
        }
    }

    /// A step of a search has ended.
    pub(super) fn note_step(&mut self, step: &Step) {
        self.clear();
        let outcome =
            step.limit.map_or("carried".to_owned(), |limit| format!("not carried: {}", limit.word()));
        let level = format!("{} {}", count(u64::from(step.level)), self.unit);
        let (loss, p99) = (percent(step.worst_loss()), duration(step.worst_p99()));
        let _ = writeln!(io::stderr(), "  {level:>18}   loss {loss:>8}   p99 {p99:>9}   {outcome}");
    }

    /// Takes the moving lines away.
    pub(super) fn clear(&mut self) {
        self.redraw(&[]);
    }

    /// Early on often, later seldom.
    fn is_time(&self, elapsed: Duration) -> bool {
        let pause =
            if elapsed < Duration::from_secs(60) { Duration::from_secs(1) } else { Duration::from_secs(10) };
        self.written.is_none_or(|written| elapsed.saturating_sub(written) >= pause)
    }

    fn plain_line(&self, glance: &Glance) -> String {
        let total = glance.sum.total();
        let rate = total.sent as f64 / glance.span.as_secs_f64().max(1e-9);
        let mut line = format!("{:>4.0} s  {:<10}", glance.elapsed.as_secs_f64(), glance.phase);
        line += &format!("  {} {}", count(u64::from(self.shown_level(glance))), self.unit);
        line += &format!("  {} {}/s  loss {}", count(rate.round() as u64), self.items, percent(total.loss()));
        line += &format!("  p50 {}", duration(total.latency.quantile(0.5)));
        line += &format!("  p99 {}", duration(total.latency.quantile(0.99)));
        if let Some(server) = glance.server {
            line += &format!("  server {}", cores(server));
        }
        if glance.failed > 0 {
            line += &format!("  {} failed", count(u64::from(glance.failed)));
        }
        line
    }

    fn shown_level(&self, glance: &Glance) -> u32 {
        if self.has_media { glance.established.min(glance.level) } else { glance.level }
    }

    /// The lines of the moving view, each at most `width` wide.
    fn lines(&mut self, glance: &Glance, width: usize, colour: bool) -> Vec<String> {
        let total = glance.sum.total();
        let rate = total.sent as f64 / glance.span.as_secs_f64().max(1e-9);
        let p99 = total.latency.quantile(0.99);
        self.rates.push(rate);
        self.losses.push(total.loss());
        self.p99s.push(p99.unwrap_or_default().as_secs_f64());
        self.servers.push(glance.server.unwrap_or_default());
        let paint = Paint(colour);
        // Label, picture, words.
        let room = width.saturating_sub(LABEL + WORDS + 4).clamp(10, 60);
        let level = self.shown_level(glance);
        let phase = match glance.left.as_secs() {
            0 => glance.phase.to_owned(),
            left => format!("{}, {} left", glance.phase, seconds(left as f64)),
        };
        let target = count(u64::from(glance.level));
        let of = if self.has_media {
            format!("{} of {target} calls", count(u64::from(level)))
        } else {
            format!("{target} {}", self.unit)
        };
        let bits =
            if self.has_media { format!("  {}", bits(rate * self.bits_per_packet)) } else { String::new() };
        let loss_colour = if total.loss() > 0.01 { RED } else { GREEN };
        let latency = format!("{}   p50 {}", duration(p99), duration(total.latency.quantile(0.5)));
        let mut rows = vec![
            (
                self.unit,
                bar(level.into(), self.full.max(glance.level).into(), room),
                CYAN,
                format!("{of}   {phase}"),
            ),
            (self.items, self.rates.sparkline(room), CYAN, format!("{}/s{bits}", count(rate.round() as u64))),
            ("loss", self.losses.sparkline(room), loss_colour, percent(total.loss())),
            ("p99", self.p99s.sparkline(room), YELLOW, latency),
        ];
        if let Some(server) = glance.server {
            let generator =
                glance.generator.map_or_else(String::new, |busy| format!("   generator {}", cores(busy)));
            rows.push((
                "server",
                self.servers.sparkline(room),
                MAGENTA,
                format!("{}{generator}", cores(server)),
            ));
        }
        if glance.failed > 0 {
            rows.push(("failed", " ".repeat(room), RED, count(u64::from(glance.failed))));
        }
        let mut lines = vec![paint.bold(&cut(&self.title, width.saturating_sub(1)))];
        for (label, picture, shade, words) in rows {
            let words = cut(&words, width.saturating_sub(LABEL + room + 5));
            lines.push(format!("  {label:<LABEL$} {} {words}", paint.in_colour(&picture, shade)));
        }
        lines
    }

    fn redraw(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.drawn > 0 {
            text += &format!("\u{1b}[{}F\u{1b}[J", self.drawn);
        }
        lines.iter().for_each(|line| text += &format!("{line}\n"));
        self.drawn = lines.len();
        let mut stderr = io::stderr().lock();
        let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
    }
}

/// `12 %` of a core, `1.5 cores`.
pub(super) fn cores(busy: f64) -> String {
    if busy < 0.9995 { format!("{:.0} % CPU", busy * 100.0) } else { format!("{busy:.2} cores") }
}

/// Columns of the longest label, and of what stands behind the pictures.
const LABEL: usize = 10;
const WORDS: usize = 40;
