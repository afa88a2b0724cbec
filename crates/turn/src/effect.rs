//! What the core asks its worker to do, and what it reports.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::{ErrorNumber, Method};

use crate::flows::{Flow, FlowId, FlowOwner};
use crate::mobility::Letter;
use crate::ports::RelayedPort;
use crate::reason::Reason;
use crate::tcp_relay::{PeerConnectionId, PeerTransport};
use crate::time::Timestamp;
use crate::tuple::{Client, FiveTuple, InquiryId, Link, RelayId, SessionId, Transport, WaitId};
use crate::user::User;

/// Something that needs a syscall, or somebody who listens.
#[must_use]
#[derive(Debug)]
pub enum Effect {
    /// Open a socket for a relayed transport address (for TCP one that listens) and answer with
    /// [`Server::handle_relay_opened`](crate::Server::handle_relay_opened).
    OpenRelay {
        /// Who waits for it.
        wait: WaitId,
        /// The name the socket's packets, or connections, are to be handed in under.
        relay: RelayId,
        /// The address to bind, local form.
        address: SocketAddr,
        /// What it speaks with peers.
        transport: PeerTransport,
        /// What it has to do with a reserved port.
        reserve: Reserve,
    },
    /// Close what was held for this token, if it was not claimed: its time is up.
    DropReserved {
        /// The token.
        token: [u8; 8],
    },
    /// Close the socket of a relayed address, then drop the port, which frees it.
    CloseRelay {
        /// Which one.
        relay: RelayId,
        /// Its port.
        port: RelayedPort,
    },
    /// Connect from a relayed address to a peer (RFC 6062 §5.2), and answer with
    /// [`Server::handle_peer_connected`](crate::Server::handle_peer_connected).
    ConnectPeer {
        /// The connection's name from here on.
        connection: PeerConnectionId,
        /// The relayed address, local form.
        from: SocketAddr,
        /// The peer, in the form that leads to it.
        peer: SocketAddr,
        /// When to give up.
        deadline: Timestamp,
    },
    /// Join a client's connection with that of a peer (RFC 6062 §5.4): once the answer to the client is out, bytes go
    /// both ways as they are, and nothing of the client's is a message any more.
    Splice {
        /// The client's connection.
        client: Client,
        /// The peer's.
        connection: PeerConnectionId,
    },
    /// Close a connection with a peer, whatever has become of it, and the client's that it is spliced with.
    ClosePeer {
        /// Which one.
        connection: PeerConnectionId,
    },
    /// Hand this in at another worker.
    Post {
        /// Its number.
        to: u16,
        /// What it is told or asked.
        letter: Letter,
    },
    /// A bound channel may be relayed elsewhere, or until another moment than was said before. Only with
    /// [`Config::flows`](crate::Config::flows).
    FlowUp(Flow),
    /// It may not any more. What it relayed and was not told yet is to be told at once, by
    /// [`Server::handle_flow_usage`](crate::Server::handle_flow_usage).
    FlowDown {
        /// Which one.
        flow: FlowId,
        /// Whose usage it is.
        owner: FlowOwner,
    },
    /// Ask the store for this user, see to it that the [`Directory`](crate::Directory) knows the answer, then call
    /// [`Server::handle_credential`](crate::Server::handle_credential). Also when the store cannot be asked.
    FindCredential {
        /// Which request waits.
        inquiry: InquiryId,
        /// The user's realm.
        realm: Box<str>,
        /// The user's name.
        name: Box<str>,
    },
    /// Something happened that people or metrics may want to know.
    Report(Event),
}

/// A relayed address and the reservation of a port (RFC 8656 §7.2). A reserved port is bound at once, because
/// another process may take what is only written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserve {
    /// Nothing is reserved.
    No,
    /// The next port is reserved along with it: bind both or neither, and hold the second one.
    Next {
        /// What the second one will be asked for by.
        token: [u8; 8],
        /// Its address, local form.
        address: SocketAddr,
    },
    /// It is the port that this worker's sessions share on the relay address of this number: it is opened for the first
    /// of them, and stays open. What comes there is handed to
    /// [`Server::handle_shared_packet`](crate::Server::handle_shared_packet).
    Shared {
        /// The address's number.
        relay_address: u16,
    },
    /// This is the second one, held since.
    Held {
        /// What it is asked for by.
        token: [u8; 8],
    },
}

