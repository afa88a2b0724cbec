//! Relayed addresses that speak TCP (RFC 6062), and their connections with peers.
//!
//! A connection that no client's is spliced with is not read: what its peer sends waits in the kernel, which lets it
//! send no more than fits there. One that is keeps only what the peer has not taken, and the client is not read before
//! that is gone. So a connection holds memory only while its peer is slower than the client, and a bounded amount.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;

use turnpike_net::{Interest, PacketPool, Poller, TcpConnection, TcpListener};
use turnpike_turn::{ConnectError, Link, PeerConnectionId, RelayError, RelayId, Timestamp, Way};

use crate::stream::Fill;
use crate::streams::Closing;

/// A worker's TCP relays and connections with peers.
#[derive(Default)]
pub(crate) struct PeerConnections {
    relays: HashMap<RelayId, TcpListener>,
    connections: HashMap<PeerConnectionId, PeerConnection>,
    /// When to give up those that are being made.
    deadlines: BTreeSet<(Timestamp, u32)>,
    /// When those may be read again that have used up their bandwidth.
    rests: BTreeSet<(Timestamp, u32)>,
    /// Relays that accept nothing until then, because there was no descriptor for the last connection.
    paused: Option<(Timestamp, Vec<RelayId>)>,
    device: Option<String>,
}

/// A connection with a peer.
pub(crate) struct PeerConnection {
    connection: TcpConnection,
    stage: Stage,
    watched: Interest,
    /// What the peer has not taken yet.
    unsent: Vec<u8>,
    /// Whether the client, and the peer, will send no more.
    pub(crate) ended: [bool; 2],
    /// Whether each has been told so of the other.
    pub(crate) told: [bool; 2],
    /// Until when nothing is read that goes this way.
    rests: [Option<Timestamp>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting { deadline: Timestamp },
    Unbound,
    Spliced(Link),
}

impl PeerConnections {
    pub(crate) fn new(device: Option<String>) -> Self {
        PeerConnections { device, ..PeerConnections::default() }
    }

    /// Opens and watches the listener of a relayed address.
    pub(crate) fn open(
        &mut self,
        relay: RelayId,
        address: SocketAddr,
        poller: &Poller,
    ) -> Result<(), RelayError> {
        let listener = TcpListener::bind_relay(address, self.device.as_deref());
        let listener = listener.map_err(|error| match error.kind() {
            ErrorKind::AddrInUse => RelayError::AddressInUse,
            _ => RelayError::Other,
        })?;
        poller.add(&listener, relay.to_bits()).map_err(|_| RelayError::Other)?;
        self.relays.insert(relay, listener);
        Ok(())
    }

    /// Closes the listener of a relayed address, if it has one.
    pub(crate) fn close_relay(&mut self, relay: RelayId) {
        self.relays.remove(&relay);
    }

    /// The next connection that waits at a relayed address.
    pub(crate) fn accept(
        &mut self,
        relay: RelayId,
        now: Timestamp,
        poller: &Poller,
    ) -> Option<TcpConnection> {
        let listener = self.relays.get(&relay)?;
        listener.accept().unwrap_or_else(|_| {
            // What waits would be reported again and again while it cannot be had.
            if poller.remove(listener).is_ok() {
                let (_, paused) =
                    self.paused.get_or_insert((now + crate::stream_listeners::PAUSE, Vec::new()));
                paused.push(relay);
            }
            None
        })
    }

    /// Accepts again, if the pause is over.
    pub(crate) fn listen_again(&mut self, now: Timestamp, poller: &Poller) {
        let Some((_, paused)) = self.paused.take_if(|(until, _)| *until <= now) else { return };
        for relay in paused {
            if let Some(listener) = self.relays.get(&relay)
                && poller.add(listener, relay.to_bits()).is_err()
            {
                let (_, paused) =
                    self.paused.get_or_insert((now + crate::stream_listeners::PAUSE, Vec::new()));
                paused.push(relay);
            }
        }
    }

