//! Datagrams that are dropped because they are nothing that is spoken here, for those who want to see them
//! (`drop-invalid-packets-log`): in a form that text2pcap reads, so many in a second.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use turnpike_turn::{FiveTuple, Reason};

use crate::log::{Entry, EventName, Field, Level, Log};
use crate::throttle::Throttle;

/// Logs what it is shown: whose the datagram is, why it is dropped, its bytes. Never waits.
pub fn dropped_lines(log: Arc<Log>) -> impl Fn(&FiveTuple, Reason, &[u8]) + Send {
    let throttle = RefCell::new(Throttle::new(Instant::now()));
    move |tuple: &FiveTuple, reason: Reason, bytes: &[u8]| {
        let mut throttle = throttle.borrow_mut();
        if log.min_level() > Level::Debug || !throttle.admit(Instant::now()) {
            return;
        }
        let withheld = throttle.take_withheld();
        if withheld > 0 {
            let message = format!("{withheld} more such lines were not logged");
            let fields = vec![(Field::Count, withheld.into())];
            log.write_entry(Entry { level: Level::Debug, event: EventName::LinesWithheld, message, fields });
        }
        log.write_entry(line(tuple, reason, bytes));
    }
}

fn line(tuple: &FiveTuple, reason: Reason, bytes: &[u8]) -> Entry {
    // What comes behind coturn's word is a whole line of input for text2pcap.
    let mut message = format!(
        "dropped {} bytes (client {}, reason: {}) TXT2PCAP 000000",
        bytes.len(),
        tuple.client,
        reason.code()
    );
    for byte in bytes.iter().take(SHOWN_BYTES) {
        let _ = write!(message, " {byte:02x}");
    }
    Entry {
        level: Level::Debug,
        event: EventName::PacketDropped,
        message,
        fields: vec![
            (Field::Client, tuple.client.into()),
            (Field::Server, tuple.server.into()),
            (Field::Transport, tuple.transport.to_string().into()),
            (Field::Reason, reason.code().into()),
        ],
    }
}

/// What fits into one Ethernet frame.
const SHOWN_BYTES: usize = 1472;

#[cfg(test)]
mod tests {
    use super::*;
    use turnpike_turn::Transport;

    #[test]
    fn a_dropped_datagram_is_shown_byte_by_byte() {
        let tuple = FiveTuple {
            transport: Transport::Udp,
            server: "192.0.2.1:3478".parse().unwrap(),
            client: "198.51.100.7:5000".parse().unwrap(),
        };
        assert_eq!(
            line(&tuple, Reason::NotStun, b"GET\xff").message,
            "dropped 4 bytes (client 198.51.100.7:5000, reason: not_stun) TXT2PCAP 000000 47 45 54 ff"
        );
    }
}
