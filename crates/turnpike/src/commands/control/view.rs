//! The picture of `turnpike top`.

use serde_json::Value;
use turnpike_control::in_words;

use super::table::aligned;
use super::whole;
use crate::commands::load::words::{bits, count};
use crate::drawing::{CYAN, GREEN, History, MAGENTA, Paint, RED, YELLOW, cut, harmless};

/// The picture, and what was seen before.
pub(super) struct View {
    program: String,
    process: u64,
    sessions: History,
    to_peers: History,
    to_clients: History,
    kernel: History,
    requests: History,
    refusals: History,
}

impl View {
    /// Lines above the list of sessions.
    pub(super) const HEAD: usize = 9;

    pub(super) fn new(status: Value) -> Self {
        View {
            program: status["program"].as_str().unwrap_or_default().to_owned(),
            process: whole(&status["process"]),
            sessions: History::default(),
            to_peers: History::default(),
            to_clients: History::default(),
            kernel: History::default(),
            requests: History::default(),
            refusals: History::default(),
        }
    }

    /// The lines, each at most `width` wide, with as many sessions as there are `rows` for.
    pub(super) fn lines(
        &mut self,
        glance: &Value,
        (width, rows): (usize, usize),
        colour: bool,
    ) -> Vec<String> {
        self.remember(glance);
        let paint = Paint(colour);
        let room = width.saturating_sub(LABEL + WORDS + 5).clamp(10, 60);
        let mut lines = vec![paint.bold(&cut(&self.title(glance), width))];
        for (label, history, shade, words) in self.gauges(glance) {
            let picture = paint.in_colour(&history.sparkline(room), shade);
            let words = cut(&words, width.saturating_sub(LABEL + room + 5));
            lines.push(format!("  {label:<LABEL$} {picture} {words}"));
        }
        lines.push(String::new());
        let sessions =
            glance["sessions"].as_array().map_or(&[][..], |sessions| &sessions[..sessions.len().min(rows)]);
        let cells: Vec<Vec<String>> = sessions.iter().map(cells).collect();
        let mut table = aligned(HEADINGS, &cells).into_iter().map(|line| cut(&line, width));
        lines.extend(table.next().map(|headings| paint.bold(&headings)));
        lines.extend(table);
        lines
    }

    fn remember(&mut self, glance: &Value) {
        let rate = |name| rate(glance, name);
        for (history, value) in [
            (&mut self.sessions, whole(&glance["allocations"]) as f64),
            (&mut self.to_peers, rate("clientBytes")),
            (&mut self.to_clients, rate("peerBytes")),
            (&mut self.kernel, kernel_share(glance)),
            (&mut self.requests, rate("requests")),
            (&mut self.refusals, rate("refusals")),
        ] {
            history.push(value);
        }
    }

    /// Label, what it was, colour, what it is.
    fn gauges(&self, glance: &Value) -> [(&'static str, &History, u8, String); 6] {
        let per_second = |name| count(rate(glance, name).round() as u64);
        let traffic = |bytes, packets| {
            format!("{}   {} packets/s", bits(rate(glance, bytes) * 8.0), per_second(packets))
        };
        let sessions = format!(
            "{}   +{}/s −{}/s   {} relayed in the kernel",
            count(whole(&glance["allocations"])),
            per_second("allocationsMade"),
            per_second("allocationsEnded"),
            count(whole(&glance["inKernel"]))
        );
        let kernel = format!("{:.0} % of the packets", kernel_share(glance) * 100.0);
        let requests = format!("{}/s, {} refused", per_second("requests"), per_second("errors"));
        let refusals = format!("{}/s of packets and requests", per_second("refusals"));
        [
            ("sessions", &self.sessions, CYAN, sessions),
            ("to peers", &self.to_peers, GREEN, traffic("clientBytes", "clientPackets")),
            ("to clients", &self.to_clients, GREEN, traffic("peerBytes", "peerPackets")),
            ("kernel", &self.kernel, MAGENTA, kernel),
            ("requests", &self.requests, YELLOW, requests),
            ("refusals", &self.refusals, RED, refusals),
        ]
    }

    fn title(&self, glance: &Value) -> String {
        let stage = glance["draining"].as_str().unwrap_or("Serving");
        let up = in_words(whole(&glance["uptime"]));
        format!("{}, process {}, up {up}   {stage}", self.program, self.process)
    }
}

/// What is gained each second.
fn rate(glance: &Value, name: &str) -> f64 {
    glance["rates"][name].as_f64().unwrap_or_default()
}

/// Of all packets, how many the kernel relays: 0 to 1.
fn kernel_share(glance: &Value) -> f64 {
    let all = rate(glance, "clientPackets") + rate(glance, "peerPackets");
    rate(glance, "kernelPackets") / all.max(1e-9)
}

fn cells(session: &Value) -> Vec<String> {
    let text = |name: &str| harmless(session[name].as_str().unwrap_or_default());
    let rate = |name: &str| bits(session[name].as_f64().unwrap_or_default() * 8.0);
    vec![
        text("id").trim_start_matches('0').to_owned(),
        cut(&text("user"), LONGEST_USER),
        text("transport"),
        text("client"),
        in_words(whole(&session["age"])),
        rate("clientRate"),
        rate("peerRate"),
        text("path"),
    ]
}

const HEADINGS: &[&str] = &["SESSION", "USER", "BY", "CLIENT", ">AGE", ">TO PEERS", ">TO CLIENT", "PATH"];
const LONGEST_USER: usize = 32;
/// Columns of the longest label, and of what stands behind the pictures.
const LABEL: usize = 10;
const WORDS: usize = 46;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_fits_the_terminal_and_a_hostile_name_does_no_harm() {
        let session = json!({
            "id": "001000000000000007", "user": "\u{1b}[2Jmallory", "transport": "UDP", "client": "203.0.113.9:4000",
            "age": 61, "clientRate": 125_000.0, "peerRate": 0.0, "path": "kernel",
        });
        let glance = json!({
            "allocations": 1234, "inKernel": 37, "uptime": 3700, "draining": null,
            "rates": { "clientBytes": 1e6, "clientPackets": 1000.0, "kernelPackets": 500.0 },
            "sessions": vec![session; 50],
        });
        let mut view = View::new(json!({ "program": "Turnpike 1", "process": 7 }));
        for (width, rows) in [(80, 10), (200, 3), (20, 1)] {
            let lines = view.lines(&glance, (width, rows), false);
            assert_eq!(lines.len(), View::HEAD + rows, "{width}");
            assert!(
                width < 60 || lines.iter().all(|line| line.chars().count() <= width),
                "{width}: {lines:#?}"
            );
            assert!(lines.iter().all(|line| !line.contains('\u{1b}')), "{lines:#?}");
        }
        let text = view.lines(&glance, (200, 3), false).join("\n");
        for wanted in [
            "Turnpike 1, process 7, up 1 h 1 min",
            "1,234",
            "37 relayed in the kernel",
            "8.0 Mbit/s",
            "50 % of",
            "1000000000000007",
            "1.0 Mbit/s",
        ] {
            assert!(text.contains(wanted), "{wanted} in\n{text}");
        }
        assert!(view.lines(&glance, (80, 1), true)[0].starts_with("\u{1b}[1m"));
    }
}