    /// Keeps a connection that a peer has made, unread.
    pub(crate) fn insert(&mut self, name: PeerConnectionId, connection: TcpConnection) {
        self.connections.insert(name, PeerConnection::new(connection, Stage::Unbound));
    }

    /// Begins to connect to a peer.
    pub(crate) fn connect(
        &mut self,
        name: PeerConnectionId,
        (from, peer): (SocketAddr, SocketAddr),
        deadline: Timestamp,
        poller: &Poller,
    ) -> Result<(), ConnectError> {
        let connection = TcpConnection::connect_from(from, peer, self.device.as_deref());
        let connection = connection.map_err(|_| ConnectError::Failed)?;
        let mut connection = PeerConnection::new(connection, Stage::Connecting { deadline });
        let writing = Interest { reading: false, writing: true };
        connection.watch(name, writing, poller).map_err(|_| ConnectError::Failed)?;
        self.connections.insert(name, connection);
        self.deadlines.insert((deadline, name.number()));
        Ok(())
    }

    /// What has become of a connection that was begun; `None` if it is not known yet, or not a question any more.
    pub(crate) fn finish_connecting(
        &mut self,
        name: PeerConnectionId,
        poller: &Poller,
    ) -> Option<Result<(), ConnectError>> {
        let found = self.connections.get_mut(&name)?;
        let Stage::Connecting { deadline } = found.stage else { return None };
        let connected = match found.connection.is_connected() {
            Ok(false) => return None,
            Ok(true) => found.watch(name, Interest::default(), poller),
            Err(error) => Err(error),
        };
        self.deadlines.remove(&(deadline, name.number()));
        found.stage = Stage::Unbound;
        Some(connected.map_err(|_| {
            self.connections.remove(&name);
            ConnectError::Failed
        }))
    }

    /// A connection that could not be made in time; it is given up.
    pub(crate) fn pop_late(&mut self, now: Timestamp) -> Option<PeerConnectionId> {
        let late = self.deadlines.first().filter(|(due, _)| *due <= now).copied()?;
        self.deadlines.remove(&late);
        let name = PeerConnectionId::from_number(late.1);
        self.connections.remove(&name);
        Some(name)
    }

    /// A connection that has bandwidth again.
    pub(crate) fn pop_rested(&mut self, now: Timestamp) -> Option<PeerConnectionId> {
        let rested = self.rests.first().filter(|(due, _)| *due <= now).copied()?;
        self.rests.remove(&rested);
        Some(PeerConnectionId::from_number(rested.1))
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let [connecting, resting] =
            [&self.deadlines, &self.rests].map(|set| set.first().map(|(due, _)| *due));
        let paused = self.paused.as_ref().map(|(until, _)| *until);
        [connecting, resting, paused].into_iter().flatten().min()
    }

    /// Joins a connection with a client's. Returns whether it is there.
    pub(crate) fn splice(&mut self, name: PeerConnectionId, link: Link) -> bool {
        let found = self.connections.get_mut(&name).filter(|found| found.stage == Stage::Unbound);
        found.map(|found| found.stage = Stage::Spliced(link)).is_some()
    }

    /// The client's connection that one is spliced with.
    pub(crate) fn spliced_with(&self, name: PeerConnectionId) -> Option<Link> {
        match self.connections.get(&name)?.stage {
            Stage::Spliced(link) => Some(link),
            Stage::Connecting { .. } | Stage::Unbound => None,
        }
    }

    pub(crate) fn get_mut(&mut self, name: PeerConnectionId) -> Option<&mut PeerConnection> {
        self.connections.get_mut(&name)
    }

    /// Reads nothing that goes this way until then.
    pub(crate) fn rest(&mut self, name: PeerConnectionId, way: Way, until: Timestamp) {
        if let Some(found) = self.connections.get_mut(&name) {
            found.rests[way as usize] = Some(until);
            self.rests.insert((until, name.number()));
        }
    }

