//! TCP allocations (RFC 6062): connections between relayed addresses and peers, from the first packet until they are
//! spliced with a client's, and what is counted of them afterwards.
//!
//! Who asks for a connection is in `requests/connect.rs`, who claims one in `requests/connection_bind.rs`.
//!
//! Invariants: a connection belongs to exactly one relayed address, which lists it, and ends with it; towards one peer a
//! relayed address has no more than one; until a ConnectionBind has claimed it, it has a deadline. Whatever the worker
//! says of a connection that has ended here means nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use turnpike_wire::attributes::{ConnectionId, XorPeerAddress};
use turnpike_wire::{Class, ErrorNumber, MessageWriter, Method};

use crate::allocation::Allocation;
use crate::bandwidth::Way;
use crate::effect::{Effect, Event};
use crate::peers::PeerAccess;
use crate::reason::Reason;
use crate::requests::{Answer, Refusal, Refused, refused};
use crate::response::Reply;
use crate::server::Server;
use crate::time::{Now, Timestamp};
use crate::timers::Timer;
use crate::tuple::RelayId;
use crate::user::User;
use crate::verdict::Verdict;

/// Names a connection with a peer, to the worker and as CONNECTION-ID to clients. Nobody can guess it, and it says which
/// worker it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerConnectionId(u32);

impl PeerConnectionId {
    /// From the value of CONNECTION-ID.
    pub const fn from_number(number: u32) -> Self {
        PeerConnectionId(number)
    }

    /// The value of CONNECTION-ID.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The worker that has the connection, if there is one.
    pub const fn owner(self) -> u16 {
        (self.0 & WORKER_BITS) as u16
    }
}

/// What is spoken between a relayed address and peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerTransport {
    /// RFC 8656.
    Udp,
    /// RFC 6062.
    Tcp,
}

/// Why there is no connection with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// It did not answer in time.
    TimedOut,
    /// Anything else: it refused, there is no way to it, no descriptor was left.
    Failed,
}

/// What a relayed address for TCP has besides.
#[derive(Debug, Default)]
pub(crate) struct TcpRelay {
    pub(crate) connections: Vec<PeerConnectionId>,
}

/// A connection with a peer.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    pub(crate) relay: RelayId,
    /// Its canonical address.
    pub(crate) peer: SocketAddr,
    pub(crate) stage: Stage,
}

/// How far a connection has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// A Connect waits for it, to be answered like this, to this user.
    Connecting(Reply, Arc<User>),
    /// It waits for a ConnectionBind until then.
    Unbound(Timestamp),
    /// A client's connection is spliced with it.
    Bound,
}

/// All connections of one worker.
#[derive(Debug, Default)]
pub(crate) struct PeerConnections {
    by_id: HashMap<PeerConnectionId, PeerConnection>,
}

impl PeerConnections {
    pub(crate) fn get(&self, connection: PeerConnectionId) -> Option<&PeerConnection> {
        self.by_id.get(&connection)
    }

    pub(crate) fn get_mut(&mut self, connection: PeerConnectionId) -> Option<&mut PeerConnection> {
        self.by_id.get_mut(&connection)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Until when it waits for a ConnectionBind.
    pub(crate) fn deadline(&self, connection: PeerConnectionId) -> Option<Timestamp> {
        match self.get(connection)?.stage {
            Stage::Unbound(deadline) => Some(deadline),
            Stage::Connecting(..) | Stage::Bound => None,
        }
    }
}

impl Server {
    /// The worker's answer to [`Effect::ConnectPeer`].
    pub fn handle_peer_connected(
        &mut self,
        now: Now,
        connection: PeerConnectionId,
        connected: Result<(), ConnectError>,
    ) -> Verdict<'_> {
        let found = self.peer_connections.get(connection).map(|found| (found.relay, found.stage.clone()));
        let Some((relay, Stage::Connecting(reply, user))) = found else {
            return self.drop_packet(Reason::StaleRelay);
        };
        let user = Some(user);
        let failure = connected.err().map(|error| match error {
            ConnectError::TimedOut => Reason::PeerTimeout,
            ConnectError::Failed => Reason::PeerUnreachable,
        });
        let refused = failure.map(|reason| refused(ErrorNumber::CONNECTION_TIMEOUT_OR_FAILURE, reason));
        self.report_connected(relay, &reply, refused);
        match refused {
            None => {
                self.await_bind(now.monotonic, connection);
                self.write_success(now, &reply, Answer::Connected(connection), user.as_deref())
            }
            Some(refused) => {
                self.forget_connection(connection);
                self.write_error(&reply, &Refusal { refused, challenge: false, user }, None, &[], None)
            }
        }
    }

