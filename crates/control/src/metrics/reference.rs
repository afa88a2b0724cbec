//! The reference page of the metrics, made from the list of them.

use std::fmt::Write as _;

use crate::metrics::families::{GROUPS, Kind};

/// A table of every metric in Markdown, by what they are about.
pub fn reference() -> String {
    let mut text = String::new();
    for (group, families) in GROUPS {
        let _ = write!(text, "\n### {group}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n");
        for family in *families {
            let kind = match family.kind {
                Kind::Counter | Kind::CoturnCounter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let _ =
                writeln!(text, "| `{}` | {kind} | {} | {} |", family.name, labels.join(", "), family.help);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_metric_as_it_is_declared() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("where the list begins");
        let (listed, after) = rest.split_once(END).expect("where the list ends");
        if std::env::var_os("TURNPIKE_WRITE_METRICS").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}\n{}\n{END}{after}", reference())).unwrap();
            return;
        }
        let remedy = "bring docs/metrics.md up to date: TURNPIKE_WRITE_METRICS=1 cargo test -p turnpike-control reference";
        assert!(listed.trim() == reference().trim(), "{remedy}");
    }

    const BEGIN: &str = "<!-- metrics: written by a test -->";
    const END: &str = "<!-- end of metrics -->";
}
