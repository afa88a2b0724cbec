//! TCP allocations (RFC 6062): clients that come by connections, and peers that connect or are connected to.

use std::net::SocketAddr;

use turnpike_turn::{
    Client, ConnectError, FiveTuple, Link, PeerConnectionId, RelayId, Timestamp, Transport, Way,
};
use turnpike_wire::attributes::{ConnectionId, RequestedTransport, XorPeerAddress, XorRelayedAddress};
use turnpike_wire::{Class, MessageWriter, Method};

use super::world::carry_out;
use super::{Caller, Outcome, World, address};

/// An attempt to connect to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Connecting {
    pub(crate) connection: PeerConnectionId,
    pub(crate) from: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) deadline: Timestamp,
}

/// A ConnectionAttempt as the client gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) to: Client,
    pub(crate) peer: SocketAddr,
    pub(crate) connection: PeerConnectionId,
}

impl Caller {
    /// alice, calling over TCP.
    pub(crate) fn by_tcp(from: &str) -> Self {
        Caller::new(from).over(Transport::Tcp)
    }

    /// By another transport.
    pub(crate) fn over(mut self, transport: Transport) -> Self {
        self.client.tuple.transport = transport;
        self
    }

    /// The same user on another connection.
    pub(crate) fn again_from(&self, from: &str) -> Self {
        let tuple = FiveTuple { client: address(from), ..self.client.tuple };
        Caller {
            client: Client { link: Link(self.client.link.0 + 1), tuple },
            nonce: Vec::new(),
            ..self.clone()
        }
    }

    #[track_caller]
    pub(crate) fn allocate_tcp_with(
        &mut self,
        world: &mut World,
        build: impl Fn(&mut MessageWriter<'_>),
    ) -> Outcome {
        self.request(world, Method::ALLOCATE, |writer| {
            writer.add(&RequestedTransport::TCP);
            build(writer);
        })
    }

    /// Makes a TCP allocation, and returns the relayed transport address.
    #[track_caller]
    pub(crate) fn allocate_tcp(&mut self, world: &mut World) -> SocketAddr {
        let XorRelayedAddress(relayed) = self.allocate_tcp_with(world, |_| {}).expect_success().expect();
        relayed
    }

    #[track_caller]
    pub(crate) fn connect(&mut self, world: &mut World, peer: &str) -> Outcome {
        self.request(world, Method::CONNECT, |writer| {
            writer.add(&XorPeerAddress(address(peer)));
        })
    }

    /// Connects to a peer that answers; returns the connection's name.
    #[track_caller]
    pub(crate) fn connect_well(&mut self, world: &mut World, peer: &str) -> PeerConnectionId {
        let Outcome::Connecting(connection) = self.connect(world, peer) else { panic!("no attempt") };
        let reply = world.connected(connection, Ok(())).expect_success();
        assert_eq!(reply.expect::<ConnectionId>().0, connection.number());
        connection
    }

    #[track_caller]
    pub(crate) fn bind_connection(&mut self, world: &mut World, connection: PeerConnectionId) -> Outcome {
        self.request(world, Method::CONNECTION_BIND, |writer| {
            writer.add(&ConnectionId(connection.number()));
        })
    }
}

impl World {
    /// What has become of an attempt to connect.
    pub(crate) fn connected(
        &mut self,
        connection: PeerConnectionId,
        connected: Result<(), ConnectError>,
    ) -> Outcome {
        let verdict = self.server.handle_peer_connected(self.now, connection, connected);
        let outcome = carry_out(verdict, &[]);
        self.settle(outcome)
    }

    /// A peer connects to the relayed address with this local form.
    #[track_caller]
    pub(crate) fn accept(&mut self, relayed: SocketAddr, peer: &str) -> (Option<PeerConnectionId>, Outcome) {
        let relay: RelayId = self.relay_at(relayed);
        let (connection, verdict) = self.server.handle_peer_accepted(self.now, relay, address(peer));
        let outcome = carry_out(verdict, &[]);
        (connection, self.settle(outcome))
    }

    /// A peer connects, and the client is told.
    #[track_caller]
    pub(crate) fn accept_well(&mut self, relayed: SocketAddr, peer: &str) -> Attempt {
        let (connection, outcome) = self.accept(relayed, peer);
        let told = outcome.expect_reply();
        let message = told.message();
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::CONNECTION_ATTEMPT));
        assert_eq!(message.attributes().count(), 2 + usize::from(message.fingerprint_is_valid().is_some()));
        let attempt = Attempt {
            to: told.to,
            peer: told.expect::<XorPeerAddress>().0,
            connection: PeerConnectionId::from_number(told.expect::<ConnectionId>().0),
        };
        assert_eq!(connection, Some(attempt.connection), "the worker is told the same");
        attempt
    }

    /// Bytes pass a splice.
    pub(crate) fn pass(&mut self, connection: PeerConnectionId, way: Way, bytes: usize) {
        self.server.handle_spliced(self.now, connection, way, bytes);
        self.drain();
    }
}
