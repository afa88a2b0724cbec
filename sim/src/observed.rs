//! What the core did, in a form that can be kept and compared.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use turnpike_turn::{
    Client, Egress, EndCause, Event, FiveTuple, PeerConnectionId, PeerTransport, Reason, RelayId, SessionId,
    Timestamp, Usage, Verdict, WaitId,
};

/// A verdict with its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A datagram is sent on.
    Forward {
        /// Where to.
        to: Egress,
        /// The whole datagram.
        bytes: Vec<u8>,
        /// Which part of the received packet it carries.
        span: Vec<u8>,
        /// Whether it must not be fragmented.
        dont_fragment: bool,
    },
    /// A message goes back to the client.
    Reply {
        /// Where to.
        to: Client,
        /// The message.
        bytes: Vec<u8>,
    },
    /// The request waits.
    Wait(WaitId),
    /// The request waits for a connection to a peer.
    Connecting(PeerConnectionId),
    /// Another worker is to see the request.
    HandOver(u16),
    /// Nothing is sent, for this reason.
    Drop(Reason),
    /// The input was none that has a verdict.
    Nothing,
}

impl Action {
    /// Keeps a verdict about `packet`.
    pub(crate) fn of(verdict: Verdict<'_>, packet: &[u8]) -> Self {
        match verdict {
            Verdict::Forward(forward) => {
                let span = packet[forward.span].to_vec();
                let bytes = [forward.head.as_slice(), &span, forward.tail.as_slice()].concat();
                Action::Forward { to: forward.to, bytes, span, dont_fragment: forward.dont_fragment }
            }
            Verdict::Reply { to, bytes } => Action::Reply { to, bytes: bytes.to_vec() },
            Verdict::Wait(wait) => Action::Wait(wait),
            // No world keeps its users outside.
            Verdict::Asking(_) => Action::Nothing,
            Verdict::Connecting(connection) => Action::Connecting(connection),
            Verdict::HandOver { worker } => Action::HandOver(worker),
            Verdict::Drop(reason) => Action::Drop(reason),
        }
    }
}

impl Action {
    /// What tells it from another action.
    pub(crate) fn essence(&self) -> (u8, &[u8], u64) {
        match self {
            Action::Forward { bytes, dont_fragment, .. } => (0, bytes, (*dont_fragment).into()),
            Action::Reply { bytes, .. } => (1, bytes, 0),
            Action::Wait(wait) => (2, &[], u64::from(wait.slot) << 32 | u64::from(wait.generation)),
            Action::Drop(reason) => (3, &[], *reason as u64),
            Action::Nothing => (4, &[], 0),
            Action::Connecting(connection) => (5, &[], connection.number().into()),
            Action::HandOver(worker) => (6, &[], (*worker).into()),
        }
    }
}

/// A socket the core asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    /// Who waits.
    pub(crate) wait: WaitId,
    /// Its name.
    pub(crate) relay: RelayId,
    /// Its address, local form.
    pub(crate) address: SocketAddr,
    /// What it is to speak.
    pub(crate) transport: PeerTransport,
}

/// A connection the core asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connect {
    /// Its name.
    pub(crate) connection: PeerConnectionId,
    /// The relayed address, local form.
    pub(crate) from: SocketAddr,
    /// Where it leads.
    pub(crate) peer: SocketAddr,
    /// When it is given up.
    pub(crate) deadline: Timestamp,
}

/// Everything one input led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// The verdict.
    pub(crate) action: Action,
    /// Sockets to open.
    pub(crate) openings: Vec<Opening>,
    /// Sockets to close, with their addresses in local form.
    pub(crate) closings: Vec<(RelayId, SocketAddr)>,
    /// Connections to make.
    pub(crate) connects: Vec<Connect>,
    /// Connections to splice.
    pub(crate) splices: Vec<(Client, PeerConnectionId)>,
    /// Connections to close.
    pub(crate) closed: Vec<PeerConnectionId>,
    /// The name of one that a peer has made.
    pub(crate) accepted: Option<PeerConnectionId>,
    /// What was reported.
    pub(crate) reports: Vec<Report>,
}

