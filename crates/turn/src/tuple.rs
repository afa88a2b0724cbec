//! Who talks to whom: transports, 5-tuples, and the names given to relayed addresses and waiting requests.

use core::fmt;
use core::hash::{Hash, Hasher};
use core::net::{IpAddr, SocketAddr};

/// What carries messages between client and server (RFC 8656 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Transport {
    /// Plain UDP.
    Udp,
    /// Plain TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// DTLS over UDP.
    Dtls,
}

impl Transport {
    /// All of them, in order of their numbers.
    pub const ALL: [Transport; 4] = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::Dtls];

    /// Whether messages come as a stream of bytes: then ChannelData is padded.
    #[inline]
    pub const fn is_stream(self) -> bool {
        matches!(self, Transport::Tcp | Transport::Tls)
    }

    /// Whether a client has proved, before its first message, that it receives what is sent to its address.
    #[inline]
    pub const fn proves_address(self) -> bool {
        !matches!(self, Transport::Udp)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
            Transport::Dtls => "DTLS",
        })
    }
}

/// The client's transport address, the server's, and the transport between them (RFC 8656 §2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    /// The transport.
    pub transport: Transport,
    /// The address the client sent to.
    pub server: SocketAddr,
    /// The client's address as the server sees it.
    pub client: SocketAddr,
}

impl Hash for FiveTuple {
    /// Feeds few wide words rather than many narrow ones: this runs for every packet of a client.
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        let ports =
            u64::from(self.client.port()) << 32 | u64::from(self.server.port()) << 16 | self.transport as u64;
        match (self.client.ip(), self.server.ip()) {
            (IpAddr::V4(client), IpAddr::V4(server)) => {
                state.write_u64(u64::from(client.to_bits()) << 32 | u64::from(server.to_bits()));
                state.write_u64(ports);
            }
            (client, server) => {
                client.hash(state);
                server.hash(state);
                state.write_u64(ports);
            }
        }
    }
}

/// The way back to a client (a listener, a connection), named by the worker that owns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link(pub u64);

impl Link {
    /// The way back to a client that is away (RFC 8016): what is sent on it goes nowhere.
    pub const NOWHERE: Link = Link(u64::MAX);
}

/// A client and the way back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The way back.
    pub link: Link,
    /// Its 5-tuple.
    pub tuple: FiveTuple,
}

/// Names a relayed transport address of one worker; a reused slot has another generation, so that a late
/// packet or answer for its predecessor is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RelayId {
    /// Index into the worker's allocations.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

impl RelayId {
    /// The id as one number, for a poller's token.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    /// Back from a token.
    pub const fn from_bits(bits: u64) -> Self {
        RelayId { slot: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// Names a request that waits for an answer from outside the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitId {
    /// Index among the waiting requests.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// Names a request whose sender's key is being asked for. An answer that comes late names no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InquiryId {
    /// Index among the parked requests.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// An allocation's name in logs: worker number × 10^15 + a counter, printed with 18 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u64);

impl SessionId {
    /// The `count`-th session of a worker.
    pub const fn new(worker: u16, count: u64) -> Self {
        SessionId(worker as u64 * SESSIONS_PER_WORKER + count % SESSIONS_PER_WORKER)
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Reads what [`fmt::Display`] writes, with leading zeros or without.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number =
            !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(SessionId)
    }

    /// Back from a number.
    pub(crate) const fn from_number(number: u64) -> Self {
        SessionId(number)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:018}", self.0)
    }
}

const SESSIONS_PER_WORKER: u64 = 1_000_000_000_000_000;
