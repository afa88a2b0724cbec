//! Metrics as text: the one format that everybody reads, and OpenMetrics for whoever asks for it.
//!
//! They differ little: OpenMetrics names a counter's family without `_total`, knows no counters without that suffix, and
//! ends with a line that says so. coturn's counters have none; there they are of unknown type, so that each is called
//! the same in both.

use std::fmt::Write as _;

use turnpike_turn::Histogram;

use crate::metrics::families::{Family, Kind};

/// A text in the making.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The one that a client likes best, by its Accept header; plain text where it does not care.
    pub fn preferred(accept: Option<&str>) -> Self {
        let quality = |wanted: &str| {
            let ranges = accept.unwrap_or_default().split(',').filter_map(|range| {
                let mut parts = range.split(';').map(str::trim);
                let is_it = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
                let mut quality = 1.0_f32;
                for part in parts {
                    if let Some(value) = part.strip_prefix("q=") {
                        quality = value.parse().unwrap_or(0.0);
                    } else if let Some(version) = part.strip_prefix("version=")
                        && wanted == OPENMETRICS
                        && version != "1.0.0"
                    {
                        quality = 0.0;
                    }
                }
                is_it.then_some(quality)
            });
            ranges.fold(0.0, f32::max)
        };
        let wanted = quality(OPENMETRICS);
        if wanted > 0.0 && wanted >= quality("text/plain") { Format::OpenMetrics } else { Format::Text }
    }

    /// Its content type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Exposition {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Exposition { format, text: String::with_capacity(32 * 1024) }
    }

    /// Begins a family: what is written next belongs to it.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let name = match (self.format, family.kind) {
            (Format::OpenMetrics, Kind::Counter) => family.name.strip_suffix("_total").unwrap_or(family.name),
            _ => family.name,
        };
        let kind = match (self.format, family.kind) {
            (Format::OpenMetrics, Kind::CoturnCounter) => "unknown",
            (_, Kind::Counter | Kind::CoturnCounter) => "counter",
            (_, Kind::Gauge) => "gauge",
            (_, Kind::Histogram) => "histogram",
        };
        let help = family.help;
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Samples { text: &mut self.text, family }
    }

    /// The whole text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// The samples of a family.
#[derive(Debug)]
pub struct Samples<'e> {
    text: &'e mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// The only one.
    pub fn value(&mut self, value: impl Into<Number>) {
        self.labelled(&[], value);
    }

    /// One of several, told apart by the values of the family's labels, in their order.
    pub fn labelled(&mut self, labels: &[&str], value: impl Into<Number>) {
        debug_assert_eq!(labels.len(), self.family.labels.len(), "{}", self.family.name);
        self.text.push_str(self.family.name);
        for (index, (name, value)) in self.family.labels.iter().zip(labels).enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"");
            escape(self.text, value);
            self.text.push('"');
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        self.text.push(' ');
        value.into().write(self.text);
        self.text.push('\n');
    }

    /// All of a histogram, in seconds.
    pub fn histogram<const BOUNDS: usize>(&mut self, histogram: &Histogram<BOUNDS>) {
        let (name, count) = (self.family.name, histogram.count());
        for (bound, count) in histogram.cumulative() {
            let _ = writeln!(self.text, "{name}_bucket{{le=\"{:?}\"}} {count}", bound.as_secs_f64());
        }
        let _ = writeln!(self.text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(self.text, "{name}_sum {}", histogram.sum().as_secs_f64());
        let _ = writeln!(self.text, "{name}_count {count}");
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// A count.
    Whole(u64),
    /// Anything else.
    Real(f64),
}

impl Number {
    fn write(self, text: &mut String) {
        let _ = match self {
            Number::Whole(value) => write!(text, "{value}"),
            Number::Real(value) => write!(text, "{value}"),
        };
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number::Whole(value)
    }
}

impl From<u32> for Number {
    fn from(value: u32) -> Self {
        Number::Whole(value.into())
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Number::Whole(value.into())
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Number::Real(value)
    }
}

/// Realms and accounts may hold anything.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            _ => text.push(character),
        }
    }
}

const OPENMETRICS: &str = "application/openmetrics-text";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    static COUNTER: Family =
        Family { name: "a_total", kind: Kind::Counter, labels: &["one", "two"], help: "What it is." };
    static COTURNS: Family =
        Family { name: "turn_packet_dropped", kind: Kind::CoturnCounter, labels: &[], help: "Dropped." };
    static TIMES: Family = Family { name: "t_seconds", kind: Kind::Histogram, labels: &[], help: "Times." };
    const BOUNDS: [Duration; 2] = [Duration::from_micros(10), Duration::from_secs(1)];

    fn written(format: Format) -> String {
        let mut text = Exposition::new(format);
        text.family(&COUNTER).labelled(&["x", "a\"b\\c\nd"], 7u64);
        text.family(&COTURNS).value(3u64);
        let mut histogram = Histogram::new(&BOUNDS);
        histogram.note(Duration::from_millis(500));
        text.family(&TIMES).histogram(&histogram);
        text.finish()
    }

    #[test]
    fn both_formats_give_every_series_the_same_name_and_labels() {
        let text = written(Format::Text);
        let expected = "# HELP a_total What it is.\n# TYPE a_total counter\n\
                        a_total{one=\"x\",two=\"a\\\"b\\\\c\\nd\"} 7\n\
                        # HELP turn_packet_dropped Dropped.\n# TYPE turn_packet_dropped counter\n\
                        turn_packet_dropped 3\n\
                        # HELP t_seconds Times.\n# TYPE t_seconds histogram\n\
                        t_seconds_bucket{le=\"1e-5\"} 0\nt_seconds_bucket{le=\"1.0\"} 1\n\
                        t_seconds_bucket{le=\"+Inf\"} 1\nt_seconds_sum 0.5\nt_seconds_count 1\n";
        assert_eq!(text, expected);
        let open = written(Format::OpenMetrics);
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        assert_eq!(samples(&open), samples(&text));
        assert!(open.contains("# TYPE a counter\n") && open.contains("# TYPE turn_packet_dropped unknown\n"));
        assert!(open.ends_with("# EOF\n"));
    }

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::preferred(Some(prometheus)), Format::OpenMetrics);
        for accept in [
            None,
            Some("*/*"),
            Some("text/plain"),
            Some("application/openmetrics-text;q=0"),
            Some("application/openmetrics-text;q=0.1, text/plain"),
            Some("application/openmetrics-text; version=0.0.1"),
            Some(";;q=,,q=x"),
        ] {
            assert_eq!(Format::preferred(accept), Format::Text, "{accept:?}");
        }
    }
}
