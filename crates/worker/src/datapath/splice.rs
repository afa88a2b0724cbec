//! TCP relaying (RFC 6062): a client's connection and a peer's, joined so that bytes go both ways as they are.
//!
//! Each way for itself: one end is read only when the other has taken everything, so that a slow reader slows down the
//! sender and nobody else; the end of what one sends is passed on when the rest is out, and the other may go on. When
//! one of them breaks, so does the other, for what came through may not be all.

use turnpike_net::{Interest, Span};
use turnpike_turn::{Client, ConnectError, PeerConnectionId, RelayId, Timestamp, Way};

use super::Datapath;
use crate::egress::Ways;
use crate::peer_connections::name_of;
use crate::stream::Fill;
use crate::streams::Closing;

impl Datapath {
    /// Takes in connections that wait at a relayed address, a few at a time.
    #[cold]
    pub(super) fn accept_from_peers(&mut self, relay: RelayId) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(connection) = self.peers.accept(relay, self.now.monotonic, &self.poller) else { return };
            self.make_room_to_send();
            let Datapath { server, pool, egress, links, streams, relays, dtls, peers, .. } = self;
            let (name, verdict) = server.handle_peer_accepted(self.now, relay, connection.peer_address());
            if let Some(name) = name {
                peers.insert(name, connection);
            }
            // A client that does not read goes without; the connection is closed when its time is up.
            Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue_notice(&verdict);
            self.send_alone();
        }
    }

    pub(super) fn connect_peer(
        &mut self,
        name: PeerConnectionId,
        ends: (std::net::SocketAddr, std::net::SocketAddr),
        deadline: Timestamp,
    ) {
        if let Err(error) = self.peers.connect(name, ends, deadline, &self.poller) {
            self.answer_connect(name, Err(error));
        }
    }

    /// A connection with a peer is ready: it is there, or can be read or written.
    pub(crate) fn serve_peer_connection(&mut self, token: u64) {
        let name = name_of(token);
        match self.peers.finish_connecting(name, &self.poller) {
            Some(connected) => self.answer_connect(name, connected),
            None => self.pump(name),
        }
    }

    /// Gives up what could not be connected in time, and goes on with what has bandwidth again.
    pub(super) fn serve_due_peers(&mut self) {
        let now = self.now.monotonic;
        while let Some(name) = self.peers.pop_late(now) {
            self.answer_connect(name, Err(ConnectError::TimedOut));
        }
        while let Some(name) = self.peers.pop_rested(now) {
            self.pump(name);
        }
        self.peers.listen_again(now, &self.poller);
    }

    fn answer_connect(&mut self, name: PeerConnectionId, connected: Result<(), ConnectError>) {
        self.make_room_to_send();
        let Datapath { server, pool, egress, links, streams, relays, dtls, .. } = self;
        let verdict = server.handle_peer_connected(self.now, name, connected);
        // No packet is at hand: the verdict can only be a reply.
        let none = Span { buffer: 0, start: 0, end: 0 };
        Ways { pool, egress, links, streams, relays, dtls: dtls.as_deref_mut() }.queue(&verdict, none);
        self.send_alone();
    }

    /// Puts what was just queued into a TLS record of its own. Clients of RFC 6062 get several such messages at a time, and
    /// coturn's takes no more than one out of each record.
    fn send_alone(&mut self) {
        self.streams.flush(&self.poller);
    }

    /// From here on the client's connection carries no messages. Its answer goes first.
    pub(super) fn splice(&mut self, client: Client, name: PeerConnectionId) {
        self.streams.flush(&self.poller);
        let joined = self.peers.splice(name, client.link) && self.streams.splice(client.link, name);
        if !joined {
            // Never: both were there a moment ago. But a connection that leads nowhere must not stay.
            self.close_peer_and_tell(name);
            self.close_stream(client.link, Closing::Ended);
        }
    }

    /// What a client sent right behind its ConnectionBind.
    pub(super) fn splice_rest(&mut self, name: PeerConnectionId, rest: Span) {
        if !rest.is_empty() && self.send_to_peer(name, rest).is_err() {
            self.break_off(name);
        }
    }

    /// Closes a connection with a peer, and the client's that it is spliced with.
    pub(super) fn close_peer(&mut self, name: PeerConnectionId) {
        let link = self.peers.spliced_with(name);
        self.peers.remove(name);
        if let Some(link) = link {
            self.close_stream(link, Closing::Ended);
        }
    }

    /// Moves what there is, both ways, some at a time: the poller reports what is left.
    pub(super) fn pump(&mut self, name: PeerConnectionId) {
        let mut moved = 0;
        while moved < MOVED_AT_ONCE {
            match self.pump_to_peer(name).and_then(|up| Ok(up + self.pump_to_client(name)?)) {
                Ok(0) => break,
                Ok(bytes) => moved += bytes,
                Err(Broken) => return self.break_off(name),
            }
        }
        match self.settle(name) {
            Ok(false) => {}
            Ok(true) => self.close_peer_and_tell(name),
            Err(Broken) => self.break_off(name),
        }
    }

    fn pump_to_peer(&mut self, name: PeerConnectionId) -> Result<usize, Broken> {
        let now = self.now.monotonic;
        let Some(link) = self.peers.spliced_with(name) else { return Ok(0) };
        let Some(peer) = self.peers.get_mut(name) else { return Ok(0) };
        peer.resume().map_err(|_| Broken)?;
        if peer.is_blocked() || peer.ended[CLIENT] || peer.rests(Way::ToPeer, now) {
            return Ok(0);
        }
        if let Some(until) = self.server.splice_pauses_until(self.now, name, Way::ToPeer) {
            self.peers.rest(name, Way::ToPeer, until);
            return Ok(0);
        }
        self.make_room(1);
        match self.streams.fill(link, &mut self.pool, true) {
            Fill::Bytes(span) => self.send_to_peer(name, span),
            Fill::Dry => Ok(0),
            Fill::End => {
                self.peers.get_mut(name).ok_or(Broken)?.ended[CLIENT] = true;
                Ok(0)
            }
            Fill::Close(_) => Err(Broken),
        }
    }

    fn send_to_peer(&mut self, name: PeerConnectionId, span: Span) -> Result<usize, Broken> {
        self.server.handle_spliced(self.now, name, Way::ToPeer, span.len());
        let peer = self.peers.get_mut(name).ok_or(Broken)?;
        peer.send(self.pool.bytes(span)).map_err(|_| Broken)?;
        Ok(span.len())
    }

    fn pump_to_client(&mut self, name: PeerConnectionId) -> Result<usize, Broken> {
        let now = self.now.monotonic;
        let Some(link) = self.peers.spliced_with(name) else { return Ok(0) };
        self.streams.resume(link, &self.poller).map_err(|_| Broken)?;
        let Some(peer) = self.peers.get_mut(name) else { return Ok(0) };
        if self.streams.is_blocked(link) || peer.ended[PEER] || peer.rests(Way::ToClient, now) {
            return Ok(0);
        }
        if let Some(until) = self.server.splice_pauses_until(self.now, name, Way::ToClient) {
            self.peers.rest(name, Way::ToClient, until);
            return Ok(0);
        }
        self.make_room(1);
        let Some(peer) = self.peers.get_mut(name) else { return Ok(0) };
        match peer.fill(&mut self.pool) {
            Fill::Bytes(span) => {
                self.server.handle_spliced(self.now, name, Way::ToClient, span.len());
                self.streams.send_raw(link, self.pool.bytes(span)).map_err(|_| Broken)?;
                Ok(span.len())
            }
            Fill::Dry => Ok(0),
            Fill::End => {
                peer.ended[PEER] = true;
                Ok(0)
            }
            Fill::Close(_) => Err(Broken),
        }
    }

    /// Passes on what has ended, and asks to be told of what can go on. Returns whether everything has ended.
    fn settle(&mut self, name: PeerConnectionId) -> Result<bool, Broken> {
        let now = self.now.monotonic;
        let Some(link) = self.peers.spliced_with(name) else { return Ok(false) };
        let Some(peer) = self.peers.get_mut(name) else { return Ok(false) };
        if peer.ended[CLIENT] && !peer.told[PEER] && !peer.is_blocked() {
            peer.shut_down();
            peer.told[PEER] = true;
        }
        if peer.ended[PEER] && !peer.told[CLIENT] {
            peer.told[CLIENT] = self.streams.finish(link).map_err(|_| Broken)?;
        }
        if peer.told == [true; 2] {
            return Ok(true);
        }
        let client_reads = !peer.ended[CLIENT] && !peer.is_blocked() && !peer.rests(Way::ToPeer, now);
        self.streams.read_on(link, client_reads, &self.poller).map_err(|_| Broken)?;
        let wanted = Interest {
            reading: !peer.ended[PEER] && !self.streams.is_blocked(link) && !peer.rests(Way::ToClient, now),
            writing: peer.is_blocked(),
        };
        peer.watch(name, wanted, &self.poller).map_err(|_| Broken)?;
        Ok(false)
    }

    fn close_peer_and_tell(&mut self, name: PeerConnectionId) {
        self.close_peer(name);
        self.server.handle_peer_closed(name);
    }

    /// One of the two has broken, and so must the other.
    fn break_off(&mut self, name: PeerConnectionId) {
        let link = self.peers.spliced_with(name);
        if let Some(peer) = self.peers.remove(name) {
            peer.abort();
        }
        self.server.handle_peer_closed(name);
        if let Some(link) = link {
            self.close_stream(link, Closing::Broken);
        }
    }
}

/// One end of a splice has broken.
struct Broken;

/// Whose a flag is.
const CLIENT: usize = 0;
const PEER: usize = 1;
/// Connections taken from a relayed address in one turn.
const ACCEPTED_AT_ONCE: usize = 16;
/// Bytes moved in one turn before others have theirs.
const MOVED_AT_ONCE: usize = 512 * 1024;
