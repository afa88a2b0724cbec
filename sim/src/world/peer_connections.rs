//! Connections: clients that come by TCP, and peers that TCP is relayed to (RFC 6062).
//!
//! The messages of the clients here are lost, doubled and reordered as all others are, although TCP would not do that:
//! whatever the rules make of a message that is missing, they must make it here. Streams as they are have their own file,
//! `connections.rs`.

use std::net::SocketAddr;

use turnpike_turn::{Client, ConnectError, FiveTuple, Link, PeerConnectionId, PeerTransport, Transport, Way};

use super::{Happening, World};
use crate::model::Source;
use crate::network::{Datagram, SECOND};
use crate::observed::{Action, Connect};

/// A connection with a peer, as a worker has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerConnection {
    worker: u16,
    id: PeerConnectionId,
    /// The client's connection that it is spliced with.
    client: Option<SocketAddr>,
    /// Whether it is still being made.
    connecting: bool,
}

impl World {
    /// What a client's address is reached by.
    pub(super) fn tuple_of(&self, client: SocketAddr, server: SocketAddr) -> FiveTuple {
        let transport = if client.port() >= FIRST_STREAM { Transport::Tcp } else { Transport::Udp };
        FiveTuple { transport, server, client }
    }

    /// Bytes of a client whose connection is spliced are no messages. Returns whether it is.
    pub(super) fn is_splice_of(&mut self, datagram: &Datagram) -> Result<bool, String> {
        let spliced = self.peer_connections.iter().find(|it| it.client == Some(datagram.from)).copied();
        let Some(PeerConnection { worker, id, .. }) = spliced else { return Ok(false) };
        self.pass(worker, id, Way::ToPeer, datagram.bytes.len())?;
        Ok(true)
    }

    /// A connection with a peer was made, or not.
    pub(crate) fn peer_connected(
        &mut self,
        worker: u16,
        id: PeerConnectionId,
        connected: Result<(), ConnectError>,
    ) -> Result<(), String> {
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.peer_connected(now, worker, id, connected);
        let action =
            Action::of(self.servers[usize::from(worker)].handle_peer_connected(now, id, connected), &[]);
        let at =
            self.peer_connections.iter().position(|it| it.worker == worker && it.id == id && it.connecting);
        if let Some(at) = at {
            match connected {
                Ok(()) => self.peer_connections[at].connecting = false,
                Err(_) => drop(self.peer_connections.swap_remove(at)),
            }
        }
        self.conclude(worker, ("peer connected", &format!("{id:?} {connected:?}")), expected, action)
    }

    /// Something happens to some connection: a peer makes one, sends, or ends one; or a client's ends.
    pub(crate) fn connection_happens(&mut self) -> Result<(), String> {
        match self.random.below(10) {
            0..=4 => self.peer_connects(),
            5 | 6 => self.peer_sends(),
            7 | 8 => self.peer_ends(),
            _ => self.client_ends(),
        }
    }

    /// What the core asked of its worker about connections.
    pub(super) fn carry_out_connections(
        &mut self,
        worker: u16,
        connects: &[Connect],
        splices: &[(Client, PeerConnectionId)],
        closed: &[PeerConnectionId],
    ) {
        for Connect { connection, deadline, .. } in connects {
            let id = *connection;
            self.peer_connections.push(PeerConnection { worker, id, client: None, connecting: true });
            let (connected, delay) = match self.random.below(10) {
                0 => (Err(ConnectError::Failed), self.random.below(SECOND)),
                1 => (Err(ConnectError::TimedOut), deadline.0 - self.now),
                2 => (Ok(()), self.random.below(30 * SECOND)),
                _ => (Ok(()), self.random.below(SECOND / 10)),
            };
            self.schedule(delay, Happening::PeerConnected(worker, id, connected));
            if self.random.chance(50) {
                // An answer too many.
                let later = delay + self.random.below(SECOND);
                self.schedule(later, Happening::PeerConnected(worker, id, Ok(())));
            }
        }
        for (client, id) in splices {
            let found = self.peer_connections.iter_mut().find(|it| it.worker == worker && it.id == *id);
            if let Some(found) = found {
                found.client = Some(client.tuple.client);
            }
        }
        for id in closed {
            self.peer_connections.retain(|it| it.worker != worker || it.id != *id);
        }
    }