/// What happened. Nothing here is emitted per relayed packet.
#[derive(Clone, Debug)]
pub enum Event {
    /// An allocation was made.
    Allocated {
        /// Its name.
        session: SessionId,
        /// Its owner.
        user: Arc<User>,
        /// Its 5-tuple.
        tuple: FiveTuple,
        /// The relayed address as clients are told it.
        relayed: SocketAddr,
        /// A second one, of the other family.
        additional: Option<SocketAddr>,
        /// Granted lifetime.
        lifetime: Duration,
        /// The way to its client.
        link: Link,
        /// How that is secured, which whoever has the connection knows: the core says `None`.
        security: Option<Security>,
    },
    /// An allocation's lifetime was renewed.
    Refreshed {
        /// Its name.
        session: SessionId,
        /// Its owner.
        user: Arc<User>,
        /// Granted lifetime; zero asks for deletion.
        lifetime: Duration,
    },
    /// An allocation follows its client to another 5-tuple (RFC 8016).
    Moved {
        /// Its name.
        session: SessionId,
        /// Its owner.
        user: Arc<User>,
        /// Where the client was.
        from: FiveTuple,
        /// Where it is about to be.
        to: FiveTuple,
        /// Whether it moves on before anything has come by the 5-tuple before, and the one before that is given up.
        superseded: bool,
    },
    /// A client's connection ended, and its allocation waits for it to come back with its ticket.
    Disconnected {
        /// The allocation's name.
        session: SessionId,
        /// Its owner.
        user: Arc<User>,
        /// The 5-tuple it had.
        tuple: FiveTuple,
    },
    /// One of an allocation's two relayed addresses ended, and the other lives on. What it relayed counts as the
    /// other's from here.
    RelayEnded {
        /// The allocation's name.
        session: SessionId,
        /// Its owner.
        user: Arc<User>,
        /// The relayed address as clients were told it.
        relayed: SocketAddr,
        /// Why.
        cause: EndCause,
    },
    /// An allocation ended.
    Ended {
        /// Its name.
        session: SessionId,
        /// Its owner.
        user: Arc<User>,
        /// Its 5-tuple.
        tuple: FiveTuple,
        /// The relayed address as clients were told it; of two the one that ended last.
        relayed: SocketAddr,
        /// Why.
        cause: EndCause,
        /// How long it lived.
        duration: Duration,
        /// What it relayed.
        usage: Usage,
    },
    /// A permission was installed or renewed.
    PermissionGranted {
        /// The allocation.
        session: SessionId,
        /// The peer.
        peer: IpAddr,
        /// How long it holds.
        lifetime: Duration,
    },
    /// A permission ran out.
    PermissionExpired {
        /// The allocation.
        session: SessionId,
        /// The peer.
        peer: IpAddr,
    },
    /// A channel was bound or renewed.
    ChannelBound {
        /// The allocation.
        session: SessionId,
        /// Its number.
        channel: u16,
        /// The peer.
        peer: SocketAddr,
    },
    /// A request was carried out or refused.
    Processed {
        /// The client.
        tuple: FiveTuple,
        /// The allocation on its 5-tuple, if any.
        session: Option<SessionId>,
        /// The allocation's owner, or the user who asked, once known.
        user: Option<Arc<User>>,
        /// What was asked.
        method: Method,
        /// `None` for success, else what was answered and why.
        refusal: Option<(ErrorNumber, Reason)>,
    },
    /// Credentials were refused.
    AuthenticationFailed {
        /// The client.
        tuple: FiveTuple,
        /// The name it gave, cut to 128 bytes; empty when it gave none.
        username: Box<str>,
        /// Why.
        reason: Reason,
        /// For [`Reason::Expired`], how long ago.
        expired_since: Option<Duration>,
    },
    /// A peer was refused by the peer rules.
    PeerRefused {
        /// The client.
        tuple: FiveTuple,
        /// The allocation.
        session: SessionId,
        /// The peer asked for.
        peer: IpAddr,
        /// Which rule refused it.
        rule: &'static str,
    },
    /// Answers to unauthenticated requests of this source are withheld for the rest of the second.
    SourceLimited {
        /// The source.
        source: IpAddr,
    },
    /// A connection or datagram was refused for what its proxy said of it, or did not say.
    ProxyRefused {
        /// The proxy, or who is taken for one.
        source: SocketAddr,
        /// What it came by.
        transport: Transport,
        /// Why.
        reason: Reason,
    },
}

