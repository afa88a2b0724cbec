//! The lines scripts look for.

use std::time::Duration;

use super::session::{Counts, Session, Spread};
use crate::tools::output::info;

/// What all sessions together sent, received and measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) counts: Counts,
    delay: Spread,
    jitter: Spread,
}

impl Totals {
    pub(super) fn of(sessions: &[Session]) -> Self {
        let mut totals = Totals::default();
        for session in sessions {
            let counts = &mut totals.counts;
            counts.sent += session.counts.sent;
            counts.received += session.counts.received;
            counts.sent_bytes += session.counts.sent_bytes;
            counts.received_bytes += session.counts.received_bytes;
            counts.send_dropped += session.counts.send_dropped;
            totals.delay.merge(session.delays.delay);
            totals.jitter.merge(session.delays.jitter);
        }
        totals
    }

    /// The line of every second.
    pub(super) fn print_progress(&self, sessions: usize) {
        let Counts { sent, received, sent_bytes, received_bytes, .. } = self.counts;
        info!(
            "start_mclient: msz={sessions}, tot_send_msgs={sent}, tot_recv_msgs={received}, \
             tot_send_bytes ~ {sent_bytes}, tot_recv_bytes ~ {received_bytes}"
        );
    }

    /// The lines at the end. `jitter` of a single message is zero.
    pub(super) fn print(&self, transmit_time: Duration) {
        let Counts { sent, received, sent_bytes, received_bytes, send_dropped } = self.counts;
        info!("start_mclient: tot_send_msgs={sent}, tot_recv_msgs={received}");
        info!("start_mclient: tot_send_bytes ~ {sent_bytes}, tot_recv_bytes ~ {received_bytes}");
        info!("Total transmit time is {}", whole_seconds(transmit_time));
        let lost = sent.saturating_sub(received);
        info!(
            "Total lost packets {lost} ({:.6}%), total send dropped {send_dropped} ({:.6}%)",
            percentage(lost, sent),
            percentage(send_dropped, sent + send_dropped),
        );
        print_spread("round trip delay", &self.delay);
        print_spread("jitter", &self.jitter);
    }
}

fn print_spread(name: &str, spread: &Spread) {
    info!(
        "Average {name} {:.6} ms; min = {} ms, max = {} ms",
        spread.average_ms(),
        spread.min.as_millis(),
        spread.max.as_millis()
    );
}

/// Seconds begun.
pub(super) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

pub(super) fn percentage(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
