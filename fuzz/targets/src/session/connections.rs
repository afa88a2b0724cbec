//! Connections between relayed addresses and peers (RFC 6062): made, refused, late, claimed and ended.

use std::net::SocketAddr;

use turnpike_turn::{Client, ConnectError, PeerConnectionId, PeerTransport, Verdict, Way};
use turnpike_wire::attributes::{ConnectionId, XorPeerAddress};
use turnpike_wire::{Class, Message, Method};

use super::check;
use super::messages;
use super::world::World;
use crate::input::Input;
use crate::must;

/// Connections with peers, as a worker would have them.
#[derive(Default)]
pub(super) struct Connections {
    open: Vec<Connection>,
    /// Names seen so far, the newest last.
    names: Vec<PeerConnectionId>,
}

struct Connection {
    name: PeerConnectionId,
    from: Option<SocketAddr>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Unbound,
    Spliced,
}

impl Connections {
    /// A name that a caller may have heard of.
    pub(super) fn name(&self, choice: u8) -> u32 {
        let newest = self.names.len().saturating_sub(1 + usize::from(choice % 4));
        self.names.get(newest).map_or(0, |name| name.number()) ^ if choice >= 0xF0 { 0x100 } else { 0 }
    }

    /// The server wants a connection.
    pub(super) fn connect(&mut self, name: PeerConnectionId, from: SocketAddr, peer: SocketAddr) {
        assert_ne!(from, peer, "nobody connects to himself");
        assert_eq!(from.is_ipv4(), peer.is_ipv4(), "within a family");
        self.add(Connection { name, from: Some(from), stage: Stage::Connecting });
    }

    /// The server has spliced one with a client's.
    pub(super) fn splice(&mut self, client: Client, name: PeerConnectionId) {
        assert!(client.tuple.transport.is_stream(), "bytes as they are need a stream");
        let found = self.open.iter_mut().find(|open| open.name == name);
        let found = found.unwrap_or_else(|| panic!("{name:?} is not open"));
        assert!(found.stage == Stage::Unbound, "once, and not before it is there");
        found.stage = Stage::Spliced;
    }

    /// The server closes one.
    pub(super) fn close(&mut self, name: PeerConnectionId) {
        let at = self.open.iter().position(|open| open.name == name);
        self.open.swap_remove(at.unwrap_or_else(|| panic!("{name:?} is not open")));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Whether any of them comes from this relayed address.
    pub(super) fn come_from(&self, relayed: SocketAddr) -> bool {
        self.open.iter().any(|open| open.from == Some(relayed))
    }

    fn add(&mut self, connection: Connection) {
        let name = connection.name;
        assert_eq!(name.owner(), super::world::WORKER, "a name names its owner");
        assert!(self.open.iter().all(|open| open.name != name), "{name:?} twice");
        self.names.push(name);
        self.open.push(connection);
    }
}

impl World {
    /// Something happens to a connection, or a peer makes one.
    pub(super) fn peer_connection(&mut self, input: &mut Input<'_>) {
        let choice = input.byte();
        let at = usize::from(input.byte());
        let chosen = self.connections.open.get(at % self.connections.open.len().max(1));
        let chosen = chosen.map(|open| (open.name, open.stage));
        match (choice % 4, chosen) {
            (0, _) => self.accept(at, messages::peer(input)),
            // An answer, or one more of them, or one about what has never been.
            (1, Some((name, stage))) => self.connected(name, stage, choice),
            (1, None) => {
                let stray = PeerConnectionId::from_number(input.number_u32());
                let verdict = self.server.handle_peer_connected(self.now, stray, Ok(()));
                assert!(matches!(verdict, Verdict::Drop(_)), "nobody waits for {stray:?}");
            }
            (2, Some((name, Stage::Spliced))) => {
                let way = if choice & 4 == 0 { Way::ToPeer } else { Way::ToClient };
                if self.server.splice_pauses_until(self.now, name, way).is_none() {
                    self.server.handle_spliced(self.now, name, way, usize::from(input.number_u16()));
                }
            }
            (3, Some((name, Stage::Unbound | Stage::Spliced))) => {
                self.server.handle_peer_closed(name);
                self.connections.close(name);
            }
            _ => {}
        }
        self.carry_out();
    }

    fn accept(&mut self, at: usize, peer: SocketAddr) {
        let listening: Vec<_> = self
            .open
            .iter()
            .filter(|open| open.transport == PeerTransport::Tcp)
            .map(|open| open.relay)
            .collect();
        let Some(relay) = listening.get(at % listening.len().max(1)) else { return };
        let (name, verdict) = self.server.handle_peer_accepted(self.now, *relay, peer);
        let Some(name) = name else {
            assert!(matches!(verdict, Verdict::Drop(_)), "nobody is told of what is closed");
            return;
        };
        let Verdict::Reply { to, bytes } = &verdict else { panic!("the client is told: {verdict:?}") };
        assert!(self.callers.iter().any(|caller| caller.client == *to), "a client that exists");
        let message = must(Message::parse(bytes), "a ConnectionAttempt is well-formed");
        assert_eq!((message.class(), message.method()), (Class::Indication, Method::CONNECTION_ATTEMPT));
        let told = must(message.get::<ConnectionId>(), "CONNECTION-ID is readable");
        assert_eq!(told, Some(ConnectionId(name.number())));
        let from = must(message.get::<XorPeerAddress>(), "XOR-PEER-ADDRESS is readable");
        assert!(from.is_some_and(|from| from.0.port() == peer.port()), "{from:?} is {peer}");
        assert_ne!(message.fingerprint_is_valid(), Some(false));
        self.connections.add(Connection { name, from: None, stage: Stage::Unbound });
    }

    fn connected(&mut self, name: PeerConnectionId, stage: Stage, choice: u8) {
        let connected = match choice >> 2 & 3 {
            0 => Err(ConnectError::TimedOut),
            1 => Err(ConnectError::Failed),
            _ => Ok(()),
        };
        let verdict = self.server.handle_peer_connected(self.now, name, connected);
        if stage != Stage::Connecting {
            assert!(matches!(verdict, Verdict::Drop(_)), "it was answered before");
            return;
        }
        assert!(matches!(verdict, Verdict::Reply { .. }), "whoever asked is answered: {verdict:?}");
        let known = |client: Client| self.callers.iter().any(|caller| caller.client == client);
        check::answer(&verdict, known);
        let found = self.connections.open.iter_mut().find(|open| open.name == name);
        match (found, connected) {
            (Some(found), Ok(())) => found.stage = Stage::Unbound,
            _ => self.connections.close(name),
        }
    }
}