    /// Forgets a connection, which closes it. Returns whether there was one.
    pub(crate) fn remove(&mut self, name: PeerConnectionId) -> Option<PeerConnection> {
        let removed = self.connections.remove(&name)?;
        if let Stage::Connecting { deadline } = removed.stage {
            self.deadlines.remove(&(deadline, name.number()));
        }
        for until in removed.rests.into_iter().flatten() {
            self.rests.remove(&(until, name.number()));
        }
        Some(removed)
    }
}

impl PeerConnection {
    fn new(connection: TcpConnection, stage: Stage) -> Self {
        connection.set_send_buffer(SEND_BUFFER);
        PeerConnection {
            connection,
            stage,
            watched: Interest::default(),
            unsent: Vec::new(),
            ended: [false; 2],
            told: [false; 2],
            rests: [None; 2],
        }
    }

    /// What the peer has sent.
    pub(crate) fn fill(&mut self, pool: &mut PacketPool) -> Fill {
        let filled = pool.fill_one(|buffer| match (&self.connection).read(buffer)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        });
        match filled.map_err(|error| error.kind()) {
            Ok(span) => Fill::Bytes(span),
            Err(ErrorKind::WouldBlock | ErrorKind::Interrupted) => Fill::Dry,
            Err(ErrorKind::UnexpectedEof) => Fill::End,
            Err(_) => Fill::Close(Closing::Broken),
        }
    }

    /// Sends bytes to the peer, or keeps what the kernel does not take.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return self.resume();
        }
        let taken = self.write(bytes)?;
        self.unsent.extend_from_slice(&bytes[taken..]);
        Ok(())
    }

    /// Sends what waits, as far as the kernel takes it.
    pub(crate) fn resume(&mut self) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let taken = self.write(&self.unsent)?;
        self.unsent.drain(..taken);
        if self.unsent.is_empty() {
            self.unsent = Vec::new();
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        match (&self.connection).write(bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(0),
            written => written,
        }
    }

    /// Whether something waits for the peer.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether nothing is to be read that goes this way, for want of bandwidth.
    pub(crate) fn rests(&self, way: Way, now: Timestamp) -> bool {
        self.rests[way as usize].is_some_and(|until| until > now)
    }

    /// Tells the peer that nothing more will come.
    pub(crate) fn shut_down(&self) {
        self.connection.shut_down();
    }

    /// Has the peer told that something went wrong.
    pub(crate) fn abort(&self) {
        self.connection.abort();
    }

    /// Asks the poller for what is needed.
    pub(crate) fn watch(
        &mut self,
        name: PeerConnectionId,
        wanted: Interest,
        poller: &Poller,
    ) -> io::Result<()> {
        if wanted != self.watched {
            poller.change(&self.connection, token_of(name), self.watched, wanted)?;
            self.watched = wanted;
        }
        Ok(())
    }
}

/// Whether a poller's token is that of a connection with a peer.
#[inline]
pub(crate) fn is_peer_connection(token: u64) -> bool {
    token >> 62 == PEER_CONNECTION >> 62
}

/// Whose token it is.
pub(crate) fn name_of(token: u64) -> PeerConnectionId {
    PeerConnectionId::from_number(token as u32)
}

fn token_of(name: PeerConnectionId) -> u64 {
    PEER_CONNECTION | u64::from(name.number())
}