/// An [`Event`] as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the core's events")]
pub(crate) enum Report {
    Allocated {
        session: SessionId,
        user: String,
        tuple: FiveTuple,
        relayed: SocketAddr,
        additional: Option<SocketAddr>,
        lifetime: Duration,
    },
    Moved {
        session: SessionId,
        user: String,
        from: FiveTuple,
        to: FiveTuple,
        superseded: bool,
    },
    Disconnected {
        session: SessionId,
        user: String,
        tuple: FiveTuple,
    },
    RelayEnded {
        session: SessionId,
        user: String,
        relayed: SocketAddr,
        cause: EndCause,
    },
    Refreshed {
        session: SessionId,
        user: String,
        lifetime: Duration,
    },
    Ended {
        session: SessionId,
        user: String,
        tuple: FiveTuple,
        relayed: SocketAddr,
        cause: EndCause,
        duration: Duration,
        usage: Usage,
    },
    PermissionGranted {
        session: SessionId,
        peer: IpAddr,
        lifetime: Duration,
    },
    PermissionExpired {
        session: SessionId,
        peer: IpAddr,
    },
    ChannelBound {
        session: SessionId,
        channel: u16,
        peer: SocketAddr,
    },
    Processed {
        tuple: FiveTuple,
        session: Option<SessionId>,
        user: Option<String>,
        method: u16,
        refusal: Option<(u16, Reason)>,
    },
    AuthenticationFailed {
        tuple: FiveTuple,
        username: String,
        reason: Reason,
        expired_since: Option<Duration>,
    },
    PeerRefused {
        tuple: FiveTuple,
        session: SessionId,
        peer: IpAddr,
    },
    SourceLimited {
        source: IpAddr,
    },
    /// Something of a proxy's was refused: no proxies are in these worlds.
    ProxyRefused {
        source: SocketAddr,
        reason: Reason,
    },
}

impl Report {
    /// Keeps an event.
    pub(crate) fn of(event: &Event) -> Self {
        match event.clone() {
            Event::Allocated { session, user, tuple, relayed, additional, lifetime, .. } => {
                Report::Allocated { session, user: user.name().into(), tuple, relayed, additional, lifetime }
            }
            Event::Moved { session, user, from, to, superseded } => {
                Report::Moved { session, user: user.name().into(), from, to, superseded }
            }
            Event::Disconnected { session, user, tuple } => {
                Report::Disconnected { session, user: user.name().into(), tuple }
            }
            Event::RelayEnded { session, user, relayed, cause } => {
                Report::RelayEnded { session, user: user.name().into(), relayed, cause }
            }
            Event::Refreshed { session, user, lifetime } => {
                Report::Refreshed { session, user: user.name().into(), lifetime }
            }
            Event::Ended { session, user, tuple, relayed, cause, duration, usage } => {
                Report::Ended { session, user: user.name().into(), tuple, relayed, cause, duration, usage }
            }
            Event::PermissionGranted { session, peer, lifetime } => {
                Report::PermissionGranted { session, peer, lifetime }
            }
            Event::PermissionExpired { session, peer } => Report::PermissionExpired { session, peer },
            Event::ChannelBound { session, channel, peer } => Report::ChannelBound { session, channel, peer },
            Event::Processed { tuple, session, user, method, refusal } => Report::Processed {
                tuple,
                session,
                user: user.map(|user| user.name().into()),
                method: method.number(),
                refusal: refusal.map(|(number, reason)| (number.number(), reason)),
            },
            Event::AuthenticationFailed { tuple, username, reason, expired_since } => {
                Report::AuthenticationFailed { tuple, username: username.into(), reason, expired_since }
            }
            Event::PeerRefused { tuple, session, peer, .. } => Report::PeerRefused { tuple, session, peer },
            Event::SourceLimited { source } => Report::SourceLimited { source },
            Event::ProxyRefused { source, reason, .. } => Report::ProxyRefused { source, reason },
        }
    }
}
