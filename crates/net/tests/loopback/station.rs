//! A few sockets with all that it takes to send and receive.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turnpike_net::{
    Body, Datagram, Egress, Events, FlushReport, PacketPool, Poller, Received, Receiver, SocketId, Sockets,
    UdpOptions, UdpSocket,
};

pub(crate) struct Station {
    pub(crate) sockets: Sockets,
    pub(crate) egress: Egress,
    pub(crate) pool: PacketPool,
    pub(crate) receiver: Receiver,
}

/// A datagram that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) bytes: Vec<u8>,
    pub(crate) message: Received,
}

impl Station {
    pub(crate) fn new() -> Self {
        Station {
            sockets: Sockets::default(),
            egress: Egress::new(1024),
            pool: PacketPool::new(64),
            receiver: Receiver::new(32),
        }
    }

    /// Opens a socket on a free port of `ip`.
    pub(crate) fn open(&mut self, ip: &str, options: &UdpOptions) -> SocketId {
        let ip: IpAddr = ip.parse().unwrap();
        self.sockets.insert(UdpSocket::bind(SocketAddr::new(ip, 0), options).unwrap())
    }

    pub(crate) fn socket(&self, id: SocketId) -> &UdpSocket {
        self.sockets.get(id).unwrap()
    }

    pub(crate) fn address(&self, id: SocketId) -> SocketAddr {
        self.socket(id).local_address()
    }

    pub(crate) fn push(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        assert!(self.egress.push(&datagram(socket, to, bytes)));
    }

    pub(crate) fn flush(&mut self) -> FlushReport {
        self.egress.flush(&self.sockets, &self.pool)
    }

    /// Receives until `count` datagrams have come; fewer after five seconds.
    pub(crate) fn receive(&mut self, id: SocketId, count: usize) -> Vec<Arrived> {
        let socket = self.sockets.get(id).unwrap();
        let poller = Poller::new().unwrap();
        poller.add(socket, 0).unwrap();
        let mut events = Events::with_capacity(1);
        let (mut arrived, mut batch) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + Duration::from_secs(5);
        while arrived.len() < count && Instant::now() < deadline {
            poller.wait(Some(Duration::from_millis(200)), &mut events).unwrap();
            self.pool.clear();
            self.receiver.receive(socket, 32, &mut self.pool, &mut batch).unwrap();
            for message in batch.drain(..) {
                for span in message.datagrams() {
                    arrived.push(Arrived { bytes: self.pool.bytes(span).to_vec(), message });
                }
            }
        }
        arrived
    }

    /// Receives until `count` datagrams have come; their bytes.
    pub(crate) fn receive_bytes(&mut self, id: SocketId, count: usize) -> Vec<Vec<u8>> {
        self.receive(id, count).into_iter().map(|arrived| arrived.bytes).collect()
    }
}

pub(crate) fn datagram(socket: SocketId, to: SocketAddr, bytes: &[u8]) -> Datagram<'_> {
    Datagram {
        socket,
        to,
        source: None,
        head: &[],
        body: Body::Built(bytes),
        tail: &[],
        dont_fragment: false,
    }
}

/// Plain sockets.
pub(crate) fn plain() -> UdpOptions {
    UdpOptions { receive_buffer: 1 << 20, send_buffer: 1 << 20, ..UdpOptions::default() }
}

/// Bytes that differ from their neighbours' and from other seeds'.
pub(crate) fn pattern(seed: usize, length: usize) -> Vec<u8> {
    (0..length).map(|index| (index.wrapping_mul(31) ^ seed.wrapping_mul(97)) as u8).collect()
}