    /// A peer has connected to a relayed address (RFC 6062 §5.3). With a name the connection is to be kept unread, and
    /// the verdict tells the client; without one it is to be closed at once.
    pub fn handle_peer_accepted(
        &mut self,
        now: Now,
        relay: RelayId,
        peer: SocketAddr,
    ) -> (Option<PeerConnectionId>, Verdict<'_>) {
        let peer = SocketAddr::new(self.config.peers.external_form(peer.ip()), peer.port());
        match self.admit_peer(now.monotonic, relay, peer) {
            Ok(connection) => {
                self.await_bind(now.monotonic, connection);
                (Some(connection), self.tell_of_attempt(relay, connection, peer))
            }
            Err(reason) => (None, self.drop_packet(reason)),
        }
    }

    /// A connection with a peer has ended, and the client's that it was spliced with.
    pub fn handle_peer_closed(&mut self, connection: PeerConnectionId) {
        self.forget_connection(connection);
    }

    /// Bytes have been read from one end of a splice, to be sent to the other.
    pub fn handle_spliced(&mut self, now: Now, connection: PeerConnectionId, way: Way, bytes: usize) {
        let Server { peer_connections, allocations, stats, .. } = self;
        let relay = peer_connections.get(connection).map(|connection| connection.relay);
        let Some(allocation) = relay.and_then(|relay| allocations.get_mut(relay)) else { return };
        let bytes = bytes as u64;
        if let Some(limit) = &mut allocation.limit {
            limit.spend(now.monotonic, way, bytes);
        }
        let realm = stats.realms.usage(allocation.realm);
        let usage = &mut allocation.usage;
        let counters = match way {
            Way::ToPeer => [
                (&mut usage.client_packets, &mut usage.client_bytes),
                (&mut realm.client_packets, &mut realm.client_bytes),
            ],
            Way::ToClient => [
                (&mut usage.peer_packets, &mut usage.peer_bytes),
                (&mut realm.peer_packets, &mut realm.peer_bytes),
            ],
        };
        for (packets, total) in counters {
            *packets += 1;
            *total += bytes;
        }
    }

    /// Until when nothing may be read that goes this way, because `max-bps` is spent; `None` if it may.
    pub fn splice_pauses_until(
        &mut self,
        now: Now,
        connection: PeerConnectionId,
        way: Way,
    ) -> Option<Timestamp> {
        let relay = self.peer_connections.get(connection)?.relay;
        self.allocations.get_mut(relay)?.limit.as_mut()?.exhausted_until(now.monotonic, way)
    }

    /// The form of a canonical peer's address to connect to, if it may be reached at this port.
    pub(crate) fn reachable_by_tcp(&self, access: PeerAccess, peer: SocketAddr) -> Option<SocketAddr> {
        match access {
            PeerAccess::Anywhere => Some(peer),
            PeerAccess::LiveRelays => self.ports.live_tcp_relay(&self.config.peers, peer),
            PeerAccess::NotListeners => {
                let relayed = self.ports.live_tcp_relay(&self.config.peers, peer);
                relayed.or((!self.config.peers.is_listener(&peer)).then_some(peer))
            }
        }
    }

