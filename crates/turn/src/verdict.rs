//! What is to happen with one packet, at once.

use core::net::SocketAddr;
use core::ops::Range;

use crate::reason::Reason;
use crate::tcp_relay::PeerConnectionId;
use crate::tuple::{Client, InquiryId, RelayId, WaitId};

/// The answer to one packet. Bytes leave by it; whatever needs a syscall or time is an
/// [`Effect`](crate::Effect).
#[must_use]
#[derive(Debug)]
pub enum Verdict<'s> {
    /// Send on a part of the packet.
    Forward(Forward),
    /// Send these bytes, built in the server's own buffer, to the client.
    Reply {
        /// Where to.
        to: Client,
        /// A whole message.
        bytes: &'s [u8],
    },
    /// The request waits for the answer to an effect.
    Wait(WaitId),
    /// The request waits for its sender's key.
    Asking(InquiryId),
    /// The request waits for a connection to a peer.
    Connecting(PeerConnectionId),
    /// The client's connection belongs to another worker (RFC 6062: it alone has the peer's). This request, which has
    /// been found to be authentic, is to be handed in there again, with all that comes after it.
    HandOver {
        /// That worker's number.
        worker: u16,
    },
    /// Nothing is sent.
    Drop(Reason),
}

/// A part of a received packet to send on, with up to 48 bytes before and 12 after it.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Where to.
    pub to: Egress,
    /// What goes before the span.
    pub head: Head,
    /// Which bytes of the packet to send.
    pub span: Range<usize>,
    /// What goes after the span.
    pub tail: Tail,
    /// Whether IP must not fragment the datagram (RFC 8656 §18.9).
    pub dont_fragment: bool,
}

/// Where a forwarded packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// From a relayed address to a peer.
    Peer {
        /// Which relayed address sends it.
        relay: RelayId,
        /// The peer.
        peer: SocketAddr,
    },
    /// To the client.
    Client(Client),
}

/// Bytes in front of a forwarded span: a ChannelData header or a whole Data indication header.
pub type Head = Edge<48>;
/// Bytes behind a forwarded span: padding and FINGERPRINT.
pub type Tail = Edge<12>;

/// A few bytes by value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge<const N: usize> {
    bytes: [u8; N],
    length: u8,
}

impl<const N: usize> Edge<N> {
    /// No bytes.
    pub const EMPTY: Self = Edge { bytes: [0; N], length: 0 };

    /// The first `length` of these bytes; at most `N`.
    pub fn new(bytes: [u8; N], length: usize) -> Self {
        Edge { bytes, length: length.min(N) as u8 }
    }

    /// A copy of `slice`, cut off at `N` bytes.
    #[inline]
    pub fn copy_of(slice: &[u8]) -> Self {
        let length = slice.len().min(N);
        let mut bytes = [0; N];
        bytes[..length].copy_from_slice(&slice[..length]);
        Edge { bytes, length: length as u8 }
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}
