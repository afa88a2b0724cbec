//! Carries messages between the generator's clients and the server, and between its peers and the server's relayed
//! addresses. Above this room nobody knows whether a client's messages are datagrams or travel in a stream.
//!
//! Nothing here waits but [`Carrier::wait`]. Datagrams leave when [`Carrier::flush`] is called, many at a time.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use turnpike_net::{
    Body, Datagram, Egress, Events, FlushReport, PacketPool, Poller, Received, Receiver, SocketId, Sockets,
    UdpOptions, UdpSocket,
};

use super::target::{Target, Transport};
use crate::tools::uclient::{Link, Linker};

/// The sockets of one thread.
pub(super) struct Carrier {
    server: SocketAddr,
    local: IpAddr,
    linker: Option<Linker>,
    poller: Poller,
    events: Events,
    sockets: Sockets,
    egress: Egress,
    receiver: Receiver,
    pool: PacketPool,
    batch: Vec<Received>,
    message: Box<[u8]>,
    ways: Vec<Way>,
    peers: Vec<SocketId>,
    flushed: FlushReport,
}

/// One client's way to the server.
enum Way {
    Closed,
    Datagrams(SocketId),
    /// With what the poller watches it for.
    Stream(Box<Link>, Option<bool>),
}

/// Where a message came from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// From the server to the client of this number.
    Server(usize),
    /// From this address to the peer of this number.
    Relay(usize, SocketAddr),
}

impl Carrier {
    /// A carrier without sockets, for clients of the server that come from `local`.
    pub(super) fn new(target: &Target, local: IpAddr) -> Result<Self> {
        let linker = match target.transport {
            Transport::Udp => None,
            Transport::Tcp => Some(Linker::tcp(target.address, Some(local))),
            Transport::Tls => {
                Some(Linker::tls(target.address, Some(local), &target.host, target.authorities.as_deref())?)
            }
        };
        Ok(Carrier {
            server: target.address,
            local,
            linker,
            poller: Poller::new().context("cannot wait for sockets")?,
            events: Events::with_capacity(EVENTS),
            sockets: Sockets::default(),
            egress: Egress::new(QUEUE),
            receiver: Receiver::new(BATCH),
            pool: PacketPool::new(BATCH),
            batch: Vec::with_capacity(BATCH),
            message: vec![0; LARGEST_MESSAGE].into(),
            ways: Vec::new(),
            peers: Vec::new(),
            flushed: FlushReport::default(),
        })
    }

    /// Opens a new way to the server for the client of this number; its former one, if any, is closed.
    pub(super) fn open(&mut self, client: usize) -> Result<()> {
        self.close(client);
        if client >= self.ways.len() {
            self.ways.resize_with(client + 1, || Way::Closed);
        }
        self.ways[client] = match &self.linker {
            None => {
                let socket = UdpSocket::bind(SocketAddr::new(self.local, 0), &UdpOptions::default())
                    .with_context(|| format!("cannot open another UDP socket on {}", self.local))?;
                self.poller.add(&socket, client as u64).context("cannot watch a socket")?;
                Way::Datagrams(self.sockets.insert(socket))
            }
            Some(linker) => {
                let link = linker.open()?;
                let wants_room = link.wants_room();
                self.poller
                    .watch(&link, client as u64, wants_room.unwrap_or(true), true)
                    .context("cannot watch a connection")?;
                Way::Stream(Box::new(link), wants_room)
            }
        };
        Ok(())
    }

    /// Closes a client's way.
    pub(super) fn close(&mut self, client: usize) {
        let Some(way) = self.ways.get_mut(client) else { return };
        if let Way::Datagrams(id) = std::mem::replace(way, Way::Closed) {
            // What is queued on it must leave first.
            if !self.egress.is_empty() {
                self.flush();
            }
            self.sockets.remove(id);
        }
    }

    /// Opens another peer and returns its number and address.
    pub(super) fn open_peer(&mut self, address: IpAddr) -> Result<(usize, SocketAddr)> {
        let options =
            UdpOptions { receive_buffer: PEER_BUFFER, send_buffer: PEER_BUFFER, ..UdpOptions::default() };
        let socket = UdpSocket::bind(SocketAddr::new(address, 0), &options).with_context(|| {
            format!("cannot open a peer on {address}: --peer-address takes an address of this machine")
        })?;
        let (number, local) = (self.peers.len(), socket.local_address());
        self.poller.add(&socket, PEER | number as u64).context("cannot watch a peer")?;
        self.peers.push(self.sockets.insert(socket));
        Ok((number, local))
    }

    /// Sends a client's message, or queues it; `false` when there is no way or no room.
    pub(super) fn send(&mut self, client: usize, message: &[u8]) -> bool {
        match self.ways.get_mut(client) {
            Some(Way::Datagrams(id)) => {
                let id = *id;
                self.queue(id, self.server, message);
                true
            }
            Some(Way::Stream(link, _)) => {
                let sent = link.send(message);
                self.rewatch(client);
                sent
            }
            Some(Way::Closed) | None => false,
        }
    }