    fn peer_connects(&mut self) -> Result<(), String> {
        let listening = self.sockets.iter().filter(|it| it.transport == PeerTransport::Tcp);
        let listening: Vec<_> = listening.map(|it| (it.worker, it.relay, it.local.is_ipv4())).collect();
        let Some((worker, mut relay, ipv4)) = self.random.pick_some(&listening).copied() else {
            return Ok(());
        };
        if self.random.chance(20) {
            relay.generation = relay.generation.wrapping_sub(1);
        }
        let own = self.sockets.iter().map(|socket| socket.local);
        let peers = own.chain(crate::actors::public()).chain(crate::actors::public_six());
        let peers: Vec<SocketAddr> = peers.filter(|peer| peer.is_ipv4() == ipv4).collect();
        let mut peer = *self.random.pick(&peers);
        if self.random.chance(500) {
            peer.set_port(self.random.between(1024, 1040) as u16);
        }
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.peer_accepted(now, worker, relay, peer);
        let (accepted, verdict) = self.servers[usize::from(worker)].handle_peer_accepted(now, relay, peer);
        let action = Action::of(verdict, &[]);
        self.accepted = accepted;
        if let Some(id) = accepted {
            self.peer_connections.push(PeerConnection { worker, id, client: None, connecting: false });
        }
        self.conclude(worker, ("peer accepted", &format!("{relay:?} {peer}")), expected, action)
    }

    fn peer_sends(&mut self) -> Result<(), String> {
        let spliced: Vec<_> =
            self.peer_connections.iter().filter(|it| it.client.is_some()).copied().collect();
        let Some(PeerConnection { worker, id, .. }) = self.random.pick_some(&spliced).copied() else {
            return Ok(());
        };
        let bytes = self.random.below(65_536) as usize;
        self.pass(worker, id, Way::ToClient, bytes)
    }

    /// A peer's connection ends, and the client's with it; or the other way round.
    fn peer_ends(&mut self) -> Result<(), String> {
        let made: Vec<_> = self.peer_connections.iter().filter(|it| !it.connecting).copied().collect();
        match self.random.pick_some(&made).copied() {
            Some(PeerConnection { worker, id, .. }) => self.end_peer(worker, id),
            None => Ok(()),
        }
    }

    /// A client's connection ends, and with it what it is spliced with.
    pub(crate) fn end_splice_of(&mut self, client: SocketAddr) -> Result<(), String> {
        match self.peer_connections.iter().find(|it| it.client == Some(client)).copied() {
            Some(PeerConnection { worker, id, .. }) => self.end_peer(worker, id),
            None => Ok(()),
        }
    }

    fn end_peer(&mut self, worker: u16, id: PeerConnectionId) -> Result<(), String> {
        self.wake_if_due(worker)?;
        let expected = self.model.peer_closed(worker, id);
        self.servers[usize::from(worker)].handle_peer_closed(id);
        self.peer_connections.retain(|it| it.worker != worker || it.id != id);
        self.conclude(worker, ("peer closed", &format!("{id:?}")), expected, Action::Nothing)
    }

    /// A client's control connection ends.
    fn client_ends(&mut self) -> Result<(), String> {
        let Some(client) = self.random.pick_some(&self.stream_clients).copied() else { return Ok(()) };
        let worker = self.worker_of(client.tuple.client);
        let client = Client { link: Link(worker.into()), ..client };
        self.moved.remove(&client.tuple.client);
        self.wake_if_due(worker)?;
        let now = self.clocks();
        let expected = self.model.link_closed(now, Source { worker, client });
        self.servers[usize::from(worker)].handle_link_closed(now, client);
        self.conclude(worker, ("link closed", &format!("{client:?}")), expected, Action::Nothing)
    }

    fn pass(&mut self, worker: u16, id: PeerConnectionId, way: Way, bytes: usize) -> Result<(), String> {
        self.wake_if_due(worker)?;
        let now = self.clocks();
        // It may have been closed just now.
        let expected = self.model.spliced(worker, id, way, bytes as u64);
        self.servers[usize::from(worker)].handle_spliced(now, id, way, bytes);
        self.conclude(worker, ("spliced", &format!("{id:?} {way:?} {bytes}")), expected, Action::Nothing)
    }

    /// Remembers who comes by TCP, and gives a connection the worker it belongs to.
    pub(super) fn hand_over(&mut self, datagram: &Datagram, worker: u16) {
        *self.actions.entry("handed over".into()).or_default() += 1;
        self.moved.insert(datagram.from, worker);
        self.schedule(1, Happening::Arrival(datagram.clone()));
    }

    pub(super) fn note_stream_client(&mut self, tuple: FiveTuple, link: Link) {
        let client = Client { link, tuple };
        if tuple.transport.is_stream() && !self.stream_clients.iter().any(|it| it.tuple == tuple) {
            crate::actors::keep(&mut self.stream_clients, client, 32);
        }
    }
}

/// Clients' ports from here on are those of connections.
pub(crate) const FIRST_STREAM: u16 = 41_000;