/// What TLS or DTLS agreed on, as OpenSSL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Security {
    /// The version, such as `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub cipher: &'static str,
}

impl Event {
    /// The user it is about, where it is about one who is known.
    pub fn user(&self) -> Option<&User> {
        match self {
            Event::Allocated { user, .. }
            | Event::Refreshed { user, .. }
            | Event::Moved { user, .. }
            | Event::Disconnected { user, .. }
            | Event::RelayEnded { user, .. }
            | Event::Ended { user, .. } => Some(user),
            Event::Processed { user, .. } => user.as_deref(),
            Event::PermissionGranted { .. }
            | Event::PermissionExpired { .. }
            | Event::ChannelBound { .. }
            | Event::AuthenticationFailed { .. }
            | Event::PeerRefused { .. }
            | Event::SourceLimited { .. }
            | Event::ProxyRefused { .. } => None,
        }
    }
}

/// Why an allocation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// The client asked for it.
    Deleted,
    /// Its lifetime ran out.
    Expired,
    /// The client's connection ended, and with a connection its allocation (RFC 8656 §7.2).
    Disconnected,
    /// The client's DTLS association ended, and with it its allocation.
    Dissociated,
    /// The server is stopping.
    Shutdown,
    /// Its socket could not be taken over by another worker.
    Lost,
    /// Somebody who looks after the server ended it.
    Killed,
}

impl EndCause {
    /// All of them, in order of their numbers.
    pub const ALL: [EndCause; 7] = [
        EndCause::Deleted,
        EndCause::Expired,
        EndCause::Disconnected,
        EndCause::Dissociated,
        EndCause::Shutdown,
        EndCause::Lost,
        EndCause::Killed,
    ];

    /// The stable word for programs: metrics and records.
    pub const fn code(self) -> &'static str {
        match self {
            EndCause::Deleted => "deleted",
            EndCause::Expired => "expired",
            EndCause::Disconnected => "disconnected",
            EndCause::Dissociated => "dissociated",
            EndCause::Shutdown => "shutdown",
            EndCause::Lost => "lost",
            EndCause::Killed => "killed",
        }
    }

    /// The phrase for logs, coturn's where it has one.
    pub const fn phrase(self) -> &'static str {
        match self {
            EndCause::Deleted => "deleted by client",
            EndCause::Expired => "allocation timeout",
            EndCause::Disconnected => "TCP connection closed by client (callback)",
            EndCause::Dissociated => "DTLS association closed by client",
            EndCause::Shutdown => "Forceful shutdown",
            EndCause::Lost => "the relay socket could not be watched",
            EndCause::Killed => "Forceful shutdown by an operator",
        }
    }
}

/// Packets and bytes an allocation relayed: application data, headers excluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Packets from the client.
    pub client_packets: u64,
    /// Bytes from the client.
    pub client_bytes: u64,
    /// Packets from peers.
    pub peer_packets: u64,
    /// Bytes from peers.
    pub peer_bytes: u64,
    /// Of all these packets, both ways, those relayed as flows in the core's place, such as by the kernel.
    pub flow_packets: u64,
    /// Their bytes.
    pub flow_bytes: u64,
}

impl Usage {
    /// Adds what another relayed address of the same allocation relayed.
    pub fn add(&mut self, other: &Usage) {
        self.client_packets += other.client_packets;
        self.client_bytes += other.client_bytes;
        self.peer_packets += other.peer_packets;
        self.peer_bytes += other.peer_bytes;
        self.flow_packets += other.flow_packets;
        self.flow_bytes += other.flow_bytes;
    }
}
