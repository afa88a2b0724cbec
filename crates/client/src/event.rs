//! What a client tells its caller.

use alloc::boxed::Box;
use core::net::SocketAddr;
use core::ops::Range;

use turnpike_wire::attributes::ReservationToken;
use turnpike_wire::{AttributeType, ErrorNumber, Family, Method, ParseError};

use crate::request::RequestId;

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Data from a peer: `span` of the bytes given to `handle_input`.
    Data {
        /// Who sent it to the relayed transport address.
        peer: SocketAddr,
        /// The channel it came on; `None` for a Data indication.
        channel: Option<u16>,
        /// Where the data lies in the input.
        span: Range<usize>,
    },
    /// An ICMP error concerning a peer (RFC 8656 §11.5).
    PeerUnreachable {
        /// The peer.
        peer: SocketAddr,
        /// ICMP or ICMPv6 type.
        kind: u8,
        /// Its code.
        code: u8,
    },
    /// A Binding request was answered.
    Binding(Box<BindingAnswer>),
    /// The allocation exists.
    Allocated(Box<Allocated>),
    /// The allocation lives this many seconds more.
    Refreshed {
        /// The Refresh request.
        request: RequestId,
        /// Seconds.
        lifetime: u32,
    },
    /// The allocation was deleted as asked.
    Deleted {
        /// The Refresh request.
        request: RequestId,
    },
    /// The allocation's lifetime passed without a Refresh.
    Expired,
    /// The peers of a CreatePermission request may send.
    PermissionsCreated {
        /// The CreatePermission request.
        request: RequestId,
    },
    /// A channel is bound.
    ChannelBound {
        /// The ChannelBind request.
        request: RequestId,
        /// The channel.
        channel: u16,
        /// Its peer.
        peer: SocketAddr,
    },
    /// There is a connection with a peer (RFC 6062 §4.3).
    Connected {
        /// The Connect request.
        request: RequestId,
        /// Its name, to bind another connection to.
        connection: u32,
    },
    /// A peer has connected (RFC 6062 §4.4).
    ConnectionAttempt {
        /// The peer.
        peer: SocketAddr,
        /// The connection's name, to bind another connection to.
        connection: u32,
    },
    /// From here on this connection carries bytes to and from a peer, and no messages.
    ConnectionBound {
        /// The ConnectionBind request.
        request: RequestId,
    },
    /// A custom request succeeded.
    CustomSucceeded {
        /// The request.
        request: RequestId,
    },
    /// A request failed.
    Failed {
        /// The request.
        request: RequestId,
        /// What it was about.
        method: Method,
        /// Why.
        failure: Failure,
    },
    /// The input was thrown away.
    Discarded(DiscardReason),
}

/// What a Binding response says (RFC 8489 §12, RFC 5780 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingAnswer {
    /// The Binding request.
    pub request: RequestId,
    /// The client's address as the server sees it.
    pub mapped: SocketAddr,
    /// The same in MAPPED-ADDRESS, which a box on the path can recognise and rewrite (RFC 5780 §3.6).
    pub mapped_in_clear: Option<SocketAddr>,
    /// Bytes of PADDING, if there is any.
    pub padding: Option<usize>,
    /// Where the response says it came from.
    pub response_origin: Option<SocketAddr>,
    /// The server's other address, if it takes part in NAT behaviour discovery.
    pub other_address: Option<SocketAddr>,
}

/// What an Allocate response grants (RFC 8656 §7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allocated {
    /// The Allocate request.
    pub request: RequestId,
    /// The relayed transport address.
    pub relayed: SocketAddr,
    /// A second one, of the additional family.
    pub relayed_additional: Option<SocketAddr>,
    /// Which family could not be had, and why.
    pub address_error: Option<(Family, ErrorNumber)>,
    /// The client's address as the server sees it.
    pub mapped: Option<SocketAddr>,
    /// Seconds to live.
    pub lifetime: u32,
    /// Claims the next port.
    pub reservation: Option<ReservationToken>,
    /// Whether there is a ticket, so that [`Client::resume`](crate::Client::resume) can take the allocation along.
    pub mobile: bool,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server said no.
    #[error("error {} ({reason})", number.number())]
    Refused {
        /// The code.
        number: ErrorNumber,
        /// The server's phrase.
        reason: Box<str>,
        /// With 420, the attributes the server did not understand.
        unknown_attributes: Box<[AttributeType]>,
    },
    /// The server sends its clients elsewhere (300, RFC 8489 §10).
    #[error("the server asks to use {server} instead")]
    TryAlternate {
        /// Where to go.
        server: SocketAddr,
        /// Whether the response was protected by the client's key; if not, anybody could have sent it.
        authenticated: bool,
        /// The name the alternate's certificate must bear.
        domain: Option<Box<str>>,
    },
    /// The server wants credentials and there are none to give.
    #[error("the server asks for credentials (realm {realm}) and none were given")]
    NoCredentials {
        /// The realm it named.
        realm: Box<str>,
    },
    /// The server did not accept the credentials.
    #[error("the server does not accept this user name and password for realm {realm}")]
    CredentialsRejected {
        /// The realm it named.
        realm: Box<str>,
    },
    /// No answer came.
    #[error("no answer came in time")]
    TimedOut,
    /// The answer lacks what it must contain.
    #[error("the server's answer lacks a valid {0}")]
    Malformed(&'static str),
}

/// Why input was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscardReason {
    /// Neither STUN nor ChannelData.
    #[error("not a STUN message: {0}")]
    NotStun(#[from] ParseError),
    /// ChannelData whose length does not fit.
    #[error("a ChannelData message with a wrong length")]
    BadChannelData,
    /// ChannelData on a channel this client did not bind.
    #[error("a channel that is not bound")]
    UnknownChannel,
    /// FINGERPRINT is wrong.
    #[error("a wrong FINGERPRINT")]
    BadFingerprint,
    /// A response to nothing that was asked, or a duplicate of one.
    #[error("a response to no outstanding request")]
    UnknownTransaction,
    /// A response that ought to be protected and is not.
    #[error("a response without integrity")]
    Unprotected,
    /// A response not made with this client's key.
    #[error("a response whose integrity does not hold")]
    BadIntegrity,
    /// An indication that is unknown or lacks what it must contain.
    #[error("an indication of no use")]
    BadIndication,
    /// A request: clients answer none.
    #[error("a request")]
    Request,
}