    /// Queues a peer's datagram.
    pub(super) fn send_from_peer(&mut self, peer: usize, to: SocketAddr, payload: &[u8]) {
        if let Some(id) = self.peers.get(peer) {
            self.queue(*id, to, payload);
        }
    }

    /// Whether a client's messages would pile up: data had better not be sent.
    pub(super) fn is_congested(&self, client: usize) -> bool {
        matches!(self.ways.get(client), Some(Way::Stream(link, _)) if link.is_congested())
    }

    /// Why a client's connection has ended, if it has.
    pub(super) fn trouble(&self, client: usize) -> Option<String> {
        match self.ways.get(client) {
            Some(Way::Stream(link, _)) => link.trouble(self.server),
            _ => None,
        }
    }

    /// Hands the queued datagrams to the kernel.
    pub(super) fn flush(&mut self) {
        let report = self.egress.flush(&self.sockets, &self.pool);
        self.flushed.add(&report);
    }

    /// Datagrams the kernel had no room for since this was last asked.
    pub(super) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.flushed).dropped()
    }

    /// Waits until something arrives, at most this long, and sends what waited for room.
    pub(super) fn wait(&mut self, timeout: Duration) -> Result<()> {
        self.poller.wait(Some(timeout), &mut self.events).context("cannot wait for sockets")?;
        for index in 0..self.events.len() {
            let client = self
                .events
                .token(index)
                .filter(|_| self.events.is_writable(index))
                .map(|token| token as usize);
            if let Some(client) = client
                && let Some(Way::Stream(link, _)) = self.ways.get_mut(client)
            {
                link.flush();
                self.rewatch(client);
            }
        }
        Ok(())
    }

    /// Hands out every message of one batch from each socket that the last wait found.
    pub(super) fn receive(&mut self, mut each: impl FnMut(Source, &[u8])) -> Result<()> {
        for index in 0..self.events.len() {
            let Some(token) = self.events.token(index) else { continue };
            if token & PEER != 0 {
                let peer = (token & !PEER) as usize;
                let Some(id) = self.peers.get(peer).copied() else { continue };
                self.receive_datagrams(id, |from, bytes| each(Source::Relay(peer, from), bytes))?;
                continue;
            }
            let client = token as usize;
            match self.ways.get_mut(client) {
                Some(Way::Datagrams(id)) => {
                    let (id, server) = (*id, self.server);
                    self.receive_datagrams(id, |from, bytes| {
                        if from == server {
                            each(Source::Server(client), bytes);
                        }
                    })?;
                }
                Some(Way::Stream(link, _)) => {
                    for taken in 0.. {
                        // What was read already has to be handled now: the poller does not know of it.
                        if taken >= BATCH && !link.holds_message() {
                            break;
                        }
                        let Some(length) = link.receive(&mut self.message) else { break };
                        each(Source::Server(client), &self.message[..length]);
                    }
                    self.rewatch(client);
                }
                Some(Way::Closed) | None => {}
            }
        }
        Ok(())
    }

    fn receive_datagrams(&mut self, id: SocketId, mut each: impl FnMut(SocketAddr, &[u8])) -> Result<()> {
        let Some(socket) = self.sockets.get(id) else { return Ok(()) };
        self.receiver.receive(socket, BATCH, &mut self.pool, &mut self.batch).context("cannot receive")?;
        for received in &self.batch {
            received.datagrams().for_each(|span| each(received.from, self.pool.bytes(span)));
        }
        self.batch.clear();
        self.pool.clear();
        Ok(())
    }

    fn queue(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        let datagram = Datagram {
            socket,
            to,
            source: None,
            head: &[],
            body: Body::Built(bytes),
            tail: &[],
            dont_fragment: false,
        };
        if !self.egress.push(&datagram) {
            self.flush();
            self.egress.push(&datagram);
        }
    }

    /// Has the poller watch a connection for what it now waits for.
    fn rewatch(&mut self, client: usize) {
        let Some(Way::Stream(link, watched)) = self.ways.get_mut(client) else { return };
        let wants_room = link.wants_room();
        if wants_room == *watched {
            return;
        }
        *watched = wants_room;
        // A connection that cannot be watched goes unheard, and its requests time out.
        let _ = match wants_room {
            Some(writing) => self.poller.watch(&**link, client as u64, writing, false),
            None => self.poller.remove(&**link),
        };
    }
}

/// Marks the token of a peer.
const PEER: u64 = 1 << 63;
const EVENTS: usize = 512;
/// Messages taken from one socket before the next gets its turn.
const BATCH: usize = 32;
const QUEUE: usize = 512;
const PEER_BUFFER: usize = 4 << 20;
/// A STUN header and as much as its length field can say.
const LARGEST_MESSAGE: usize = 20 + 65_535;