/// What tells these tokens from those of relays (no high bit), clients' connections and listeners (the highest bit).
const PEER_CONNECTION: u64 = 1 << 62;
/// Bytes the kernel keeps for a peer that does not read.
const SEND_BUFFER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener as StdListener, TcpStream};

    const NAME: PeerConnectionId = PeerConnectionId::from_number(0x1234_5680);

    struct Worker {
        peers: PeerConnections,
        poller: Poller,
        relayed: SocketAddr,
    }

    impl Worker {
        fn new() -> Self {
            let (mut peers, poller) = (PeerConnections::new(None), Poller::new().unwrap());
            let relay = RelayId { slot: 0, generation: 0 };
            peers.open(relay, "127.0.0.1:0".parse().unwrap(), &poller).unwrap();
            let relayed = peers.relays[&relay].local_address();
            Worker { peers, poller, relayed }
        }

        fn connect(&mut self, peer: SocketAddr, deadline: u64) -> Result<(), ConnectError> {
            let Worker { peers, poller, relayed } = self;
            peers.connect(NAME, (*relayed, peer), Timestamp(deadline), poller)
        }
    }

    #[test]
    fn a_peer_that_never_answers_is_given_up_at_its_deadline() {
        // A listener whose queue is full: the kernel drops what asks for more.
        let full = socket_with_full_queue();
        let mut worker = Worker::new();
        worker.connect(full.address, 30).unwrap();
        assert_eq!(worker.peers.finish_connecting(NAME, &worker.poller), None, "it does not answer");
        assert_eq!(worker.peers.next_deadline(), Some(Timestamp(30)));
        assert_eq!(worker.peers.pop_late(Timestamp(29)), None);
        assert_eq!(worker.peers.pop_late(Timestamp(30)), Some(NAME));
        assert_eq!(worker.peers.pop_late(Timestamp(30)), None, "once");
        assert!(worker.peers.get_mut(NAME).is_none() && worker.peers.next_deadline().is_none());
    }

    #[test]
    fn one_that_is_closed_while_it_is_made_leaves_no_deadline() {
        let full = socket_with_full_queue();
        let mut worker = Worker::new();
        worker.connect(full.address, 30).unwrap();
        assert!(worker.peers.remove(NAME).is_some());
        assert_eq!(worker.peers.next_deadline(), None);
        assert!(worker.peers.remove(NAME).is_none());
    }

    #[test]
    fn a_connection_that_rests_is_looked_at_again_when_its_time_has_come() {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let mut worker = Worker::new();
        worker.connect(listener.local_addr().unwrap(), 30).unwrap();
        worker.peers.rest(NAME, Way::ToPeer, Timestamp(5));
        worker.peers.rest(NAME, Way::ToClient, Timestamp(7));
        let rests = |worker: &mut Worker, now| {
            let found = worker.peers.get_mut(NAME).unwrap();
            [Way::ToPeer, Way::ToClient].map(|way| found.rests(way, Timestamp(now)))
        };
        assert_eq!(rests(&mut worker, 4), [true, true]);
        assert_eq!(worker.peers.pop_rested(Timestamp(4)), None);
        assert_eq!(worker.peers.pop_rested(Timestamp(5)), Some(NAME));
        assert_eq!(rests(&mut worker, 5), [false, true]);
        worker.peers.remove(NAME);
        assert_eq!(worker.peers.pop_rested(Timestamp(9)), None);
    }

    #[test]
    fn tokens_of_connections_are_nobody_elses() {
        for number in [0, 1, u32::MAX] {
            let name = PeerConnectionId::from_number(number);
            let token = token_of(name);
            assert!(is_peer_connection(token) && name_of(token) == name);
            assert!(!crate::streams::is_stream(token));
        }
        let relay = RelayId { slot: u32::MAX, generation: (1 << 30) - 1 };
        assert!(!is_peer_connection(relay.to_bits()) && !is_peer_connection(u64::MAX));
    }

    struct Full {
        address: SocketAddr,
        _listener: TcpListener,
        _waiting: Vec<TcpStream>,
    }

    fn socket_with_full_queue() -> Full {
        let listener = TcpListener::bind_relay("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = listener.local_address();
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)) {
            waiting.push(stream);
            assert!(waiting.len() < 1000, "the queue has no end");
        }
        Full { address, _listener: listener, _waiting: waiting }
    }
}
