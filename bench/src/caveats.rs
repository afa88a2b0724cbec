//! What a reader must know: doubts about rows, and how everything was measured.

use crate::facts::Facts;
use crate::rounds::{RowResult, Stopped};
use crate::server::Side;
use crate::table::grouped;

/// What a reader must know before believing a row.
pub(crate) fn warnings(facts: &Facts, results: &[RowResult]) -> Vec<String> {
    let [ours, theirs] = facts.against.names();
    let mut warnings = Vec::new();
    if facts.quick {
        warnings.push("These are short runs (--quick): do not quote them.".to_owned());
    }
    for result in results {
        if let Some(Stopped { why, .. }) = &result.stopped {
            let rounds = match result.rounds.len() {
                0 => "not measured".to_owned(),
                rounds => format!("broken off after {rounds} rounds"),
            };
            warnings.push(format!("{}: {rounds}: {why}.", result.row.name));
        }
        if result.disturbed > 0 {
            warnings.push(format!(
                "{}: rounds thrown away because other work took over 20 % of the server's core: {}.",
                result.row.name, result.disturbed
            ));
        }
        for (side, who) in [(Side::Ours, ours), (Side::Theirs, theirs)] {
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

/// How it was measured.
pub(crate) fn method(facts: &Facts) -> Vec<String> {
    let checksums = match facts.offloads.checksums {
        true => "The virtual devices leave checksums undone, as if a network card did them.",
        false => "Checksum offload is off: every packet's checksum is computed and checked.",
    };
    let segmentation = match facts.offloads.segmentation {
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
                facts.tick.as_micros(),
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
    ("user_200k_lost_percent", 1.0, "of 200,000 frames/s up to {} % were lost"),
    ("user_400k_lost_percent", 1.0, "of 400,000 frames/s up to {} % were lost"),
    ("xdp_400k_lost_percent", 1.0, "at XDP, of 400,000 frames/s up to {} % were lost"),
    ("xdp_flat_out_lost_percent", 1.0, "at XDP, flat out, up to {} % of the frames were lost"),
    ("retransmitted_requests", 0.0, "up to {} requests had to be sent again"),
    ("other_work_percent", 10.0, "other work took up to {} % of the server's core"),
];
