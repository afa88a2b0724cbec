//! Requests under way, and when each is sent again or given up (RFC 8489 §6.2.1, §6.2.2).

use alloc::boxed::Box;
use core::time::Duration;

use turnpike_wire::TransactionId;

use crate::config::{Retransmission, Transport};
use crate::request::{Request, RequestId};

/// A request that was not answered yet.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    pub(crate) request_id: RequestId,
    pub(crate) request: Request,
    /// The bytes, equal in every transmission.
    pub(crate) message: Box<[u8]>,
    /// Whether the message is signed.
    pub(crate) authenticated: bool,
    /// How often the server asked for another nonce.
    pub(crate) stale_nonces: u8,
    /// Transmissions asked for so far, the first included.
    transmissions: u8,
    pub(crate) transmit_pending: bool,
    /// When to send again or give up.
    pub(crate) due: Duration,
}

/// What a transaction does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overdue {
    SendAgain,
    GiveUp,
}

/// What a transaction starts from.
pub(crate) struct Beginning {
    pub(crate) id: TransactionId,
    pub(crate) request_id: RequestId,
    pub(crate) request: Request,
    pub(crate) message: Box<[u8]>,
    pub(crate) authenticated: bool,
    pub(crate) stale_nonces: u8,
}

impl Transaction {
    pub(crate) fn begin(
        beginning: Beginning,
        now: Duration,
        transport: Transport,
        timers: Retransmission,
    ) -> Self {
        let Beginning { id, request_id, request, message, authenticated, stale_nonces } = beginning;
        let first_wait = wait_after(1, transport, timers);
        Transaction {
            id,
            request_id,
            request,
            message,
            authenticated,
            stale_nonces,
            transmissions: 1,
            transmit_pending: true,
            due: now.saturating_add(first_wait),
        }
    }

    /// To be called when `due` has passed.
    pub(crate) fn overdue(&mut self, now: Duration, transport: Transport, timers: Retransmission) -> Overdue {
        if transport == Transport::Stream || self.transmissions >= timers.transmissions {
            return Overdue::GiveUp;
        }
        self.transmissions += 1;
        self.transmit_pending = true;
        self.due = now.saturating_add(wait_after(self.transmissions, transport, timers));
        Overdue::SendAgain
    }
}

/// The wait after the `transmission`th transmission: RTO, 2 RTO, 4 RTO, ..., and Rm RTO after the last.
/// A stream does the retransmitting itself; the whole time is the same (RFC 8489 §6.2.2).
fn wait_after(transmission: u8, transport: Transport, timers: Retransmission) -> Duration {
    let last = timers.initial_timeout.saturating_mul(u32::from(timers.last_wait));
    match transport {
        Transport::Stream => {
            let doublings = doubled(timers.transmissions.saturating_sub(1)) - 1;
            last.saturating_add(timers.initial_timeout.saturating_mul(doublings))
        }
        Transport::Datagram if transmission >= timers.transmissions => last,
        Transport::Datagram => timers.initial_timeout.saturating_mul(doubled(transmission - 1)),
    }
}

fn doubled(times: u8) -> u32 {
    1u32.checked_shl(u32::from(times)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmissions_are_spaced_as_the_rfc_draws_them() {
        let timers = Retransmission::default();
        let waits: alloc::vec::Vec<u128> =
            (1..=7).map(|n| wait_after(n, Transport::Datagram, timers).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 8000]);
    }

    #[test]
    fn a_stream_waits_as_long_as_all_datagrams_together() {
        assert_eq!(wait_after(1, Transport::Stream, Retransmission::default()).as_millis(), 39_500);
    }
}
