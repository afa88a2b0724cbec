//! Sessions in the form in which coturn's console prints them.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Instant;

use turnpike_turn::{PeerTransport, Session, SessionId, Usage};

use super::parameters::on_off;
use crate::drawing::harmless;

/// Prints sessions, and knows how far they were when it did so before.
#[derive(Debug, Default)]
pub(super) struct Printer {
    /// Bytes received and sent, of the sessions printed last.
    before: HashMap<SessionId, (u64, u64)>,
    before_at: Option<Instant>,
    now: HashMap<SessionId, (u64, u64)>,
    now_at: Option<Instant>,
}

impl Printer {
    /// A list begins.
    pub(super) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
        self.before_at = self.now_at.replace(Instant::now());
    }

    /// One of them. What the client sends is received here (r), what it is sent is sent (s), as in coturn.
    pub(super) fn print(&mut self, number: u64, session: &Session) -> String {
        let Session { id, user, tuple, relayed, additional, .. } = session;
        let Usage { client_packets, client_bytes, peer_packets, peer_bytes, .. } = session.usage;
        let (r, s) = self.rates(session);
        let transport = if session.transport == PeerTransport::Tcp { "TCP" } else { "UDP" };
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments<'_>| {
            let _ = writeln!(text, "{args}");
        };
        line(format_args!("\n    {number}) id={id}, user <{}>:", harmless(user.name())));
        line(format_args!("      realm: {}", harmless(user.realm())));
        line(format_args!("      started {} secs ago", session.age.as_secs()));
        line(format_args!("      expiring in {} secs", session.left.as_secs()));
        line(format_args!("      client protocol {}, relay protocol {transport}", tuple.transport));
        line(format_args!("      client addr {}, server addr {}", tuple.client, tuple.server));
        for relayed in [Some(relayed), additional.as_ref()].into_iter().flatten() {
            line(format_args!("      relay addr {relayed}"));
        }
        line(format_args!("      fingerprints enforced: {}", on_off(session.fingerprint)));
        line(format_args!("      mobile: {}", on_off(session.mobile)));
        if let Some(rate) = session.rate {
            line(format_args!("      Max throughput: {rate} bytes per second"));
        }
        line(format_args!(
            "      usage: rp={client_packets}, rb={client_bytes}, sp={peer_packets}, sb={peer_bytes}"
        ));
        line(format_args!("       rate: r={r}, s={s}, total={} (bytes per sec)", r + s));
        if !session.peers.is_empty() {
            line(format_args!("      peers:"));
            for peer in &session.peers {
                match peer.port() {
                    0 => line(format_args!("          {}", peer.ip())),
                    _ => line(format_args!("          {peer}")),
                }
            }
        }
        text
    }

    /// Bytes a second each way since the list before, or since the session began.
    fn rates(&mut self, session: &Session) -> (u64, u64) {
        let (received, sent) = (session.usage.client_bytes, session.usage.peer_bytes);
        let known = self.before.get(&session.id).copied();
        self.now.insert(session.id, (received, sent));
        let since =
            self.before_at.zip(self.now_at).map(|(before, now)| now.duration_since(before).as_secs_f64());
        let (seconds, (before_received, before_sent)) = match (known, since) {
            (Some(known), Some(seconds)) if seconds > 0.0 => (seconds, known),
            _ => (session.age.as_secs_f64().max(1.0), (0, 0)),
        };
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds) as u64;
        (rate(received, before_received), rate(sent, before_sent))
    }
}