    /// Whether a relayed address has a connection with this peer, of whichever stage.
    pub(crate) fn is_connected(&self, relay: RelayId, peer: SocketAddr) -> bool {
        let listed = self.allocations.get(relay).and_then(|allocation| allocation.tcp.as_deref());
        listed.is_some_and(|tcp| {
            let with_peer = |connection: &PeerConnectionId| {
                self.peer_connections.get(*connection).is_some_and(|other| other.peer == peer)
            };
            tcp.connections.iter().any(with_peer)
        })
    }

    /// Makes a connection under a new name, if there is room for one more.
    pub(crate) fn add_connection(
        &mut self,
        relay: RelayId,
        peer: SocketAddr,
        stage: Stage,
    ) -> Result<PeerConnectionId, Refused> {
        let full = refused(ErrorNumber::INSUFFICIENT_CAPACITY, Reason::TooManyConnections);
        if self.peer_connections.len() >= self.config.worker_connections {
            return Err(full);
        }
        let connection = self.new_name().ok_or(full)?;
        let allocation = self.allocations.get_mut(relay).and_then(|allocation| allocation.tcp.as_deref_mut());
        let tcp = allocation.filter(|tcp| tcp.connections.len() < self.config.allocation_connections);
        tcp.ok_or(full)?.connections.push(connection);
        self.peer_connections.by_id.insert(connection, PeerConnection { relay, peer, stage });
        Ok(connection)
    }

    /// Closes what a relayed address that has ended had; `connections` is its list.
    pub(crate) fn close_connections(&mut self, connections: &[PeerConnectionId]) {
        for connection in connections {
            if self.peer_connections.by_id.remove(connection).is_some() {
                self.effects.push_back(Effect::ClosePeer { connection: *connection });
            }
        }
    }

