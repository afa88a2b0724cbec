//! What a client is told before it starts.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use turnpike_wire::Family;
use turnpike_wire::attributes::{RequestedTransport, ReservationToken};

/// Settings that clients may share; a load generator gives ten thousand clients one copy.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// How bytes travel to the server.
    pub transport: Transport,
    /// Long-term credentials (RFC 8489 §9.2); without them a challenged request fails.
    pub credentials: Option<Credentials>,
    /// Where access tokens come from (RFC 7635). A server that accepts tokens is then shown one, and credentials are for
    /// those that do not.
    pub tokens: Option<Arc<dyn TokenSource>>,
    /// Timers of requests over datagrams.
    pub retransmission: Retransmission,
    /// Whether the allocation, its permissions and its channels are refreshed without being asked.
    pub keep_alive: bool,
    /// Whether requests and indications end with FINGERPRINT (RFC 8489 §14.7).
    pub fingerprint: bool,
    /// Whether what RFC 8489 §9.2 added is used when the server offers it: SHA-256 keys and integrity, and USERHASH
    /// in place of USERNAME. Without it the client speaks as one of RFC 5389 does.
    pub password_algorithms: bool,
    /// Whether an error response without integrity may end an authenticated request. RFC 8489 §9.2.5 says no,
    /// for anybody could have sent it; a diagnostic tool may rather want to show what came.
    pub accept_unprotected_errors: bool,
    /// SOFTWARE of requests (RFC 8489 §14.14).
    pub software: Option<String>,
    /// ORIGIN of requests: the web origin by which coturn picks a realm.
    pub origin: Option<String>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        ClientConfig {
            transport: Transport::Datagram,
            credentials: None,
            tokens: None,
            retransmission: Retransmission::default(),
            keep_alive: true,
            fingerprint: true,
            password_algorithms: true,
            accept_unprotected_errors: false,
            software: None,
            origin: None,
        }
    }
}

/// How bytes travel between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP or DTLS: each message a datagram, requests are retransmitted, ChannelData is not padded.
    Datagram,
    /// TCP or TLS: messages follow each other, requests are sent once, ChannelData is padded to four bytes
    /// (RFC 8656 §12.5). Received bytes go through a [`FrameBuffer`](crate::FrameBuffer) first.
    Stream,
}

/// A user name and password. They are prepared with OpaqueString before they are used (RFC 8489 §9.2.2), which leaves
/// ASCII alone; what the profile does not allow is used as it stands, for the server may allow it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// USERNAME, at most 508 bytes.
    pub username: String,
    /// The password; the `Debug` form hides it.
    pub password: String,
}

impl core::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Credentials({}, [redacted])", self.username)
    }
}

/// An authorisation server, as far as a client needs one (RFC 7635 §4).
pub trait TokenSource: core::fmt::Debug + Send + Sync {
    /// A new token for the TURN server of this name, as THIRD-PARTY-AUTHORIZATION gives it; `None` if there is none to
    /// be had.
    fn grant(&self, server_name: &[u8]) -> Option<Grant>;
}

/// What an authorisation server gives a client. Its `Debug` form hides the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    /// The name of the key that the token is sealed with: USERNAME.
    pub kid: String,
    /// The value of ACCESS-TOKEN.
    pub token: Vec<u8>,
    /// The key in the token, for MESSAGE-INTEGRITY.
    pub mac_key: Vec<u8>,
}

impl core::fmt::Debug for Grant {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Grant({}, [redacted])", self.kid)
    }
}

/// When a request over datagrams is sent again and given up (RFC 8489 §6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retransmission {
    /// RTO: the wait after the first transmission, doubled after each one that follows.
    pub initial_timeout: Duration,
    /// Rc: how often the request is sent in all, at least once.
    pub transmissions: u8,
    /// Rm: how many times the RTO to wait after the last transmission.
    pub last_wait: u8,
}

impl Default for Retransmission {
    fn default() -> Self {
        Retransmission { initial_timeout: Duration::from_millis(500), transmissions: 7, last_wait: 16 }
    }
}

/// What to ask for in an Allocate request (RFC 8656 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllocateOptions {
    /// The transport between server and peers.
    pub transport: RequestedTransport,
    /// REQUESTED-ADDRESS-FAMILY; IPv4 without it.
    pub family: Option<Family>,
    /// ADDITIONAL-ADDRESS-FAMILY: a second relayed address, of this family.
    pub additional_family: Option<Family>,
    /// What is asked of the relayed port.
    pub port: Port,
    /// LIFETIME in seconds; the server chooses without it.
    pub lifetime: Option<u32>,
    /// DONT-FRAGMENT: learn whether the server supports it.
    pub dont_fragment: bool,
    /// Bandwidth in kilobits a second: an attribute of early TURN drafts that lives on in coturn, optional to
    /// understand.
    pub bandwidth: Option<u32>,
    /// An empty MOBILITY-TICKET (RFC 8016 §3.1.1): a ticket with which the allocation can be taken along to another
    /// 5-tuple.
    pub mobility: bool,
}

impl Default for AllocateOptions {
    fn default() -> Self {
        AllocateOptions {
            transport: RequestedTransport::UDP,
            family: None,
            additional_family: None,
            port: Port::Any,
            lifetime: None,
            dont_fragment: false,
            bandwidth: None,
            mobility: false,
        }
    }
}

/// What an Allocate request asks of the relayed port (RFC 8656 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Nothing.
    Any,
    /// EVEN-PORT with R = 0: an even port.
    Even,
    /// EVEN-PORT with R = 1: an even port, and the next one kept for a later Allocate.
    EvenAndReserveNext,
    /// RESERVATION-TOKEN: the port kept by an earlier Allocate.
    Reserved(ReservationToken),
}