    /// Closes the connections of a relayed address with peers that may not be reached by now. They need no permission: a
    /// Connect is judged by itself (RFC 6062 §5.2).
    pub(crate) fn close_refused_connections(&mut self, relay: RelayId) {
        let Server { allocations, peer_connections, config, .. } = self;
        let Some(Allocation { tcp: Some(tcp), user, .. }) = allocations.get_mut(relay) else { return };
        let is_refused = |connection: &PeerConnectionId| {
            let peer = peer_connections.get(*connection).map(|found| found.peer.ip());
            peer.is_some_and(|peer| config.judge_peer_of(user, peer).is_err())
        };
        let listed = std::mem::take(&mut tcp.connections);
        let (closing, staying): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_refused);
        tcp.connections = staying;
        self.close_connections(&closing);
    }

    /// RFC 6062 §5.2, §5.3: closes a connection that no ConnectionBind has claimed in time.
    pub(crate) fn expire_connection(&mut self, now: Timestamp, connection: PeerConnectionId) {
        if self.peer_connections.deadline(connection).is_some_and(|deadline| deadline <= now) {
            self.stats.count(Reason::NeverBound);
            self.forget_connection(connection);
            self.effects.push_back(Effect::ClosePeer { connection });
        }
    }

    /// Panics unless connections and relayed addresses agree on each other.
    pub(crate) fn check_connections(&self) {
        let mut listed = 0;
        for relay in self.allocations.names() {
            let Some(tcp) = self.allocations.get(relay).and_then(|allocation| allocation.tcp.as_deref())
            else {
                continue;
            };
            listed += tcp.connections.len();
            for connection in &tcp.connections {
                let found = self.peer_connections.get(*connection).expect("a listed connection exists");
                assert_eq!(found.relay, relay, "it is listed by its own relayed address");
                assert_eq!(connection.owner(), self.worker, "its name names this worker");
                let peers = tcp.connections.iter().filter_map(|other| self.peer_connections.get(*other));
                let same = peers.filter(|other| other.peer == found.peer).count();
                assert_eq!(same, 1, "one connection with each peer");
            }
        }
        assert_eq!(listed, self.peer_connections.len(), "every connection is listed once");
    }

    fn forget_connection(&mut self, connection: PeerConnectionId) {
        let Some(forgotten) = self.peer_connections.by_id.remove(&connection) else { return };
        let allocation = self.allocations.get_mut(forgotten.relay);
        if let Some(tcp) = allocation.and_then(|allocation| allocation.tcp.as_deref_mut()) {
            tcp.connections.retain(|listed| *listed != connection);
        }
    }

    /// Whether a peer may connect, and if so the name of its connection.
    fn admit_peer(
        &mut self,
        now: Timestamp,
        relay: RelayId,
        peer: SocketAddr,
    ) -> Result<PeerConnectionId, Reason> {
        let allocation = self.allocations.get(relay).ok_or(Reason::StaleRelay)?;
        let permission = allocation.permissions.get(peer.ip(), now).ok_or(Reason::NoPermission)?;
        let is_live = || self.ports.live_tcp_relay(&self.config.peers, peer).is_some();
        if permission.access == PeerAccess::LiveRelays && !is_live() {
            return Err(Reason::OwnAddress);
        }
        // From the same address and port only what is still believed to be open, or a Connect that crosses it.
        if self.is_connected(relay, peer) {
            return Err(Reason::ConnectionExists);
        }
        let stage = Stage::Unbound(now + BIND_TIMEOUT);
        self.add_connection(relay, peer, stage).map_err(|refused| refused.reason)
    }

    /// The connection is there: gives the client time to claim it.
    fn await_bind(&mut self, now: Timestamp, connection: PeerConnectionId) {
        let deadline = now + BIND_TIMEOUT;
        if let Some(found) = self.peer_connections.get_mut(connection) {
            found.stage = Stage::Unbound(deadline);
            self.set_timer(deadline, Timer::Unbound(connection));
        }
    }

    /// ConnectionAttempt, to whoever the relayed address belongs to.
    fn tell_of_attempt(
        &mut self,
        relay: RelayId,
        connection: PeerConnectionId,
        peer: SocketAddr,
    ) -> Verdict<'_> {
        let Some(allocation) = self.allocations.get(relay) else {
            return self.drop_packet(Reason::StaleRelay);
        };
        let (to, fingerprint) = (allocation.client, allocation.fingerprint || self.config.always_fingerprint);
        let id = self.random.transaction_id();
        let (class, method) = (Class::Indication, Method::CONNECTION_ATTEMPT);
        let mut writer = MessageWriter::new(&mut self.scratch[..], class, method, id);
        writer.add(&XorPeerAddress(peer)).add(&ConnectionId(connection.number()));
        if fingerprint {
            writer.fingerprint();
        }
        match writer.finish() {
            Ok(bytes) => Verdict::Reply { to, bytes },
            // Never: the buffer takes far more. But a drop has its counter.
            Err(_) => {
                self.stats.count(Reason::TooLarge);
                Verdict::Drop(Reason::TooLarge)
            }
        }
    }

    /// Random but for the bits that name this worker.
    fn new_name(&mut self) -> Option<PeerConnectionId> {
        (0..NAMES_TRIED).find_map(|_| {
            let random = self.random.next_u64() as u32 & !WORKER_BITS;
            let name = PeerConnectionId(random | u32::from(self.worker) & WORKER_BITS);
            self.peer_connections.get(name).is_none().then_some(name)
        })
    }

    fn report_connected(&mut self, relay: RelayId, reply: &Reply, refused: Option<Refused>) {
        let Some(allocation) = self.allocations.get(relay).filter(|_| self.config.verbose) else { return };
        let (session, user) = (Some(allocation.session), Some(allocation.user.clone()));
        self.report(Event::Processed {
            tuple: reply.client.tuple,
            session,
            user,
            method: Method::CONNECT,
            refusal: refused.map(|refused| (refused.number, refused.reason)),
        });
    }
}

/// How long an attempt to connect may take: at least 30 s (RFC 6062 §5.2).
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection waits for a ConnectionBind (RFC 6062 §5.2, §5.3).
const BIND_TIMEOUT: Duration = Duration::from_secs(30);
/// Bits of a name that say which worker's it is. The other 25 are random; and who guesses one must be its owner as well.
const WORKER_BITS: u32 = 0x7F;
/// Random names tried before giving up: a worker has room for far fewer than there are.
const NAMES_TRIED: usize = 32;
